"""The audit of probabilities that do not fit into memory: the same answers, from three passes over their rows."""

from labelwright.auditing.streamed.source import LARGE, as_rows, in_memory
from labelwright.auditing.streamed.verb import audit_rows

__all__ = ["LARGE", "as_rows", "audit_rows", "in_memory"]
