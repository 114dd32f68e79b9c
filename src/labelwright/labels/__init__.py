"""What a label can be: the space of classes, and every kind of evidence about the true one."""

from labelwright.labels._evidence import Evidence
from labelwright.labels._tables import as_arrow, as_columns, need
from labelwright.labels.candidates import CandidateLabels
from labelwright.labels.check import as_matrix, check_class_ids, check_distributions, check_pred_probs
from labelwright.labels.comparisons import Comparisons
from labelwright.labels.dense_rows import DenseRows
from labelwright.labels.hard import HardLabels
from labelwright.labels.hierarchy import Hierarchy
from labelwright.labels.maps import LabelMap
from labelwright.labels.multi import MultiLabels
from labelwright.labels.parts import Boxes, Masks, Parts, Spans
from labelwright.labels.proportions import LabelProportions
from labelwright.labels.soft import PredProbs, SoftLabels, average, conflate, js_divergence, kl_divergence
from labelwright.labels.space import LabelSpace
from labelwright.labels.votes import Votes

__all__ = [
    "Boxes",
    "CandidateLabels",
    "Comparisons",
    "DenseRows",
    "Evidence",
    "HardLabels",
    "Hierarchy",
    "LabelMap",
    "LabelProportions",
    "LabelSpace",
    "Masks",
    "MultiLabels",
    "Parts",
    "PredProbs",
    "SoftLabels",
    "Spans",
    "Votes",
    "as_arrow",
    "as_columns",
    "as_matrix",
    "average",
    "check_class_ids",
    "check_distributions",
    "check_pred_probs",
    "conflate",
    "js_divergence",
    "kl_divergence",
    "need",
]
