"""Targets: what the label of this view is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labelwright.learning.targets.attention import AttentionLabels
from labelwright.learning.targets.regions import RegionLabels, weigh_by_regions
from labelwright.learning.targets.stored import Stored
from labelwright.learning.targets.stored_teachers import StoredTeachers
from labelwright.learning.targets.teachers import Teacher, combine

TARGETS: dict[str, Callable[..., Any]] = {
    "attention_labels": AttentionLabels,  # of mixed images, by where the student looks
    "region_labels": RegionLabels,  # of mixed images, by how much of each one's foreground shows
    "stored": Stored,  # the label as it came, after the views
    "stored_teachers": StoredTeachers,  # what several models said before, kept with the data
    "teacher": Teacher,  # what frozen models say about this view
}
"""Targets by name, for recipes."""

__all__ = [
    "TARGETS",
    "AttentionLabels",
    "RegionLabels",
    "Stored",
    "StoredTeachers",
    "Teacher",
    "combine",
    "weigh_by_regions",
]
