"""Hypergraph network and losses against loops over hyperedges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError, OptionError
from labelwright.features.hypergraph import hypergraph_from_neighbours, propagation

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.learning.graphs import (  # noqa: E402
    HypergraphNet,
    hyperedge_kl,
    hyperedge_reliability,
    noisy_features,
    sparse_tensor,
    topology_score,
    vertex_kl,
)


def draw(seed: int = 0, n: int = 9, e: int = 6, k: int = 4) -> tuple[Any, Any, Any]:
    """Student and teacher logits, incidence whose last edge is empty; float64."""
    rng = np.random.default_rng(seed)
    h = (rng.random((n, e)) < 0.4).astype(float)
    h[0, :], h[:, -1] = 1.0, 0.0
    return torch.tensor(rng.normal(size=(n, k)) * 2), torch.tensor(rng.normal(size=(n, k)) * 2), torch.tensor(h)


def softmax(row: list[float]) -> list[float]:
    e = [math.exp(v - max(row)) for v in row]
    return [v / sum(e) for v in e]


def naive_edge_loss(s: Any, t: Any, h: Any, mask: list[bool], released: bool) -> float:
    total, edges = 0.0, 0
    for j in range(h.shape[1]):
        inside = [i for i in range(len(h)) if h[i, j] > 0]
        if not inside or not mask[j]:
            continue
        edges += 1
        q, p = ([sum(col) / len(inside) for col in zip(*(softmax(z[i].tolist()) for i in inside))] for z in (t, s))
        if released:
            total += sum(math.exp(a) * (a - math.log(b)) for a, b in zip(q, p))
        else:
            total += sum(a * math.log(a / b) for a, b in zip(q, p))
    return total / edges if edges else 0.0


@pytest.mark.parametrize("form", ["intended", "released"])
@pytest.mark.parametrize("sparse", [False, True])
def test_edge_loss_by_loop(form: str, sparse: bool) -> None:
    s, t, h = draw()
    given = h.to_sparse() if sparse else h
    assert float(hyperedge_kl(s, t, given, form=form)) == pytest.approx(
        naive_edge_loss(s, t, h, [True] * 6, form == "released"), rel=1e-9
    )
    mask = torch.tensor([True, False, True, False, False, True])
    assert float(hyperedge_kl(s, t, given, mask, form=form)) == pytest.approx(
        naive_edge_loss(s, t, h, mask.tolist(), form == "released"), rel=1e-9
    )


def test_vertex_loss_is_the_edge_loss_of_single_items() -> None:
    s, t, _ = draw(1)
    for form in ("intended", "released"):
        alone = hyperedge_kl(s, t, torch.eye(len(s), dtype=s.dtype), form=form)
        assert float(vertex_kl(s, t, form=form)) == pytest.approx(float(alone), rel=1e-9)


def test_gradients() -> None:
    s, t, h = draw(2)
    s.requires_grad_(), t.requires_grad_()
    for form in ("intended", "released"):
        assert torch.autograd.gradcheck(lambda z, form=form: hyperedge_kl(z, t.detach(), h, form=form), (s,))
        assert torch.autograd.gradcheck(lambda z, form=form: vertex_kl(z, t.detach(), form=form), (s,))
    hyperedge_kl(s, t, h).backward()
    assert t.grad is None and s.grad is not None


def test_intended_loss_is_0_at_the_teacher_and_the_released_one_is_not() -> None:
    _, t, h = draw(3)
    s = (8 * t).clone().requires_grad_()
    assert float(vertex_kl(t, t)) == pytest.approx(0, abs=1e-12) == float(hyperedge_kl(t, t, h))
    vertex_kl(s, 8 * t, form="released").backward()
    assert s.grad.abs().max() > 0.01  # a sure student that equals its teacher is pulled away from it


def test_no_edge_left() -> None:
    s, t, h = draw(4)
    s.requires_grad_()
    loss = hyperedge_kl(s, t, h, torch.zeros(6))
    loss.backward()
    assert float(loss.detach()) == 0 and bool((s.grad == 0).all())


def test_extreme_logits_stay_finite() -> None:
    s = torch.tensor([[1e4, 0.0, -math.inf]] * 2, requires_grad=True)
    t = torch.tensor([[0.0, 1e4, 0.0]] * 2)
    for loss in (
        hyperedge_kl(s, t, torch.ones(2, 1)),
        vertex_kl(torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1.0]])),
    ):
        assert bool(torch.isfinite(loss))


def test_reliability_by_loop() -> None:
    s, t, h = draw(5)
    found = hyperedge_reliability(t, s, h)

    def entropy(z: Any, i: int) -> float:
        return -sum(v * math.log(v) for v in softmax(z[i].tolist()))

    gap = []
    for j in range(5):
        inside = [i for i in range(len(h)) if h[i, j] > 0]
        gap.append(abs(sum(entropy(s, i) - entropy(t, i) for i in inside)) / len(inside))
    assert found[:5].tolist() == pytest.approx([1 - g / max(gap) for g in gap])
    assert found[5] == 0 and found.min() >= 0 and found.max() <= 1
    assert hyperedge_reliability(t, t, h).tolist() == [1, 1, 1, 1, 1, 0]  # nothing changed: nothing divided by 0


def test_noise() -> None:
    x = torch.tensor([[0.0, 2.0, 7.0], [4.0, 0.0, 7.0]]).repeat(4000, 1)
    seeded = [torch.Generator().manual_seed(0) for _ in range(2)]
    noisy = noisy_features(x, generator=seeded[0])
    assert bool((noisy[x == 0] == 0).all()) and torch.equal(noisy, noisy_features(x, generator=seeded[1]))
    assert float((noisy / x)[x > 0].std()) == pytest.approx(1, abs=0.05)
    added = noisy_features(x, level=0.5, noise="additive", generator=seeded[0]) - x
    assert added.std(0).tolist() == pytest.approx([1.0, 0.5, 0.0], rel=0.06)  # half of each column's spread
    assert torch.equal(noisy_features(x, level=0.0), x)


def test_network_is_its_formula() -> None:
    rng = np.random.default_rng(6)
    a = propagation(rng.random((8, 4)) < 0.5)
    x = torch.tensor(rng.normal(size=(8, 5)), dtype=torch.float32)
    net = HypergraphNet(5, 3, hidden=6).eval()
    w1, b1, w2, b2 = (v.detach().double().numpy() for v in net.parameters())
    expected = a.toarray() @ (np.maximum(a.toarray() @ (x.numpy() @ w1.T + b1), 0) @ w2.T + b2)
    for operator in (sparse_tensor(a), torch.tensor(a.toarray())):
        np.testing.assert_allclose(net(x, operator).detach().numpy(), expected, atol=1e-5)


def test_structure_helps_on_digits() -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = x[:900] / 16, torch.tensor(y[:900])
    a = sparse_tensor(propagation(hypergraph_from_neighbours(x, k=10)))
    eye = torch.eye(900).to_sparse()
    seen, inputs = torch.arange(50), torch.tensor(x, dtype=torch.float32)

    def accuracy(operator: Any) -> float:
        torch.manual_seed(0)
        net = HypergraphNet(64, 10)
        steps = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=5e-4)
        for _ in range(80):
            steps.zero_grad()
            torch.nn.functional.cross_entropy(net(inputs, operator)[seen], y[seen]).backward()
            steps.step()
        return float((net.eval()(inputs, operator)[50:].argmax(1) == y[50:]).float().mean())

    assert accuracy(a) > accuracy(eye) + 0.02


def test_topology_score_by_loop() -> None:
    z, _, h = draw(7)
    expected = []
    for j in range(5):
        inside = z[h[:, j] > 0]
        expected.append(float((inside - inside.mean(0)).norm(dim=1).mean()))
    for given in (h, h.to_sparse()):
        assert topology_score(z, given) == pytest.approx(sum(expected) / 5)
    assert topology_score(torch.ones(9, 2, dtype=z.dtype), h) == 0


def test_errors() -> None:
    s, t, h = draw()
    with pytest.raises(DataError, match="same items, in the same order"):
        hyperedge_kl(s, t, h[:5])
    with pytest.raises(DataError, match="torch.bernoulli"):
        hyperedge_kl(s, t, h, torch.ones(2))
    with pytest.raises(OptionError, match="did you mean 'released'"):
        hyperedge_kl(s, t, h, form="realeased")
    with pytest.raises(OptionError, match="did you mean 'additive'"):
        noisy_features(s, noise="addtive")
    with pytest.raises(OptionError, match="level=1.0"):
        noisy_features(s, level=-1.0)
    with pytest.raises(OptionError, match="dropout=0.5"):
        HypergraphNet(3, 2, dropout=1.0)
    with pytest.raises(DataError, match=r"propagation\(incidence\)"):
        HypergraphNet(4, 2)(s.float(), torch.eye(3))
