"""Hypergraph parts of a recipe against loops over hyperedges, and in a short training."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labelwright.errors import DataError, LabelwrightWarning, OptionError, ProbabilityError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.features.hypergraph import hypergraph_from_neighbours, propagation  # noqa: E402
from labelwright.learning import train  # noqa: E402
from labelwright.learning.context import Context  # noqa: E402
from labelwright.learning.data import TrainData  # noqa: E402
from labelwright.learning.graph_parts import HyperedgeAgreement, WholeSet  # noqa: E402
from labelwright.learning.graphs import HypergraphNet, sparse_tensor  # noqa: E402
from labelwright.learning.networks import MLP  # noqa: E402

H = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], float)


def step(items: list[int], seed: int = 0, k: int = 3) -> Context:
    rng = np.random.default_rng(seed)
    z, t = (torch.tensor(rng.normal(size=(len(items), k)), requires_grad=i == 0) for i in range(2))
    return Context(items=torch.tensor(items), logits=z, teacher_logits=t, seed=seed, step=0)


def naive(context: Context, h: np.ndarray) -> float:
    """Mean over hyperedges with two or more items of the batch of KL between mean softmaxes."""
    p, q = (context[name].detach().softmax(-1).numpy() for name in ("logits", "teacher_logits"))
    items, found = context["items"].tolist(), []
    for edge in range(h.shape[1]):
        rows = [r for r, item in enumerate(items) if h[item, edge]]
        if len(rows) >= 2:
            s, t = p[rows].mean(0), q[rows].mean(0)
            found.append(sum(b * math.log(b / a) for a, b in zip(s, t)))
    return float(np.mean(found)) if found else 0.0


@pytest.mark.parametrize("items", [[0, 1, 2, 3, 4], [3, 1, 0], [4, 2, 0, 1], [3, 4]])
def test_agreement_by_loop_in_any_order_of_items(items: list[int]) -> None:
    context = step(items)
    loss = HyperedgeAgreement(H)(context)
    assert float(loss.detach()) == pytest.approx(naive(context, H), abs=1e-7)
    loss.backward()
    assert bool(torch.isfinite(context["logits"].grad).all())


def test_hyperedges_of_one_item_do_not_count() -> None:
    context = step([3, 0])  # together in no edge
    loss = HyperedgeAgreement(H)(context)
    assert float(loss.detach()) == 0
    loss.backward()
    assert bool((context["logits"].grad == 0).all())


def test_reliability_draws_the_edges() -> None:
    items = [0, 1, 2, 3, 4]
    only = np.array([0.0, 1.0, 0.0, 0.0])
    context = step(items)
    assert float(HyperedgeAgreement(H, reliability=only)(context).detach()) == pytest.approx(
        naive(context, H * only), abs=1e-7
    )
    assert float(HyperedgeAgreement(H, reliability=np.zeros(4))(step(items)).detach()) == 0
    half, context, seen = HyperedgeAgreement(H, reliability=np.full(4, 0.5)), step(items), []
    for number in [*range(20), 0]:
        context.pop("rng", None)
        context["step"] = number
        seen.append(float(half(context).detach()))
    assert len(set(seen)) > 3 and seen[0] == seen[-1]  # drawn anew in each step, and the same again for the same step


def test_whole_set_gives_the_rows_of_the_items() -> None:
    rng = np.random.default_rng(1)
    x, a = torch.tensor(rng.normal(size=(5, 4)), dtype=torch.float32), sparse_tensor(propagation(H))
    net = HypergraphNet(4, 3).eval()
    for given in (x, x.to_sparse()):
        found = WholeSet(net, given, a).eval()(torch.tensor([3, 0, 3]))["logits"]
        torch.testing.assert_close(found, net(x, a)[[3, 0, 3]])
    mlp = MLP(4, 3, hidden=(6,)).eval()
    found = WholeSet(mlp, x.to_sparse())(torch.tensor([4, 1]))
    torch.testing.assert_close(found["features"], mlp(x)["features"][[4, 1]])
    assert not [name for name in WholeSet(net, x, a).state_dict() if not name.startswith("net.")]


def test_items_without_features_are_counted() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    for given in (x, x.to_sparse()):
        with pytest.warns(LabelwrightWarning, match="2 of 3 items have no feature"):
            WholeSet(MLP(2, 2), given)
        WholeSet(HypergraphNet(2, 2), given, torch.eye(3))  # the structure tells them apart


def test_a_student_learns_from_a_graph_teacher() -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = (x[:300] / 16).astype(np.float32), y[:300]
    h = hypergraph_from_neighbours(x, k=8)
    items, labels, inside = np.arange(300), np.where(np.arange(300) < 40, y, -1), torch.from_numpy(x)
    shared = {"batch_size": 300, "optimizer": {"adam": {"lr": 0.01}}, "schedule": "constant", "epochs": 40}

    def mlp() -> WholeSet:
        torch.manual_seed(0)  # a module of one's own is made before `train` sets its seed
        return WholeSet(MLP(64, 10, hidden=(32,)), inside)

    torch.manual_seed(0)
    net = WholeSet(HypergraphNet(64, 10), inside, sparse_tensor(propagation(h)))
    teacher = train(items, labels, classes=10, student=net, **shared)
    data = TrainData(items, labels, classes=10, extra={"teacher_logits": teacher.logits(items)})
    student = train(data, student=mlp(), loss=("kd", HyperedgeAgreement(h)), **shared)
    alone = train(items, labels, classes=10, student=mlp(), **shared)
    right = [(m.logits(items).argmax(1) == y)[40:].mean() for m in (student, alone)]
    assert right[0] > right[1] + 0.01


def test_errors() -> None:
    with pytest.raises(ProbabilityError, match="hyperedge_reliability"):
        HyperedgeAgreement(H, reliability=[1.0, 2.0, 0.0, 0.0])
    with pytest.raises(OptionError, match="intended"):
        HyperedgeAgreement(H, form="meant")
    data = TrainData(
        np.zeros((3, 2), np.float32), np.zeros(3, int), classes=2, extra={"teacher_logits": np.zeros((3, 2))}
    )
    with pytest.raises(DataError, match=r"incidence\[rows\]"):
        train(data, student="linear", loss=("kd", HyperedgeAgreement(H)), epochs=1)
