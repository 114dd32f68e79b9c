"""The label as it was stored."""

from __future__ import annotations

from labelwright.learning.context import Context
from labelwright.learning.parts import Part


class Stored(Part):
    """targets = labels: hard, soft or multi-label, as the views have left them.

    Args:
        source: what to take in their place, such as the soft labels of a teacher that came with the data.
    """

    writes = ("targets",)

    def __init__(self, *, source: str = "labels"):
        self.source, self.reads = source, (source,)

    def __call__(self, context: Context) -> None:
        """Pass them on."""
        context["targets"] = context[self.source]
