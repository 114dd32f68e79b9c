"""Card 10: a hypergraph network as the teacher of a plain MLP that needs no structure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems._students import digit_pictures, learnt
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "hypergraph of a graph": "labelwright.features.hypergraph.hypergraph_from_edges",
    "hypergraph of neighbours": "labelwright.features.hypergraph.hypergraph_from_neighbours",
    "propagation": "labelwright.features.hypergraph.propagation",
    "teacher": "labelwright.learning.graphs.HypergraphNet",
    "a network of the whole set": "labelwright.learning.graph_parts.WholeSet",
    "reliability": "labelwright.learning.graphs.hyperedge_reliability",
    "agreement on hyperedges": "labelwright.learning.graph_parts.HyperedgeAgreement",
}
TRAIN = {
    "optimizer": {"adam": {"lr": 0.01, "weight_decay": 5e-4}},
    "schedule": "constant",
    "epochs": 100,
    "validate_every": 5,
    "keep": "best",
    "monitor": "accuracy",
}
HIDDEN, HELD_OUT = 128, 0.9


class Case(NamedTuple):
    """What the arms of a seed share. Rows count in the whole set; `seen` are those that training may look at.

    x: (N, D) tensor, dense or sparse.   y: (N,).   seen, train, valid, test: rows.   incidence: of the seen rows.
    operators: propagation among the seen rows, and among all.   teacher, mlp: trained networks.
    teacher_logits, mlp_logits: theirs of the seen rows.   reliability: of the hyperedges.
    """

    x: Any
    y: np.ndarray
    seen: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    incidence: Any
    operators: tuple[Any, Any]
    teacher: Any
    mlp: Any
    teacher_logits: np.ndarray
    mlp_logits: np.ndarray
    reliability: np.ndarray


# ------------------------------------------------------------------------------------------------------------ data
def graph_sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits with their nearest neighbours; Cora's papers with those that they cite or are cited by, and with their authors'."""
    digits = digit_pictures()
    x = np.asarray(digits["image"]).reshape(-1, 64)
    yield Dataset("digits, 10 neighbours", {"x": x, "y": digits["y"]}, options={"labelled": 5, "valid": 20})
    if folder is None or not (folder / "graphs").is_dir():
        return
    sizes = {"labelled": 20, "valid": 100}
    for name, file in (("Cora, citations", "cora"), ("Cora, co-authors", "hyper_coauthor_cora")):
        z = _datasets.arrays(folder / "graphs" / f"{file}.npz")
        x = np.zeros(z["x_shape"], np.float32)
        x[np.repeat(np.arange(len(x)), np.diff(z["x_indptr"])), z["x_indices"]] = 1
        columns = {"x": x, "y": z["y"].astype(np.int64)}
        if "edges" in z:
            one, other = z["edges"].astype(np.int64)
            columns["neighbours"] = lists(np.r_[one, other], np.r_[other, one], len(x))
        else:
            edge = np.repeat(np.arange(len(z["he_indptr"]) - 1), np.diff(z["he_indptr"]))
            columns["hyperedges"] = lists(z["he_indices"].astype(np.int64), edge, len(x))
        yield Dataset(name, columns, real=True, options=sizes)


def lists(item: np.ndarray, value: np.ndarray, n: int) -> np.ndarray:
    """(n, M) the values of each item in ascending order, padded with -1."""
    order = np.lexsort((value, item))
    item, value = item[order], value[order]
    size = np.bincount(item, minlength=n)
    out = np.full((n, int(size.max())), -1)
    out[item, np.arange(len(item)) - (np.cumsum(size) - size)[item]] = value
    return out


def hypergraph(data: Dataset) -> Any:
    """Incidence (N, E) of a data set: its own, that of its graph, or the ten nearest neighbours of each item."""
    from labelwright.features.hypergraph import hypergraph_from_edges, hypergraph_from_neighbours

    n = len(np.asarray(data["y"]))
    if "hyperedges" in data:
        from scipy.sparse import csr_matrix

        edge = np.asarray(data["hyperedges"])
        item, at = np.nonzero(edge >= 0)
        return csr_matrix((np.ones(len(item), np.float32), (item, edge[item, at])), shape=(n, int(edge.max()) + 1))
    if "neighbours" in data:
        near = np.asarray(data["neighbours"])
        item, at = np.nonzero(near >= 0)
        return hypergraph_from_edges(np.column_stack([item, near[item, at]]), n)
    return hypergraph_from_neighbours(np.asarray(data["x"]), k=10)


def prepare(held_out: float) -> Any:
    """Split, teacher, an MLP on the labels alone, and what both say; `held_out` of the test items are unseen in training."""

    def made(data: Dataset, seed: int) -> Case:
        import torch

        from labelwright.features.hypergraph import propagation
        from labelwright.learning.graphs import HypergraphNet, hyperedge_reliability, noisy_features, sparse_tensor

        x, y = np.asarray(data["x"], np.float32), np.asarray(data["y"]).astype(np.int64)
        train, valid, rest = split(y, int(data.options.get("labelled", 20)), int(data.options.get("valid", 100)), seed)
        hidden = rest[: round(held_out * len(rest))]
        seen = np.setdiff1d(np.arange(len(y)), hidden)
        whole = hypergraph(data)
        inside = whole[seen] if len(hidden) else whole
        inside = inside[:, np.flatnonzero(np.asarray((inside > 0).sum(0)).ravel() >= 1)]
        binary = bool(np.isin(x[:100], (0, 1)).all())
        tensor = torch.from_numpy(x).to_sparse() if binary else torch.from_numpy(x)
        operators = tuple(sparse_tensor(propagation(h)) for h in (inside, whole))
        case = Case(tensor, y, seen, train, valid, hidden if len(hidden) else rest, inside, operators, *[None] * 5)  # type: ignore[arg-type]
        torch.manual_seed(seed)
        teacher = fitted(case, HypergraphNet(x.shape[1], int(y.max()) + 1), seed, operator=True)
        alone = fitted(case, student_of(case, seed), seed)
        with torch.no_grad():
            at = rows_of(tensor, seen)
            logits = teacher(at, operators[0])
            noise = noisy_features(
                at.to_dense() if at.is_sparse else at,
                noise="multiplicative" if binary else "additive",
                generator=torch.Generator().manual_seed(seed),
            )
            chance = hyperedge_reliability(logits, teacher(noise, operators[0]), sparse_tensor(inside))
            own = alone(at)["logits"]
        return case._replace(
            teacher=teacher,
            mlp=alone,
            teacher_logits=logits.numpy(),
            mlp_logits=own.numpy(),
            reliability=chance.double().numpy(),
        )

    return made


def split(y: np.ndarray, labelled: int, valid: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """So many items of each class to learn from and to choose by, and the rest."""
    rng = np.random.default_rng([seed, 10])
    groups = [rng.permutation(np.flatnonzero(y == c)) for c in range(int(y.max()) + 1)]
    train = np.concatenate([g[:labelled] for g in groups])
    chosen = np.concatenate([g[labelled : labelled + valid] for g in groups])
    return train, chosen, rng.permutation(np.setdiff1d(np.arange(len(y)), np.concatenate([train, chosen])))


# -------------------------------------------------------------------------------------------------------- learning
def rows_of(x: Any, rows: np.ndarray) -> Any:
    """Rows of a dense or sparse tensor."""
    import torch

    return x.index_select(0, torch.from_numpy(rows)).coalesce() if x.is_sparse else x[torch.from_numpy(rows)]


def student_of(case: Case, seed: int) -> Any:
    """The MLP of the card: one hidden layer, batch norm, dropout."""
    import torch

    from labelwright.learning.networks import MLP

    torch.manual_seed(1000 + seed)
    return MLP(case.x.shape[1], int(case.y.max()) + 1, hidden=(HIDDEN,), norm=True, dropout=0.5)


def fitted(case: Case, net: Any, seed: int, *, operator: bool = False, extra: Any = None, **options: Any) -> Any:
    """The network after training on the seen items, all of them in each batch; weights of its best epoch on validation items."""
    from labelwright.learning import TrainData
    from labelwright.learning.graph_parts import WholeSet

    where = np.searchsorted(case.seen, np.concatenate([case.train, case.valid]))
    given = np.full(len(case.seen), -1)
    given[where[: len(case.train)]] = case.y[case.train]
    k = int(case.y.max()) + 1
    inside = WholeSet(net, rows_of(case.x, case.seen), *([case.operators[0]] if operator else []))
    data = TrainData(np.arange(len(case.seen)), given, classes=k, extra=extra)
    looked = TrainData(where[len(case.train) :], case.y[case.valid], classes=k)
    learnt(data, None, seed=seed, student=inside, valid=looked, batch_size=len(data), **TRAIN | options)
    return net.eval()


def judged(case: Case, net: Any, operator: bool = False) -> dict[str, float]:
    """accuracy, NLL and ECE of the test items, and milliseconds per 1000 of them; with `operator` from the whole hypergraph."""
    import torch

    from labelwright.learning.looking import figures
    from labelwright.learning.networks import read_outputs

    x = case.x if operator else rows_of(case.x, case.test)
    with torch.no_grad():
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            logits = read_outputs(net(x, case.operators[1]) if operator else net(x))["logits"]
            seconds.append(time.perf_counter() - began)
    found = figures(logits[case.test] if operator else logits, torch.from_numpy(case.y[case.test]))
    speed = min(seconds) * 1e6 / (len(case.y) if operator else len(case.test))
    return {"accuracy": found["accuracy"], "NLL": found["nll"], "ECE": found["ece"], "ms per 1000": speed}


# ------------------------------------------------------------------------------------------------------------ arms
def taught(edges: bool = False, *, form: str = "intended", teacher: str = "teacher", shuffled: bool = False) -> Any:
    """An MLP on a teacher's soft labels; with `edges` also on their means over reliable hyperedges."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.learning.graph_parts import HyperedgeAgreement
        from labelwright.learning.graphs import vertex_kl
        from labelwright.learning.terms import LossTerm

        loss: list[Any] = [
            "kd" if form == "intended" else LossTerm(vertex_kl, on={"student_logits": "logits"}, form=form)
        ]
        if edges:
            h = case.incidence
            h = h[np.random.default_rng([seed, 3]).permutation(h.shape[0])] if shuffled else h
            loss.append(HyperedgeAgreement(h, reliability=case.reliability, form=form))
        said = case.teacher_logits if teacher == "teacher" else case.mlp_logits
        net = fitted(case, student_of(case, seed), seed, extra={"teacher_logits": said}, loss=tuple(loss))
        return judged(case, net)

    return run


def alone(case: Case, seed: int) -> dict[str, float]:
    """The same MLP on the labels."""
    return judged(case, case.mlp)


def with_structure(case: Case, seed: int) -> dict[str, float]:
    """The teacher, which needs the hypergraph of the test items too."""
    return judged(case, case.teacher, operator=True)


def label_propagation(case: Case, seed: int) -> dict[str, float]:
    """Labels spread over the whole hypergraph, nine tenths from the neighbours: no features, no training."""
    import torch

    from labelwright.learning.looking import figures

    k = int(case.y.max()) + 1
    start = np.zeros((len(case.y), k))
    start[case.train] = np.eye(k)[case.y[case.train]]
    operator, spread = _scipy(case.operators[1]), start
    for _ in range(50):
        spread = 0.9 * (operator @ spread) + 0.1 * start
    p = spread + 1e-9
    p /= p.sum(1, keepdims=True)
    found = figures(torch.from_numpy(np.log(p[case.test])), torch.from_numpy(case.y[case.test]))
    return {"accuracy": found["accuracy"], "NLL": found["nll"], "ECE": found["ece"]}


def _scipy(a: Any) -> Any:
    from scipy.sparse import csr_matrix

    index = a.indices().numpy()
    return csr_matrix((a.values().numpy(), (index[0], index[1])), shape=tuple(a.shape))


KEYS = {
    "x": "features, (N, D); bags of words as 0 and 1",
    "y": "true classes, (N,) int",
    "neighbours?": "a graph, (N, M): the items that each is linked with, padded with -1",
    "hyperedges?": "a hypergraph, (N, M): the hyperedges that each item is in, padded with -1. Without either of the two: "
    "the ten nearest neighbours of each item",
}
NOTE = (
    "Labels of 20 papers per class and of 5 digits; 100 and 20 more choose the epoch. Sizes, rates and the noise that tells "
    "reliable hyperedges are the card's, with 100 epochs in place of 200, looked at every fifth; none of them was chosen here. "
    "ms per 1000: time of one answer, of the teacher with the whole hypergraph. "
)
PROOFS = (
    Proof(
        name="known items",
        question="Does an MLP that learns from a hypergraph network label the items of that hypergraph as well?",
        metric="accuracy",
        keys=KEYS,
        datasets=graph_sets,
        prepare=prepare(0.0),
        arms=(
            Arm("LightHGNN+", taught(edges=True), "method"),
            Arm("MLP on labels", alone, "baseline"),
            Arm("LightHGNN, without hyperedges", taught(), "alternative"),
            Arm("LightHGNN+, hyperedges shuffled", taught(edges=True, shuffled=True), "alternative"),
            Arm("LightHGNN+, released loss", taught(edges=True, form="released"), "alternative"),
            Arm("MLP taught by an MLP", taught(teacher="mlp"), "alternative"),
            Arm("label propagation", label_propagation, "alternative"),
            Arm("the teacher, with the structure", with_structure, "alternative"),
        ),
        note=NOTE
        + "Features of the test items, not their labels, are in the training: the teacher's answers about them are what "
        "helps. The gain is that of distillation: agreement on hyperedges adds no accuracy (without them, or with shuffled "
        "ones, it ends within 0.3 points), only a little calibration. The released loss finds the right classes as often, "
        "but its probabilities mean nothing.",
    ),
    Proof(
        name="new items",
        question="Does that MLP help for items that neither it nor its teacher has seen?",
        metric="accuracy",
        keys=KEYS,
        datasets=graph_sets,
        prepare=prepare(HELD_OUT),
        arms=(
            Arm("LightHGNN+", taught(edges=True), "method"),
            Arm("MLP on labels", alone, "baseline"),
            Arm("LightHGNN, without hyperedges", taught(), "alternative"),
            Arm("MLP taught by an MLP", taught(teacher="mlp"), "alternative"),
            Arm("label propagation", label_propagation, "alternative"),
            Arm("the teacher, with the structure", with_structure, "alternative"),
        ),
        note=NOTE
        + "Nine tenths of the test items and their hyperedges are away while teacher and students learn; numbers are of "
        "those items. Teacher and label propagation then get the whole hypergraph, which is what the MLP does without: where the "
        "structure of new items is known in time, use it.",
    ),
)


def _smoothed(data: dict[str, Any]) -> np.ndarray:
    from labelwright.features.hypergraph import hypergraph_from_neighbours, propagation

    return np.asarray(propagation(hypergraph_from_neighbours(data["x"], k=5)) @ data["x"])


CONTRACTS = (
    Contract(
        "labelwright.features.hypergraph.propagation",
        "features",
        _smoothed,
        exempt={"duplication": "copies take places among the five nearest, so fewer others are heard"},
    ),
)
