"""Whom to believe: votes in, calibrated soft labels and the quality of the annotators out."""

from labelwright.crowds.aggregation import Aggregation
from labelwright.crowds.files import FileAggregation, aggregate_file
from labelwright.crowds.methods import METHODS
from labelwright.crowds.next_votes import next_votes
from labelwright.crowds.verb import aggregate

__all__ = ["METHODS", "Aggregation", "FileAggregation", "aggregate", "aggregate_file", "next_votes"]
