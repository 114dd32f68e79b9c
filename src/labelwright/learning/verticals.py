"""Many specialist teachers, each for a part of the classes (a vertical), for one student of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwright.errors import DataError, OptionError, check_option
from labelwright.learning.context import Context
from labelwright.learning.losses import kd
from labelwright.learning.run import Run
from labelwright.learning.terms import Weight, WeightedPart

PACES = ("even", "fade", "easy_first")


def kd_per_vertical(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    verticals: Sequence[Sequence[int]],
    temperature: float = 2.0,
    masked: bool = True,
) -> tuple[Tensor, Tensor]:
    """(V,) distillation loss of each vertical, the mean over its own items, and (V,) how many those are.

    An item teaches in the verticals that its label lies in: a specialist means nothing elsewhere. Both softmaxes run over
    the classes of the vertical alone, so nothing is said about one vertical against another; a loss on the labels has to
    stand beside. A vertical without items has loss 0.

    Args:
        logits: (B, K).   labels: (B,) class ids, -1 = missing.
        teacher_logits: (B, sum of sizes): the specialists' logits side by side, in the order of `verticals` and of the
            classes in each; of foreign items any finite number.
        verticals: class ids of each specialist; they may overlap: shared classes are then taught by each.
        temperature: of both softmaxes; the loss is T^2 KL, as in `kd`.
        masked: False lets every specialist teach every item. The paper warns of its nonsense on foreign items; in our own
            proof it taught more than the masked form.

    Source: Gao et al. 2017 (Knowledge Concentration); formulas are our reading of the abstract.
    """
    sizes = [len(classes) for classes in verticals]
    if teacher_logits.shape != (len(logits), sum(sizes)):
        raise DataError(
            found=f"teacher_logits {tuple(teacher_logits.shape)} for {len(logits)} items and verticals of {sizes} classes",
            expected=f"({len(logits)}, {sum(sizes)})",
            fix="put the specialists' logits side by side, each in the order of its classes by name",
        )
    losses, counts = [], []
    for classes, theirs in zip(verticals, torch.split(teacher_logits, sizes, dim=1)):
        ids = torch.as_tensor(classes, device=labels.device)
        own = torch.isin(labels, ids) if masked else torch.ones_like(labels, dtype=torch.bool)
        counts.append(own.sum())
        rows = kd(logits[own][:, ids], theirs[own], temperature=temperature, reduction="none")
        losses.append(rows.sum() / own.sum().clamp_min(1))
    return torch.stack(losses), torch.stack(counts)


class VerticalKD(WeightedPart):
    """`kd_per_vertical`, averaged over the verticals of the batch, each weighed by its pace.

    Args:
        verticals, temperature, masked: as there.
        pace: "even": all alike. "fade": what is left of a vertical's first loss, so that mastered ones stop to count.
            "easy_first": those of least loss alone, their share growing from `begin` to all by `full` of training.
        momentum: of the running loss of each vertical.   least: smallest weight of "fade".
        features: weight of bringing the student's features to the specialist's, through one learnt map per vertical; reads
            `teacher_features`, (B, F) of each item's own specialist.   slices: columns of the features that each vertical
            owns, as `SlicedMLP.slices`; default all for each.
        names: of the labels and the teachers' logits in the context.

    Weights are detached, and kept in checkpoints; `pace_weights` tells the last ones.
    """

    name = "vertical_kd"

    def __init__(
        self,
        verticals: Sequence[Sequence[int]],
        *,
        weight: Weight = 1.0,
        temperature: float = 2.0,
        masked: bool = True,
        pace: str = "fade",
        momentum: float = 0.9,
        least: float = 0.1,
        begin: float = 0.3,
        full: float = 0.5,
        features: float = 0.0,
        slices: Sequence[Sequence[int]] | None = None,
        names: tuple[str, str] = ("labels", "teacher_logits"),
    ):
        super().__init__(weight)
        check_option("pace", pace, PACES)
        self.verticals = [[int(c) for c in classes] for classes in verticals]
        if not self.verticals or any(not v or len(set(v)) < len(v) or min(v) < 0 for v in self.verticals):
            raise OptionError(
                found=f"{len(self.verticals)} verticals, of {[len(v) for v in self.verticals]} classes",
                expected="lists of different class ids, none of them empty",
                fix="write verticals=[[0, 1, 2], [3, 4]]",
            )
        self.temperature, self.masked, self.pace, self.momentum, self.least = temperature, masked, pace, momentum, least
        self.begin_share, self.full, self.features, self.slices = begin, full, features, slices
        self.names, self.reads = names, ("logits", *names, *(("features", "teacher_features") if features else ()))
        self.first = torch.full((len(self.verticals),), torch.nan, dtype=torch.float64)
        self.running = self.first.clone()

    def begin(self, run: Run) -> None:
        """Make the maps of features, where they are asked for."""
        self._run = run
        if self.features:
            own, theirs = run.example["features"].shape[1], run.example["teacher_features"].shape[1]
            self.slices = self.slices or [range(own)] * len(self.verticals)
            run.add("vertical maps", nn.ModuleList(nn.Linear(len(s), theirs) for s in self.slices))

    def __call__(self, context: Context) -> Tensor:
        """The loss of one batch; 0 where none of its labels lies in a vertical."""
        labels, theirs = (context[name] for name in self.names)
        losses, counts = kd_per_vertical(
            context["logits"],
            labels,
            theirs,
            verticals=self.verticals,
            temperature=self.temperature,
            masked=self.masked,
        )
        there = counts > 0
        self._remember(losses.detach().double().cpu(), there.cpu())
        if self.features:
            losses = losses + self.features * self._feature_losses(context, labels)
        paces = self.pace_weights(context["progress"]).to(losses)
        return (paces * losses * there).sum() / there.sum().clamp_min(1)

    def pace_weights(self, progress: float = 1.0) -> Tensor:
        """(V,) how much each vertical counts now; 1 before its first item."""
        if self.pace == "fade":
            left = self.running / self.first.clamp_min(1e-12)
            return left.nan_to_num(1.0).clamp(self.least, 1.0)
        if self.pace == "easy_first":
            share = min(1.0, self.begin_share + (1 - self.begin_share) * progress / self.full)
            rank = self.running.nan_to_num(0.0).argsort(stable=True).argsort(stable=True)
            return (rank < np.ceil(share * len(rank))).double()
        return torch.ones_like(self.running)

    def _remember(self, losses: Tensor, there: Tensor) -> None:
        new = there & self.first.isnan()
        self.first = torch.where(new, losses, self.first)
        moved = torch.where(new, losses, self.momentum * self.running + (1 - self.momentum) * losses)
        self.running = torch.where(there, moved, self.running)

    def _feature_losses(self, context: Context, labels: Tensor) -> Tensor:
        assert self.slices is not None
        found = []
        for classes, columns, to_teacher in zip(
            self.verticals, self.slices, self._run.modules["vertical maps"].children()
        ):
            own = torch.isin(labels, torch.as_tensor(classes, device=labels.device))
            mine = to_teacher(context["features"][own][:, list(columns)])
            cells = (mine - context["teacher_features"][own].detach()) ** 2
            found.append(cells.sum() / max(cells.numel(), 1))
        return torch.stack(found)

    def state(self) -> dict[str, Any]:
        """First and running losses."""
        return {"first": self.first, "running": self.running}

    def restore(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.first, self.running = state["first"], state["running"]


def vertical_biases(logits: Any, labels: Any, verticals: Sequence[Sequence[int]]) -> np.ndarray:
    """(K,) what to add to the logits so that the verticals are well balanced: one number each, of least log loss on held-out
    items. Verticals must not overlap; classes in none of them get 0.

    Args:
        logits: (N, K).   labels: (N,) class ids.   verticals: class ids of each.
    """
    from scipy.optimize import minimize
    from scipy.special import softmax

    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    member = np.zeros((z.shape[1], len(verticals)))
    for v, classes in enumerate(verticals):
        member[list(classes), v] = 1
    if (member.sum(1) > 1).any():
        raise DataError(
            found="classes in several verticals",
            expected="each in one at most",
            fix="give shared classes a vertical of their own",
        )
    wanted = member[y].mean(0)

    def loss(bias: np.ndarray) -> tuple[float, np.ndarray]:
        p = softmax(z + member @ bias, 1)
        value = -np.log(p[np.arange(len(y)), y].clip(1e-300)).mean() + 1e-3 * (bias**2).sum()
        return float(value), (p @ member).mean(0) - wanted + 2e-3 * bias

    found = minimize(loss, np.zeros(len(verticals)), jac=True, method="L-BFGS-B")
    return np.asarray(member @ found.x)
