"""Soft losses and controls against plain loops, and what every loss has in common."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.learning import losses as L  # noqa: E402

FLOOR = 1e-12


def draw(seed: int = 0, n: int = 6, k: int = 4, scale: float = 2.0) -> tuple[Any, Any, Any]:
    """Logits, soft targets with a zero in each row, hard ids with one -1; float64."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.ones(k), n)
    q[np.arange(n), rng.integers(0, k, n)] = 0
    y = rng.integers(0, k, n)
    y[0] = -1
    return torch.tensor(rng.normal(size=(n, k)) * scale), torch.tensor(q / q.sum(1, keepdims=True)), torch.tensor(y)


def probs(z: Any) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


def xlogy(a: float, b: float) -> float:
    return 0.0 if a == 0 else a * math.log(b)


def cross(p: list[float], q: list[float]) -> float:
    return -sum(xlogy(b, a) for a, b in zip(p, q))


def forward(p: list[float], q: list[float]) -> float:
    return sum(xlogy(b, b) for b in q) + cross(p, q)


def backward(p: list[float], q: list[float]) -> float:
    return sum(a * (math.log(a + FLOOR) - math.log(b + FLOOR)) for a, b in zip(p, q))


def both(p: list[float], q: list[float]) -> float:
    return 0.5 * sum((a - b) * (math.log(a + FLOOR) - math.log(b + FLOOR)) for a, b in zip(p, q))


def shannon(p: list[float], q: list[float]) -> float:
    m = [(a + b) / 2 for a, b in zip(p, q)]
    return 0.5 * (forward(m, p) + forward(m, q))


def focused(p: list[float], q: list[float]) -> float:
    return -sum(b * (1 - a) ** 2 * math.log(a) for a, b in zip(p, q))


def smoothed(p: list[float], q: list[float]) -> float:
    return cross(p, [0.9 * b + 0.1 / len(q) for b in q])


SOFT = {
    "soft_cross_entropy": cross,
    "kl": forward,
    "reverse_kl": backward,
    "jeffreys": both,
    "js": shannon,
    "focal": focused,
    "label_smoothing": smoothed,
}
BOTH_KINDS = [*SOFT, "margin", "ordinal_loss"]


def naive_rows(name: str, z: Any, q: Any) -> list[float]:
    return [SOFT[name](probs(a), b) for a, b in zip(z.tolist(), q.tolist())]


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("name", SOFT)
def test_against_a_plain_loop(name: str, k: int):
    loss, (z, q, y) = L.LOSSES[name], draw(k=k)
    want = naive_rows(name, z, q)
    np.testing.assert_allclose(loss(z, q, reduction="none"), want, atol=1e-9)
    np.testing.assert_allclose(loss(z, q, reduction="sum"), sum(want), atol=1e-9)
    np.testing.assert_allclose(loss(z, q), sum(want) / len(want), atol=1e-9)
    hot = torch.nn.functional.one_hot(y.clamp_min(0), k).double()
    want = [0.0, *naive_rows(name, z, hot)[1:]]  # row 0 is ignored
    np.testing.assert_allclose(loss(z, y, reduction="none"), want, atol=1e-9)
    np.testing.assert_allclose(loss(z, y), sum(want) / (len(want) - 1), atol=1e-9)


@pytest.mark.parametrize("name", SOFT)
def test_multi_label_is_a_two_class_problem_per_class(name: str):
    rng = np.random.default_rng(1)
    z, y = torch.tensor(rng.normal(size=(5, 3)) * 2), rng.uniform(0.05, 0.95, (5, 3))
    y[1, 2], y[2] = -1, -1
    want = [
        sum(SOFT[name](probs([z[i, k], 0.0]), [y[i, k], 1 - y[i, k]]) for k in range(3) if y[i, k] >= 0)
        for i in range(5)
    ]
    loss = L.LOSSES[name]
    np.testing.assert_allclose(loss(z, torch.tensor(y), multi_label=True, reduction="none"), want, atol=1e-9)
    np.testing.assert_allclose(loss(z, torch.tensor(y), multi_label=True), sum(want) / 4, atol=1e-9)  # row 2 is unknown
    yes = torch.tensor(rng.random((5, 3)) < 0.5)
    torch.testing.assert_close(loss(z, yes, multi_label=True), loss(z, yes.double(), multi_label=True))
    if name == "soft_cross_entropy":
        known = torch.nn.functional.binary_cross_entropy_with_logits(z, yes.double(), reduction="none").sum(1).mean()
        torch.testing.assert_close(loss(z, yes, multi_label=True), known)


def test_margin_against_a_plain_loop():
    z, q, y = draw(n=8)
    lead = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)

    def hinge(row: list[float], k: int) -> float:
        return max(0.0, float(lead[k]) - row[k] + max(v for j, v in enumerate(row) if j != k))

    want = [sum(b * hinge(a, k) for k, b in enumerate(r)) for a, r in zip(z.tolist(), q.tolist())]
    np.testing.assert_allclose(L.margin(z, q, margin=lead, reduction="none"), want)
    want = [hinge(a, int(k)) if k >= 0 else 0.0 for a, k in zip(z.tolist(), y)]
    np.testing.assert_allclose(L.margin(z, y, margin=lead, reduction="none"), want)


@pytest.mark.parametrize("name", BOTH_KINDS)
def test_one_hot_is_hard_and_zeros_are_ignored_like_minus_one(name: str):
    loss, (z, _, y) = L.LOSSES[name], draw()
    hot = torch.nn.functional.one_hot(y.clamp_min(0), 4).double() * (y >= 0)[:, None]
    for reduction in ("mean", "sum", "none"):
        torch.testing.assert_close(loss(z, hot, reduction=reduction), loss(z, y, reduction=reduction))
    alone = loss(z[1:], y[1:])
    torch.testing.assert_close(loss(z, y), alone)
    nobody = loss(z.requires_grad_(), torch.full_like(y, -1))
    nobody.backward()
    assert nobody.item() == 0 and not z.grad.any()


@pytest.mark.parametrize("name", [*SOFT, "margin"])
def test_the_names_of_the_classes_do_not_matter(name: str):
    loss, (z, q, y) = L.LOSSES[name], draw()
    order = torch.tensor([2, 0, 3, 1])
    back = order.argsort()
    torch.testing.assert_close(loss(z[:, order], q[:, order]), loss(z, q))
    torch.testing.assert_close(loss(z[:, order], torch.where(y < 0, y, back[y.clamp_min(0)])), loss(z, y))


@pytest.mark.parametrize("name", BOTH_KINDS)
@pytest.mark.parametrize("k", [2, 5])
def test_gradients(name: str, k: int):
    loss, (z, q, y) = L.LOSSES[name], draw(k=k, scale=1.0)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: loss(a, q, reduction="none"), z)
    assert torch.autograd.gradcheck(lambda a: loss(a, y), z)
    if name in SOFT and name != "label_smoothing":  # labels may be learned too, where they are positive
        even = torch.full_like(q, 1 / k).requires_grad_()
        assert torch.autograd.gradcheck(lambda b: loss(z.detach(), b, check=False), even)


@pytest.mark.parametrize("name", ["soft_cross_entropy", "kl", "js", "focal"])
def test_gradients_of_gradients(name: str):
    z, q, _ = draw(n=2, k=3, scale=1.0)
    assert torch.autograd.gradgradcheck(lambda a: L.LOSSES[name](a, q), z.requires_grad_())


@pytest.mark.parametrize("name", BOTH_KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("k", [2, 3])
def test_extreme_logits_and_half_precision(name: str, dtype: Any, k: int):
    loss = L.LOSSES[name]
    z = torch.full((2 * k, k), -1e4)
    z[torch.arange(2 * k), torch.arange(2 * k) % k] = 1e4
    z = z.to(dtype).requires_grad_()
    ids = torch.arange(k).repeat_interleave(2)
    for targets in (ids, torch.full((2 * k, k), 1 / k).to(dtype)):
        out = loss(z, targets)
        (grad,) = torch.autograd.grad(out, z)
        assert out.dtype == torch.float32 and torch.isfinite(out) and torch.isfinite(grad).all()
    right = loss(z, torch.arange(2 * k) % k)
    assert name in ("label_smoothing", "ordinal_loss") or abs(right.item()) < 1e-6


@pytest.mark.parametrize("name", ["soft_cross_entropy", "kl", "js", "focal"])
def test_a_class_of_no_chance_may_meet_a_target_of_zero(name: str):
    z = torch.tensor([[0.0, 1.0, -float("inf")]], requires_grad=True)
    q = torch.tensor([[0.25, 0.75, 0.0]])
    short = L.LOSSES[name](z[:, :2], q[:, :2])
    whole = L.LOSSES[name](z, q)
    torch.testing.assert_close(whole, short)
    (grad,) = torch.autograd.grad(whole, z)
    assert torch.isfinite(grad).all()


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.1, 30.0))
def test_divergences_are_at_least_0_and_0_where_equal(seed: int, k: int, scale: float):
    z, q, _ = draw(seed, k=k, scale=scale)
    for name in ("kl", "reverse_kl", "jeffreys", "js"):
        assert (L.LOSSES[name](z, q, reduction="none") > -1e-9).all()
        np.testing.assert_allclose(L.LOSSES[name](z, z.softmax(-1), reduction="none"), 0, atol=1e-9)
    assert (L.js(z, q, reduction="none") <= math.log(2) + 1e-9).all()
    torch.testing.assert_close(L.js(q.clamp_min(1e-300).log(), z.softmax(-1)), L.js(z, q))  # symmetric


def test_jeffreys_is_not_bounded_by_log_2():
    far = torch.tensor([[1e4, 0.0]]), torch.tensor([1])
    assert L.jeffreys(*far) > 13 and L.js(*far) < 0.6932


def test_temperature():
    z, q, y = draw()
    torch.testing.assert_close(L.kl(z, q, temperature=3.0), L.kl(z / 3, q))
    torch.testing.assert_close(L.js(z, y, temperature=0.5), L.js(z * 2, y))
    torch.testing.assert_close(L.temper(z.softmax(-1), 4.0), L.soften(z, 4.0))
    assert not L.temper(torch.zeros(2, 3), 2.0).any()


def test_class_weight_and_leading_axes():
    z, q, y = draw(n=12)
    w = torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    want = [sum(-float(w[k]) * float(q[i, k]) * math.log(probs(z[i].tolist())[k]) for k in range(4)) for i in range(12)]
    np.testing.assert_allclose(L.soft_cross_entropy(z, q, class_weight=w, reduction="none"), want)
    rows = L.soft_cross_entropy(z, y, class_weight=w, reduction="none")
    np.testing.assert_allclose(rows[1], -w[y[1]] * math.log(probs(z[1].tolist())[int(y[1])]))
    for targets in (q.reshape(3, 4, 4), y.reshape(3, 4)):
        flat = L.soft_cross_entropy(z, targets.reshape(12, *targets.shape[2:]), reduction="none")
        torch.testing.assert_close(
            L.soft_cross_entropy(z.reshape(3, 4, 4), targets, reduction="none"), flat.reshape(3, 4)
        )


@pytest.mark.parametrize("name", ["soft_cross_entropy", "kl", "js", "focal", "label_smoothing", "margin"])
def test_bad_targets(name: str):
    loss, (z, q, y) = L.LOSSES[name], draw()
    with pytest.raises(LabelError, match="2 targets that are no class, row 3, 4.*-1 = ignored"):
        loss(z, torch.tensor([0, 1, 2, 4, -100, 1]))
    with pytest.raises(ProbabilityError, match=r"1 rows of targets are no distribution, row 2 .*divide by targets.sum"):
        loss(z, torch.where(torch.arange(6)[:, None] == 2, q * 2, q))
    with pytest.raises(ProbabilityError, match="least -0.5"):
        loss(z, torch.tensor([[1.5, -0.5, 0, 0]], dtype=torch.float64).expand(6, 4))
    with pytest.raises(ProbabilityError, match="row 0"):
        loss(z, q * float("nan"))
    with pytest.raises(DataError, match=r"class ids are integers: pass targets.long\(\)"):
        loss(z, y.double())
    with pytest.raises(DataError, match="from the same items"):
        loss(z, y[1:])
    with pytest.raises(DataError, match="multi_label=True"):
        loss(z, q > 0.5)
    with pytest.raises(DataError, match="raw scores"):
        loss(y, y)
    with pytest.raises(OptionError, match="did you mean 'mean'"):
        loss(z, q, reduction="men")
    assert torch.isfinite(loss(z, q * 2, check=False))


def test_bad_options():
    z, q, _ = draw()
    with pytest.raises(OptionError, match="temperature=1.0"):
        L.kl(z, q, temperature=0)
    with pytest.raises(OptionError, match="smoothing=0.1"):
        L.label_smoothing(z, q, smoothing=1.5)
    with pytest.raises(OptionError, match="gamma=2.0"):
        L.focal(z, q, gamma=-1)
    with pytest.raises(DataError, match="one weight per class"):
        L.soft_cross_entropy(z, q, class_weight=torch.ones(3))
    with pytest.raises(LabelError, match="present as 1"):
        L.js(z, q * 3, multi_label=True)
    with pytest.raises(DataError, match="as a row of 0 and 1"):
        L.js(z, q[:, :2], multi_label=True)
    with pytest.raises(DataError, match="K of at least 2"):
        L.margin(z[:, :1], torch.zeros(6, dtype=torch.long))


def test_the_package_itself_does_not_import_torch():
    code = "import sys, labelwright, labelwright.learning; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("part", ["losses", "mix"])
def test_without_torch_the_extra_is_named(part: str):
    code = f"import sys; sys.modules['torch'] = None; import labelwright.learning.{part}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'Fix: pip install "labelwright[learn]"' in done.stderr and "MissingExtra" in done.stderr


def test_every_loss_has_a_name_and_a_docstring_that_tells_its_source_or_kind():
    assert all(name == loss.__name__ and loss.__doc__ for name, loss in L.LOSSES.items())
    assert set(L.LOSSES) < set(L.__all__)
