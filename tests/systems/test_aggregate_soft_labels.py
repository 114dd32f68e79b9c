from __future__ import annotations

import numpy as np
import pytest

from labelwright.errors import DataError
from labelwright.systems import _datasets
from labelwright.systems import _soft_label_students as students
from labelwright.systems import aggregate_soft_labels as system
from labelwright.systems.proof import Dataset

LABELS, TEMPERED, TRAINING = system.PROOFS


def small_digits() -> Dataset:
    x, y = _datasets.digits()
    return Dataset("digits", {"image": x[:300].reshape(-1, 8, 8), "y": y[:300]})


def small_words() -> Dataset:
    """Thirty sentences of four words each, three people say what each word is."""
    rng = np.random.default_rng(0)
    kinds = [
        ["the", "one", "their"],
        ["window", "garden", "people"],
        ["opened", "walked", "burned"],
        ["quickly", "gladly", "early"],
    ]
    y = np.tile(np.arange(4), 30)
    item, annotator, label = system.ask(np.eye(4)[y], 3, 6, rng)
    columns = {"item": item, "annotator": annotator, "label": label, "y": y, "group": np.repeat(np.arange(30), 4)}
    return Dataset("words", columns | {"text": np.array([rng.choice(kinds[c]) for c in y], dtype=object)})


@pytest.mark.parametrize("proof", [LABELS, TEMPERED])
def test_label_arms_on_the_bundled_crowd(proof: object) -> None:
    data = next(iter(system.crowds(None)))
    proof.check(data)  # type: ignore[attr-defined]
    case = proof.prepare(data, 0)  # type: ignore[attr-defined]
    told = {arm.name: arm.run(case, 0) for arm in proof.arms}  # type: ignore[attr-defined]
    assert all(found["log loss"] > 0 and 0.6 < found["accuracy"] <= 1 for found in told.values())
    singles = [told[title]["log loss"] for title in system.NAMES.values()]
    assert told["average"]["log loss"] < (np.median(singles) if proof is LABELS else max(singles))
    again = proof.prepare(data, 1)  # type: ignore[attr-defined]
    assert again.losses is case.losses and not np.array_equal(again.rows, case.rows)


def test_ties_count_in_part_and_unknown_items_not_at_all() -> None:
    losses, hits = system._judge(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.2, 0.2, 0.6]]), np.array([1, 0, -1]))
    np.testing.assert_allclose(hits[:2], [0.5, 0.0])
    np.testing.assert_allclose(losses[:2], [np.log(2), -np.log(1e-6)])
    data = Dataset("part", {"item": [0, 0, 1, 1], "annotator": [0, 1, 0, 1], "label": [0, 0, 1, 1], "y": [0, -1]})
    assert system.judged(data, 0).rows.tolist() == [0]


@pytest.mark.parametrize("make", [small_digits, small_words])
def test_training_arms(make: object) -> None:
    data = make()  # type: ignore[operator]
    TRAINING.check(data)
    case = TRAINING.prepare(data, 0)
    told = {arm.name: arm.run(case, 0) for arm in TRAINING.arms}
    assert all(found["calibrated log loss"] > 0 for found in told.values())  # type: ignore[index]
    assert told["true labels"]["without shift"] <= told["majority"]["without shift"] + 0.05  # type: ignore[index]
    singles = [told[title]["accuracy"] for title in system.NAMES.values()]  # type: ignore[index]
    assert told["median of the seven"]["accuracy"] == np.median(singles)  # type: ignore[index]


def test_training_and_test_items_are_apart() -> None:
    data = small_words()
    case = TRAINING.prepare(data, 1)
    assert len(case.labels["truth"]) == 40 and len(case.y) == 80  # ten sentences of thirty
    assert case.x.shape[0] == 40 and [view.shape[0] for view in case.tests] == [80, 80]


def test_the_student_reaches_the_least_divergence() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(500, 3)), rng.normal(size=(3, 4))
    target = np.exp(x @ w)
    target /= target.sum(1, keepdims=True)
    p = students.student(x, target)(x)
    assert np.abs(p - target).max() < 0.1 and (target * np.log(target / p)).sum(1).mean() < 0.002


def test_calibrated_log_loss_undoes_a_temperature() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(3), 4000)
    y = (p.cumsum(1) < rng.random((4000, 1))).sum(1)
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    right = -np.log(p[np.arange(4000), y]).mean()
    assert students.calibrated_log_loss(sharp, y) == pytest.approx(right, abs=0.02)
    assert -np.log(sharp[np.arange(4000), y]).mean() > right + 0.3


def test_words_lose_a_letter_and_their_capitals() -> None:
    words = np.array(["Quickly"] * 200 + ["The"], dtype=object)
    found = students.misspelt(words, 0)
    assert set(map(len, found[:200])) == {6, 7} and found[-1] == "the"
    assert list(found) == list(students.misspelt(words, 0))


def test_missing_keys_are_named() -> None:
    with pytest.raises(DataError, match="annotator of each vote"):
        LABELS.check(Dataset("short", {"item": [0], "label": [0], "y": [0]}))


def test_real_sets_are_found(real_data: object) -> None:
    assert {d.name for d in LABELS.datasets(real_data)} == {"simulated", *system.SETS}  # type: ignore[arg-type]
    assert sum(d.real for d in TRAINING.datasets(real_data)) == 1  # type: ignore[arg-type]
