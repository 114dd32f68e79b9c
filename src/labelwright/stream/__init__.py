"""One pass over data that does not fit: mergeable statistics, sources of chunks, and engines that run them."""

from labelwright.stream._checksums import write_checksums
from labelwright.stream.checked import checked
from labelwright.stream.engines import run
from labelwright.stream.histogram import Histogram, ScoreHistogram
from labelwright.stream.rows import Chunk, Rows, with_dense, with_rows
from labelwright.stream.sources import open_rows
from labelwright.stream.statistic import CHUNK_ENTRIES, Stateful, Statistic, chunks, fold
from labelwright.stream.topk import Lowest

__all__ = [
    "CHUNK_ENTRIES",
    "Chunk",
    "Histogram",
    "Lowest",
    "Rows",
    "ScoreHistogram",
    "Stateful",
    "Statistic",
    "checked",
    "chunks",
    "fold",
    "open_rows",
    "run",
    "with_dense",
    "with_rows",
    "write_checksums",
]
