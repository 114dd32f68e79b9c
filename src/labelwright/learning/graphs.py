"""Hypergraph teachers and their students without a graph (LightHGNN): network, edge reliability, agreement on edges.

Matrices come from `labelwright.features.hypergraph`; `sparse_tensor` takes them to torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from labelwright.errors import DataError, OptionError, check_option, check_whole
from labelwright.learning.losses._rows import check_logits, entropy, log_probs, soft_rows, wide

NOISES = ("multiplicative", "additive")
FORMS = ("intended", "released")


def sparse_tensor(matrix: Any) -> Tensor:
    """A SciPy sparse matrix as a coalesced float32 torch tensor of the same shape."""
    coo = matrix.tocoo()
    index = torch.stack([torch.as_tensor(coo.row).long(), torch.as_tensor(coo.col).long()])
    values = torch.as_tensor(coo.data).float()
    return torch.sparse_coo_tensor(index, values, coo.shape, check_invariants=True).coalesce()


class HypergraphNet(nn.Module):
    """Two hypergraph convolutions: logits (N, K) = A drop(relu(A X W1 + b1)) W2 + b2, all items at once.

    Args:
        n_features, n_classes: D and K.   hidden: width, 32 in the paper.   dropout: share of hidden values set to 0.

    `forward(x, operator)`: x (N, D) dense, operator A (N, N), sparse or dense (`propagation`). The bias is added before
    A, as in the library of the paper.

    Source: Feng et al. 2019 (HGNN); sizes of Feng et al. 2024 (LightHGNN): no batch norm.
    """

    def __init__(self, n_features: int, n_classes: int, *, hidden: int = 32, dropout: float = 0.5):
        super().__init__()
        for name, value in {"n_features": n_features, "n_classes": n_classes, "hidden": hidden}.items():
            check_whole(name, value, 1)
        if not 0 <= dropout < 1:
            raise OptionError(found=f"dropout={dropout!r}", expected="a share in [0, 1)", fix="pass dropout=0.5")
        self.first = nn.Linear(n_features, hidden)
        self.last = nn.Linear(hidden, n_classes)
        self.dropout = nn.Dropout(dropout)

    def hidden(self, x: Tensor, operator: Tensor) -> Tensor:
        """(N, hidden) embeddings of the first layer, after relu, without dropout."""
        if operator.shape != (len(x), len(x)):
            raise DataError(
                found=f"an operator of shape {tuple(operator.shape)} for {len(x)} items",
                expected=f"({len(x)}, {len(x)})",
                fix="make it with propagation(incidence) of the same items",
            )
        return torch.relu(operator @ self.first(x))

    def forward(self, x: Tensor, operator: Tensor) -> Tensor:
        """(N, K) logits."""
        logits: Tensor = operator @ self.last(self.dropout(self.hidden(x, operator)))
        return logits


def noisy_features(
    x: Tensor, *, level: float = 1.0, noise: str = "multiplicative", generator: torch.Generator | None = None
) -> Tensor:
    """Features with Gaussian noise, for `hyperedge_reliability`.

    Args:
        x: (N, D).   level: size of the noise; 0 gives x back.
        noise: "multiplicative": x (1 + level e), so that zeros stay zero: right for bags of words. "additive":
            x + level s e with s the standard deviation of each column: for dense features.
        generator: torch's, for a run that repeats.

    The released code scales by (1 + e) * level, which is the same at its level of 1.
    """
    check_option("noise", noise, NOISES)
    if not level >= 0:
        raise OptionError(found=f"level={level!r}", expected="0 or more", fix="pass level=1.0")
    e = level * torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return x * (1 + e) if noise == "multiplicative" else x + x.std(0, correction=0) * e


def hyperedge_reliability(teacher_logits: Tensor, noisy_logits: Tensor, incidence: Tensor) -> Tensor:
    """(E,) in [0, 1], the chance to use each hyperedge: 1 - change of its mean entropy under noise / the largest change.

    Args:
        teacher_logits, noisy_logits: (N, K) of the teacher in eval mode on x and on `noisy_features(x)`.
        incidence: (N, E) of 0 and 1, sparse or dense.

    All 1 where no entropy changes; empty hyperedges get 0. Draw a mask in each step with torch.bernoulli(reliability).

    Source: Feng et al. 2024 (LightHGNN+), reliability of hyperedges.
    """
    check_logits(teacher_logits, noisy_logits, "noisy_logits")
    with torch.no_grad():
        both = [torch.nan_to_num(entropy(wide(z).softmax(-1))) for z in (noisy_logits, teacher_logits)]
        change = _edge_means(torch.stack(both, -1), incidence)
        gap = (change[:, 0] - change[:, 1]).abs()
        most = gap.max()
        chance = 1 - gap / most if most > 0 else torch.ones_like(gap)
        return chance * (_sizes(incidence) > 0)


def hyperedge_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    incidence: Tensor,
    mask: Tensor | None = None,
    *,
    form: str = "intended",
) -> Tensor:
    """Scalar: mean over hyperedges of KL(teacher || student) between the mean softmax of their items.

    Args:
        student_logits, teacher_logits: (N, K); no gradient reaches the teacher.
        incidence: (N, E) of 0 and 1, sparse or dense.
        mask: (E,) bool or 0 and 1, the hyperedges that count in this step; None: all. Empty hyperedges never count, and
            without any the loss is 0. Hyperedges of one item say no more than the items do.
        form: "intended", or "released": what the paper's code computes, which reads the teacher's probabilities as
            logarithms and so pulls the student towards a nearly flat target. For comparison only.

    Raises:
        DataError: logits or incidence that do not fit together.   OptionError: an unknown form.

    Source: Feng et al. 2024 (LightHGNN+), high-order soft-target loss.
    """
    check_logits(student_logits, teacher_logits)
    used = _sizes(incidence) > 0
    if mask is not None:
        if mask.shape != used.shape:
            raise DataError(
                found=f"a mask of shape {tuple(mask.shape)} for {len(used)} hyperedges",
                expected=f"({len(used)},) bool",
                fix="pass torch.bernoulli(reliability)",
            )
        used = used & mask.bool()
    teacher = _edge_means(wide(teacher_logits.detach()).softmax(-1), incidence)[used]
    student = _edge_means(wide(student_logits).softmax(-1), incidence)[used]
    tiny = torch.finfo(student.dtype).tiny
    rows = _kl(teacher, student.clamp_min(tiny).log(), form)
    return rows.sum() / used.sum().clamp_min(1)


def vertex_kl(student_logits: Tensor, teacher_logits: Tensor, *, form: str = "intended") -> Tensor:
    """Scalar: mean over items of KL(teacher || student); `form` as in `hyperedge_kl`. No gradient reaches the teacher.

    Source: Feng et al. 2024 (LightHGNN), soft-target loss.
    """
    check_logits(student_logits, teacher_logits)
    target = wide(teacher_logits.detach()).softmax(-1)
    check_option("form", form, FORMS)
    if form == "intended":
        return (soft_rows(wide(student_logits), target) - entropy(target)).mean()
    return _kl(target, log_probs(student_logits), form).mean()


def topology_score(hidden: Tensor, incidence: Tensor) -> float:
    """Mean over hyperedges of the mean distance of their items to the edge's mean, in embedding space; 0 = all alike.

    Args:
        hidden: (N, D) embeddings.   incidence: (N, E) of 0 and 1. Empty hyperedges do not count.

    Source: Feng et al. 2024, over-smoothing by topology.
    """
    item, edge = (
        incidence.to_dense().nonzero(as_tuple=True) if not incidence.is_sparse else incidence.coalesce().indices()
    )
    size = _sizes(incidence).to(hidden.dtype)
    gap = (hidden[item] - _edge_means(hidden, incidence)[edge]).norm(dim=-1)
    per_edge = torch.zeros(len(size), dtype=hidden.dtype, device=hidden.device).index_add_(0, edge, gap)
    return float((per_edge / size.clamp_min(1))[size > 0].mean())


def _kl(target: Tensor, log_q: Tensor, form: str) -> Tensor:
    """(B,) KL(target || exp(log_q)), or what the released code has in its place."""
    check_option("form", form, FORMS)
    if form == "intended":
        return -(target * log_q).sum(-1) - entropy(target)
    return (target.exp() * (target - log_q)).sum(-1)


def _edge_means(values: Tensor, incidence: Tensor) -> Tensor:
    """(E, C) mean of (N, C) values over the items of each hyperedge, 0 for an empty one."""
    if incidence.ndim != 2 or incidence.shape[0] != len(values):
        raise DataError(
            found=f"an incidence of shape {tuple(incidence.shape)} for {len(values)} items",
            expected=f"({len(values)}, E)",
            fix="make it from the same items, in the same order",
        )
    turned = incidence.t().to(values.dtype)
    return (turned @ values) / _sizes(incidence).to(values.dtype).clamp_min(1)[:, None]


def _sizes(incidence: Tensor) -> Tensor:
    """(E,) items of each hyperedge."""
    total = incidence.sum(0)
    return total.to_dense() if total.is_sparse else total
