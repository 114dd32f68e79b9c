"""Targets: what the label of this view is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labelwright.learning.targets.attention import AttentionLabels
from labelwright.learning.targets.stored import Stored
from labelwright.learning.targets.teachers import Teacher, combine

TARGETS: dict[str, Callable[..., Any]] = {
    "attention_labels": AttentionLabels,  # of mixed images, by where the student looks
    "stored": Stored,  # the label as it came, after the views
    "teacher": Teacher,  # what frozen models say about this view
}
"""Targets by name, for recipes."""

__all__ = ["TARGETS", "AttentionLabels", "Stored", "Teacher", "combine"]
