"""Labelwright: from the labels you have to the labels your data deserves, and how far to trust them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public names and where they live. They load on first use (PEP 562), so that `import labelwright` stays light.
_PUBLIC = {
    "advise": "labelwright.advising",
    "aggregate": "labelwright.crowds",
    "Aggregation": "labelwright.crowds",
    "audit": "labelwright.auditing",
    "audit_boxes": "labelwright.auditing",
    "audit_masks": "labelwright.auditing",
    "audit_tokens": "labelwright.auditing",
    "audit_values": "labelwright.auditing",
    "Audit": "labelwright.auditing",
    "PartAudit": "labelwright.auditing",
    "LabelSpace": "labelwright.labels",
    "HardLabels": "labelwright.labels",
    "MultiLabels": "labelwright.labels",
    "SoftLabels": "labelwright.labels",
    "CandidateLabels": "labelwright.labels",
    "Votes": "labelwright.labels",
    "Comparisons": "labelwright.labels",
    "LabelProportions": "labelwright.labels",
    "LabelMap": "labelwright.labels",
    "evaluate": "labelwright.learning",
    "out_of_fold": "labelwright.features",
    "relabel": "labelwright.annotators",
    "train": "labelwright.learning",
    "Recipe": "labelwright.learning",
    "SoftLabelClassifier": "labelwright.learning",
    "TrainData": "labelwright.learning",
    "TrainedModel": "labelwright.learning",
    "LabelwrightError": "labelwright.errors",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from labelwright.advising import advise as advise
    from labelwright.annotators import relabel as relabel
    from labelwright.auditing import Audit as Audit
    from labelwright.auditing import PartAudit as PartAudit
    from labelwright.auditing import audit as audit
    from labelwright.auditing import audit_boxes as audit_boxes
    from labelwright.auditing import audit_masks as audit_masks
    from labelwright.auditing import audit_tokens as audit_tokens
    from labelwright.auditing import audit_values as audit_values
    from labelwright.crowds import Aggregation as Aggregation
    from labelwright.crowds import aggregate as aggregate
    from labelwright.errors import LabelwrightError as LabelwrightError
    from labelwright.features import out_of_fold as out_of_fold
    from labelwright.labels import CandidateLabels as CandidateLabels
    from labelwright.labels import Comparisons as Comparisons
    from labelwright.labels import HardLabels as HardLabels
    from labelwright.labels import LabelMap as LabelMap
    from labelwright.labels import LabelProportions as LabelProportions
    from labelwright.labels import LabelSpace as LabelSpace
    from labelwright.labels import MultiLabels as MultiLabels
    from labelwright.labels import SoftLabels as SoftLabels
    from labelwright.labels import Votes as Votes
    from labelwright.learning import Recipe as Recipe
    from labelwright.learning import SoftLabelClassifier as SoftLabelClassifier
    from labelwright.learning import TrainData as TrainData
    from labelwright.learning import TrainedModel as TrainedModel
    from labelwright.learning import evaluate as evaluate
    from labelwright.learning import train as train


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'labelwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
