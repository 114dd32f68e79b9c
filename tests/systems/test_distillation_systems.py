"""The cases of the distillation systems: what the arms see, on small data."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.systems import _distilling as distilling
from labelwright.systems import kd_data_pruning, meal_v2, nkd_uskd, ssld
from labelwright.systems.proof import Dataset


def small(**options: object) -> Dataset:
    """600 digits, under a name of its own."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    image = (x[:1500] / 16).astype(np.float32).reshape(-1, 8, 8)
    return Dataset("own", {"image": image, "y": y[:1500].astype(np.int64)}, options=dict(options))


def test_parts_are_disjoint() -> None:
    data = Dataset("numbers", {"x": np.arange(5000.0)[:, None], "y": np.zeros(5000, int)})
    parts = distilling.divided(data, (500, 300), seed=1)
    rows = [p.x.ravel() for p in parts]
    assert [len(r) for r in rows] == [500, 300, 2000]
    assert len(set(np.concatenate(rows))) == 2800
    assert not np.array_equal(rows[0], distilling.divided(data, (500, 300), seed=2)[0].x.ravel())


def test_pictures_of_mnist_are_halved_by_means() -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    got = distilling.inputs(Dataset("m", {"image": x, "y": np.zeros(3)}))
    want = [
        [[x[i, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean() / 255 for c in range(14)] for r in range(14)]
        for i in range(3)
    ]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_hardest_and_easiest_items_of_the_students() -> None:
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(0, 4, 200)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    length = np.sqrt(((p - np.eye(4)[y]) ** 2).sum(1))
    hard, easy = (nkd_uskd.kept(logits, y, 20, pick, 0) for pick in ("hard", "easy"))
    assert length[hard].min() >= np.sort(length)[-20] - 1e-6 and length[easy].max() <= np.sort(length)[19] + 1e-6


def test_meal_reads_no_labels() -> None:
    """With every label wrong the method gives the same student, bit for bit."""
    case = meal_v2.prepare(small(), 0)
    wrong = case._replace(train=case.train._replace(y=(case.train.y + 1) % case.k))
    method, labels = meal_v2.PROOFS[0].arms[0].run, meal_v2.PROOFS[0].arms[1].run
    assert method(case, 0) == method(wrong, 0)
    assert labels(wrong, 0)["accuracy"] < 0.5 < labels(case, 0)["accuracy"]  # type: ignore[index]


def test_meal_leaves_the_pretrained_student_as_it_was() -> None:
    case = meal_v2.prepare(small(), 0)
    before = meal_v2.as_it_was(case, 0)
    meal_v2.PROOFS[0].arms[0].run(case, 0)
    assert meal_v2.as_it_was(case, 0) == before


def test_planted_copies_are_taken_out_of_the_pool() -> None:
    case = ssld.prepare(small(foreign=0.3), 0)
    assert case.found == 1.0
    flat = {row.tobytes() for row in case.test.x}
    assert not any(row.tobytes() in flat for row in case.pool)
    assert len(case.pool) == len(case.foreign) == len(case.soft) - len(case.labelled.y)
    assert 0.2 < case.foreign.mean() < 0.4


def test_picks_of_the_pool_are_of_one_size() -> None:
    case = ssld.prepare(small(foreign=0.3), 0)
    picked = [pick(case, 0) for pick in (ssld.per_class, ssld.sure, ssld.at_random)]
    assert len({len(p) for p in picked}) == 1 and all(len(set(p)) == len(p) for p in picked)
    assert case.foreign[picked[0]].mean() < case.foreign.mean()


def test_a_long_tail_thins_the_later_classes() -> None:
    pool = distilling.Part(np.zeros((4000, 2), np.float32), np.arange(4000) % 4)
    kept = ssld.pool_of(small(tail=0.1), pool._replace(x=pool.y[:, None].astype(np.float32)), np.random.default_rng(0))[
        0
    ]
    counts = np.bincount(kept.ravel().astype(int))
    assert counts[0] == 1000 and 60 < counts[3] < 150 and (np.diff(counts) < 0).all()


@pytest.mark.parametrize("rule", ["random", "hard", "easy", "k_center"])
def test_students_of_a_pruned_set_see_the_kept_items_only(rule: str) -> None:
    case = kd_data_pruning.prepare(small(keep=0.1), 0)
    items = kd_data_pruning.kept(case, rule, 0)
    assert len(items) == case.n == 100
    others = np.setdiff1d(np.arange(len(case.whole.y)), items)
    spoilt = case.whole._replace(x=case.whole.x.copy())
    spoilt.x[others] = 1e6
    models = [kd_data_pruning.student(c, items, 0.5, 0, steps=5) for c in (case, case._replace(whole=spoilt))]
    assert np.array_equal(models[0].logits(case.test.x), models[1].logits(case.test.x))
    assert models[0].about["steps"] == 5
