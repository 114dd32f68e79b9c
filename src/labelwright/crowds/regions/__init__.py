"""Masks that several people drew of the same image: how good each of them is, one mask out of all, and its risk per pixel."""

from labelwright.crowds.regions.consensus import Consensus
from labelwright.crowds.regions.labellers import Skills, labeller_skills
from labelwright.crowds.regions.overlay import overlay, overlay_png
from labelwright.crowds.regions.skill import TaskScore, task_score
from labelwright.crowds.regions.verb import MaskAggregation, aggregate_masks

__all__ = [
    "Consensus",
    "MaskAggregation",
    "Skills",
    "TaskScore",
    "aggregate_masks",
    "labeller_skills",
    "overlay",
    "overlay_png",
    "task_score",
]
