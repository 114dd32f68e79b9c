"""The models of a crowd by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.fit import Fit, Method
from labelwright.crowds.glad import fit_glad
from labelwright.crowds.groups import fit_groups
from labelwright.crowds.label_model import fit_label_model
from labelwright.crowds.mace import fit_mace
from labelwright.crowds.one_coin import fit_one_coin
from labelwright.crowds.ordinal import fit_ordinal
from labelwright.crowds.pooling import fit_average
from labelwright.crowds.prepared import Prepared
from labelwright.crowds.shares import (
    fit_majority,
    fit_softmax_shares,
    fit_vote_shares,
    fit_wawa,
    fit_zero_based_skill,
)
from labelwright.crowds.top_two import fit_top_two


def _label_model(votes: Prepared, *, random_state: int = 0, **options: Any) -> Fit:
    """`fit_label_model`; an item without a vote is unknown, as in the other models, where rules alone give it the prior."""
    fit = fit_label_model(votes, random_state=random_state, **options)
    known = (np.diff(votes.start) > 0) | (votes.gold >= 0)
    index = np.where(known[:, None], fit.labels.index, -1)
    prob, rest = (np.where(known[:, None], fit.labels.prob, 0), np.where(known, fit.labels.rest, 0))
    return replace(fit, labels=replace(fit.labels, index=index, prob=prob, rest=rest, known=known))


METHODS: dict[str, Method] = {
    "vote_shares": fit_vote_shares,
    "majority": fit_majority,
    "softmax_shares": fit_softmax_shares,
    "wawa": fit_wawa,
    "zero_based_skill": fit_zero_based_skill,
    "one_coin": fit_one_coin,
    "dawid_skene": fit_dawid_skene,
    "glad": fit_glad,
    "mace": fit_mace,
    "ordinal": fit_ordinal,
    "label_model": _label_model,
    "top_two": fit_top_two,
    "groups": fit_groups,
    "average": fit_average,
}

DESCRIPTIONS = {
    "vote_shares": "shares of the votes, with as many spread votes beside them as foretell votes best",
    "majority": "the class with most votes; ties share",
    "softmax_shares": "exp(votes for a class), normalised",
    "wawa": "vote shares weighted by agreement with the majority",
    "zero_based_skill": "vote shares weighted by skills learnt in rounds from the weighted majority",
    "one_coin": "one accuracy per annotator, around what the crowd's are",
    "dawid_skene": "one confusion matrix per annotator, its rows around the crowd's",
    "glad": "abilities of annotators and difficulties of items",
    "mace": "annotators who know, or else answer by habit",
    "ordinal": "ordered classes: confusion rows around a shifted, blurred view of the true class",
    "label_model": "rules: one accuracy each, those that copy each other counted less",
    "top_two": "the best answer, the one it is confused with, and how often",
    "groups": "how items are answered that are answered alike, whatever their class",
    "average": "the mean of the labels of seven models",
}
"""What each model is, in one line."""
