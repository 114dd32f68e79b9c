"""The chain against all K^T sequences written out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError

torch = pytest.importorskip("torch")

from labelwright.learning.crf import (  # noqa: E402
    allowed_from_labels,
    crf_loss,
    log_partition,
    marginals,
    viterbi,
)

LENGTHS = (4, 2, 1, 3)


def chain(seed: int = 0, k: int = 3, scale: float = 1.0) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    b, t = len(LENGTHS), max(LENGTHS)
    parts = [rng.normal(size=s) * scale for s in ((b, t, k), (k, k), (k,), (k,))]
    mask = torch.tensor(np.arange(t) < np.array(LENGTHS)[:, None])
    return (*(torch.tensor(p) for p in parts), mask)


def some_allowed(seed: int, k: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = rng.random((len(LENGTHS), max(LENGTHS), k)) < 0.5
    out[np.arange(out.shape[0])[:, None], np.arange(out.shape[1]), rng.integers(0, k, out.shape[:2])] = True
    return out


def every_sequence(parts: tuple[Any, ...], row: int, allowed: np.ndarray | None = None) -> dict[tuple[int, ...], float]:
    """score of each sequence of one row, by a plain loop."""
    emissions, transitions, start, end = (p.numpy() for p in parts[:4])
    length, k = LENGTHS[row], emissions.shape[2]
    scores = {}
    for y in product(range(k), repeat=length):
        if allowed is not None and not all(allowed[row, t, c] for t, c in enumerate(y)):
            continue
        score = start[y[0]] + end[y[-1]]
        for t in range(length):
            score += emissions[row, t, y[t]]
            if t:
                score += transitions[y[t - 1], y[t]]
        scores[y] = score
    return scores


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_log_partition_and_marginals_equal_brute_force(k: int, partial: bool) -> None:
    parts = chain(1, k)
    allowed = some_allowed(2, k) if partial else None
    flags = None if allowed is None else torch.tensor(allowed)
    got, p = log_partition(*parts, flags), marginals(*parts, flags).numpy()
    for row in range(len(LENGTHS)):
        scores = every_sequence(parts, row, allowed)
        z = np.logaddexp.reduce(list(scores.values()))
        assert got[row].item() == pytest.approx(z, abs=1e-9)
        want = np.zeros(p.shape[1:])
        for y, s in scores.items():
            want[np.arange(len(y)), y] += np.exp(s - z)
        np.testing.assert_allclose(p[row], want, atol=1e-9)


def test_viterbi_is_the_best_of_all_sequences() -> None:
    for seed in range(5):
        parts = chain(seed)
        path = viterbi(*parts).tolist()
        for row, length in enumerate(LENGTHS):
            scores = every_sequence(parts, row)
            assert tuple(path[row][:length]) == max(scores, key=lambda y: scores[y])
            assert path[row][length:] == [-1] * (max(LENGTHS) - length)


def test_forbidden_pairs_are_never_taken() -> None:
    emissions, transitions, start, end, mask = chain(3, scale=0.1)
    transitions[0, 1] = -torch.inf
    path = viterbi(emissions, transitions, start, end, mask)
    assert not ((path[:, :-1] == 0) & (path[:, 1:] == 1)).any()
    assert torch.isfinite(log_partition(emissions, transitions, start, end, mask)).all()


def test_a_hand_worked_case() -> None:
    # two steps, two classes; only staying in a class has weight e^1, all else is 0: Z = 2 e + 2
    parts = (torch.zeros(1, 2, 2), torch.eye(2), torch.zeros(2), torch.zeros(2), torch.ones(1, 2, dtype=torch.bool))
    assert log_partition(*parts).item() == pytest.approx(np.log(2 * np.e + 2), abs=1e-6)
    # the first is class 0, the second unknown: p = (e + 1) / Z = 1/2
    loss = crf_loss(*parts, allowed_from_labels(torch.tensor([[0, -1]]), 2))
    assert loss.item() == pytest.approx(np.log(2), abs=1e-6)


@given(st.integers(0, 10_000))
def test_loss_is_never_negative_and_shrinks_with_more_allowed(seed: int) -> None:
    parts, allowed = chain(seed), torch.tensor(some_allowed(seed))
    loss = crf_loss(*parts, allowed)
    assert (loss >= -1e-9).all()
    wider = allowed | torch.tensor(some_allowed(seed + 1))
    assert (crf_loss(*parts, wider) <= loss + 1e-9).all()
    np.testing.assert_allclose(crf_loss(*parts, torch.ones_like(allowed)), 0, atol=1e-9)


def test_permuting_classes_permutes_the_marginals() -> None:
    emissions, transitions, start, end, mask = chain(4)
    order = torch.tensor([2, 0, 1])
    turned = (emissions[..., order], transitions[order][:, order], start[order], end[order], mask)
    np.testing.assert_allclose(marginals(*turned), marginals(emissions, transitions, start, end, mask)[..., order])


def test_padding_has_no_influence() -> None:
    emissions, *rest = chain(5)
    allowed = torch.tensor(some_allowed(6))
    mask = rest[-1]
    other = torch.where(mask[..., None], emissions, torch.full_like(emissions, 1e4))
    nothing = allowed & mask[..., None]  # no class allowed on the padding
    np.testing.assert_array_equal(crf_loss(emissions, *rest, allowed), crf_loss(other, *rest, nothing))
    np.testing.assert_array_equal(viterbi(emissions, *rest), viterbi(other, *rest))


def test_gradients() -> None:
    *parts, mask = chain(7)
    allowed = torch.tensor(some_allowed(8))
    parts = [p.requires_grad_() for p in parts]
    assert torch.autograd.gradcheck(lambda *p: crf_loss(*p, mask, allowed), parts)


def test_large_scores_stay_finite() -> None:
    parts = chain(9, scale=1e4)
    assert torch.isfinite(log_partition(*parts)).all()
    np.testing.assert_allclose(marginals(*parts).sum(-1), parts[-1].double(), atol=1e-9)


def test_what_does_not_fit_is_refused() -> None:
    emissions, transitions, start, end, mask = chain()
    with pytest.raises(DataError, match="padded to the length"):
        log_partition(emissions, transitions, start, end, mask[:, :2])
    with pytest.raises(DataError, match="same classes"):
        log_partition(emissions, transitions[:2], start, end, mask)
    with pytest.raises(DataError, match="pad at the end"):
        log_partition(emissions, transitions, start, end, mask.flip(1))
    with pytest.raises(DataError, match="allowed_from_labels"):
        log_partition(emissions, transitions, start, end, mask, torch.ones(1, 1, 3, dtype=torch.bool))
    with pytest.raises(LabelError, match="allow every class"):
        log_partition(emissions, transitions, start, end, mask, torch.zeros_like(emissions, dtype=torch.bool))
