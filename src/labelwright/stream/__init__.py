"""One pass over data that does not fit: mergeable statistics and how to cut arrays for them."""

from labelwright.stream.statistic import CHUNK_ENTRIES, Statistic, chunks, fold

__all__ = ["CHUNK_ENTRIES", "Statistic", "chunks", "fold"]
