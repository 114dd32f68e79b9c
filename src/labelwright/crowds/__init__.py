"""Whom to believe: votes in, calibrated soft labels and the quality of the annotators out."""

from labelwright.crowds.aggregation import Aggregation
from labelwright.crowds.asking import next_votes
from labelwright.crowds.files import FileAggregation, aggregate_file
from labelwright.crowds.methods import METHODS
from labelwright.crowds.pairwise import better_annotation, fit_bradley_terry
from labelwright.crowds.scores import fit_scores
from labelwright.crowds.verb import aggregate

__all__ = [
    "METHODS",
    "Aggregation",
    "FileAggregation",
    "aggregate",
    "aggregate_file",
    "better_annotation",
    "fit_bradley_terry",
    "fit_scores",
    "next_votes",
]
