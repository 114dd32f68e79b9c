"""Fewer items that train nearly as well: scores of items, covers of feature space, and the cut to a share of the data."""

from labelwright.shrinking.alpha import Alpha, choose_alpha
from labelwright.shrinking.challenging import Challenging, challenging, in_top
from labelwright.shrinking.covers import class_distance, herding, k_center
from labelwright.shrinking.pruning import FEATURE_RULES, RULES, Pruned, prune
from labelwright.shrinking.scores import el2n, forgetting, grand_last_layer, margin

__all__ = [
    "FEATURE_RULES",
    "RULES",
    "Alpha",
    "Challenging",
    "Pruned",
    "challenging",
    "choose_alpha",
    "class_distance",
    "el2n",
    "forgetting",
    "grand_last_layer",
    "herding",
    "in_top",
    "k_center",
    "margin",
    "prune",
]
