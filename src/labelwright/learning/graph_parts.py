"""Hypergraphs in a recipe: networks that need all items at once, and agreement on hyperedges (LightHGNN+)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from torch import Tensor, nn

from labelwright.errors import DataError, LabelwrightWarning, ProbabilityError, check_option
from labelwright.features.hypergraph import members
from labelwright.learning.context import Context
from labelwright.learning.graphs import FORMS, hyperedge_kl, sparse_tensor
from labelwright.learning.networks import Outputs, read_outputs
from labelwright.learning.run import Run
from labelwright.learning.terms import Weight, WeightedPart


class WholeSet(nn.Module):
    """A network over a whole set of items, asked for some of them by number: the student of `train(numpy.arange(N), ...)`.

    Args:
        net: called as net(x, *more): answers (N, K), or a dict of answers with N rows.
        x: (N, D) features, dense or sparse.   more: what else it takes, such as the operator of a `HypergraphNet`.

    `forward(items)`: (B,) item numbers -> the rows of these items. All N are computed for every batch, so let one batch
    hold them all. `x` and `more` are not saved with the weights; `net` alone holds those. Without `more`, items whose
    features are all 0 get one and the same answer; a warning counts them.
    """

    def __init__(self, net: nn.Module, x: Tensor, *more: Tensor):
        super().__init__()
        self.net = net
        self.register_buffer("x", x, persistent=False)
        for i, value in enumerate(more):
            self.register_buffer(f"more{i}", value, persistent=False)
        self._names = ("x", *(f"more{i}" for i in range(len(more))))
        features = x.coalesce().indices()[0].bincount(minlength=len(x)) if x.is_sparse else (x != 0).sum(1)
        empty = int((features == 0).sum())
        if empty and not more:
            warnings.warn(
                f"{empty} of {len(x)} items have no feature, so they get one and the same answer. "
                "Ask a network that sees the structure about them",
                LabelwrightWarning,
                stacklevel=2,
            )

    def forward(self, items: Tensor) -> Outputs:
        """(B,) -> logits (B, K), and whatever else the network gives."""
        out = read_outputs(self.net(*(getattr(self, name) for name in self._names)))
        return {name: value[items.long()] for name, value in out.items()}


class HyperedgeAgreement(WeightedPart):
    """`hyperedge_kl` on hyperedges that are drawn anew in every step; reads items, logits and teacher_logits.

    Args:
        incidence: (N, E) of 0 and 1, SciPy sparse or an array: rows in the order of the training items.
        reliability: (E,) chance of each hyperedge to count in a step (`hyperedge_reliability`); None: all count.
        weight: as of every term.   form: as in `hyperedge_kl`.

    The mean of a hyperedge is over its items in the batch, so small batches say little about it. Hyperedges with fewer
    than two items there are left out: they say no more than the items do. Without any the term is 0.

    Raises (when training begins):
        DataError: another number of rows than items.   ProbabilityError: reliability that is no chance per hyperedge.

    Source: Feng et al. 2024 (LightHGNN+), high-order soft-target loss on reliable hyperedges.
    """

    name = "hyperedge_agreement"
    reads = ("items", "logits", "teacher_logits")

    def __init__(self, incidence: Any, *, reliability: Any = None, weight: Weight = 1.0, form: str = "intended"):
        super().__init__(weight)
        check_option("form", form, FORMS)
        self.incidence, self.form = members(incidence), form
        n_edges = self.incidence.shape[1]
        chance = np.ones(n_edges) if reliability is None else np.asarray(reliability, dtype=np.float64)
        if chance.shape != (n_edges,) or not bool(((chance >= 0) & (chance <= 1)).all()):
            raise ProbabilityError(
                found=f"reliability of shape {chance.shape} for {n_edges} hyperedges",
                expected=f"({n_edges},) chances in [0, 1]",
                fix="pass hyperedge_reliability(teacher_logits, noisy_logits, incidence)",
            )
        self.reliability = chance

    def begin(self, run: Run) -> None:
        """Look whether the hypergraph is that of the data."""
        if self.incidence.shape[0] != len(run.data):
            raise DataError(
                found=f"an incidence of {self.incidence.shape[0]} rows for {len(run.data)} items",
                expected="one row per training item, in the same order",
                fix="pass incidence[rows] of the items that are trained on",
            )

    def __call__(self, context: Context) -> Tensor:
        """The loss of this batch."""
        here = self.incidence[context["items"].cpu().numpy()]
        drawn = context["rng"].random(len(self.reliability)) < self.reliability
        used = np.flatnonzero(drawn & (np.asarray(here.sum(0)).ravel() >= 2))
        logits = context["logits"]
        if not len(used):
            return 0.0 * logits.sum()
        incidence = sparse_tensor(here[:, used]).to(logits.device)
        return hyperedge_kl(logits, context["teacher_logits"], incidence, form=self.form)


__all__ = ["HyperedgeAgreement", "WholeSet"]
