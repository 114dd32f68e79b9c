"""Every registered system keeps the promises of `labelwright.systems.contract`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labelwright.errors import LabelwrightError
from labelwright.systems import Contract, catalogue, registered
from labelwright.systems.contract import PROMISES

CONTRACTS = [
    pytest.param(contract, id=f"{system.name}:{contract.part.rsplit('.', 1)[1]}")
    for system in catalogue()
    if system.registered
    for contract in getattr(registered(system), "CONTRACTS", ())
]
N, K, D = 60, 3, 4


def inputs(kind: str, *, n: int = N, k: int = K) -> dict[str, Any]:
    """Three clouds of items, a model that half sees them, five annotators, labels that are mostly right."""
    rng = np.random.default_rng(7)
    truth = np.arange(n) % k
    x = rng.normal(size=(n, D)) + 2.5 * np.eye(max(k, D))[truth, :D]
    y = np.where(rng.random(n) < 0.1, (truth + 1) % k, truth)
    p = rng.dirichlet(np.ones(k), n) * 0.5 + 0.5 * np.eye(k)[truth]
    votes = np.where(rng.random((n, 5)) < 0.2, rng.integers(0, k, (n, 5)), truth[:, None])
    made: dict[str, dict[str, Any]] = {
        "labels+pred_probs": {"y": y, "pred_probs": p},
        "labels+features": {"y": y, "x": x.astype(np.float32)},
        "features": {"x": x.astype(np.float32)},
        "votes": {
            "item": np.repeat(np.arange(n), 5),
            "annotator": np.tile(np.arange(5), n),
            "label": votes.ravel(),
        },
    }
    return made[kind] | {"n_classes": k, "seed": 3}


def rows_of(data: dict[str, Any], rows: np.ndarray, n: int) -> dict[str, Any]:
    """Items `rows` of the inputs, renumbered."""
    if "item" in data:
        votes = np.concatenate([np.flatnonzero(data["item"] == r) for r in rows]) if len(rows) else np.zeros(0, int)
        new = np.repeat(np.arange(len(rows)), [int((data["item"] == r).sum()) for r in rows])
        return data | {"item": new, "annotator": data["annotator"][votes], "label": data["label"][votes]}
    return {k: v[rows] if isinstance(v, np.ndarray) and len(v) == n else v for k, v in data.items()}


def hold(contract: Contract, promise: str) -> None:
    assert promise in PROMISES
    if promise in contract.exempt:
        assert len(contract.exempt[promise]) > 10, "an exemption says why"
        pytest.skip(f"exempt: {contract.exempt[promise]}")


def refused_or(run: Any, check: Any) -> None:
    try:
        answer = run()
    except LabelwrightError:
        return
    check(answer)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_permutation(contract: Contract) -> None:
    hold(contract, "permutation")
    data, order = inputs(contract.kind), np.random.default_rng(1).permutation(N)
    got = contract.run(rows_of(data, order, N))
    np.testing.assert_allclose(got, contract.run(data)[order], atol=1e-5)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_duplication(contract: Contract) -> None:
    hold(contract, "duplication")
    data = inputs(contract.kind)
    once, twice = contract.run(data), contract.run(rows_of(data, np.r_[np.arange(N), np.arange(N)], N))
    np.testing.assert_allclose(twice[:N], twice[N:], atol=1e-5)
    np.testing.assert_allclose(twice[:N], once, atol=1e-5)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_relabelling(contract: Contract) -> None:
    hold(contract, "relabelling")
    data, new = inputs(contract.kind), np.array([2, 0, 1])  # class c is now called new[c]
    renamed = dict(data)
    for key in ("y", "label"):
        if key in data:
            renamed[key] = new[data[key]]
    if "pred_probs" in data:
        renamed["pred_probs"] = data["pred_probs"][:, np.argsort(new)]
    got, was = contract.run(renamed), contract.run(data)
    wanted = {"scores": lambda: was, "classes": lambda: new[was], "distributions": lambda: was[:, np.argsort(new)]}
    np.testing.assert_allclose(got, wanted[contract.answers](), atol=1e-5)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_one_class(contract: Contract) -> None:
    hold(contract, "one class")
    refused_or(lambda: contract.run(inputs(contract.kind, k=1)), lambda got: np.testing.assert_equal(len(got), N))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_empty(contract: Contract) -> None:
    hold(contract, "empty")
    nothing = rows_of(inputs(contract.kind), np.zeros(0, dtype=int), N)
    refused_or(lambda: contract.run(nothing), lambda got: np.testing.assert_equal(len(got), 0))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_nan(contract: Contract) -> None:
    hold(contract, "nan")
    data = inputs(contract.kind)
    key = next((k for k in ("pred_probs", "x") if k in data), "label")
    data[key] = data[key].astype(float)
    data[key][3] = np.nan
    with pytest.raises(LabelwrightError):
        contract.run(data)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_seed(contract: Contract) -> None:
    hold(contract, "seed")
    np.testing.assert_array_equal(contract.run(inputs(contract.kind)), contract.run(inputs(contract.kind)))
