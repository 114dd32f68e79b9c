"""Votes that do not fit into memory: the same models, from passes over votes that lie sorted on disk."""

from labelwright.crowds.streamed.sorted_votes import SortedVotes, sort_votes
from labelwright.crowds.streamed.verb import StreamedAggregation, aggregate_rows

__all__ = ["SortedVotes", "StreamedAggregation", "aggregate_rows", "sort_votes"]
