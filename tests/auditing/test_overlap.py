import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.overlap import class_overlap, mass_joint
from labelwright.errors import ProbabilityError
from labelwright.labels.space import LabelSpace


def test_by_hand():
    joint = np.array([[6, 3, 0], [1, 10, 0], [0, 2, 8]])
    table = class_overlap(joint, LabelSpace(["a", "b", "c"]))
    assert table.to_pylist() == [
        {"class_a": "a", "class_b": "b", "overlap": 4 / 20, "items": 4.0},
        {"class_a": "b", "class_b": "c", "overlap": 2 / 21, "items": 2.0},
    ]
    assert class_overlap(joint, LabelSpace(["a", "b", "c"]), top=1).num_rows == 1


@given(st.integers(0, 1000), st.integers(1, 6))
def test_same_as_the_double_loop_and_symmetric(seed, k):
    rng = np.random.default_rng(seed)
    joint = rng.integers(0, 4, (k, k))
    table = class_overlap(joint, LabelSpace(range(k))).to_pylist()
    expected = {}
    for a in range(k):
        for b in range(a + 1, k):
            if joint[a, b] + joint[b, a]:
                expected[a, b] = (joint[a, b] + joint[b, a]) / (joint[a].sum() + joint[b].sum())
    assert {(r["class_a"], r["class_b"]): r["overlap"] for r in table} == pytest.approx(expected)
    assert all(0 <= r["overlap"] <= 1 for r in table)
    assert [r["overlap"] for r in table] == sorted((r["overlap"] for r in table), reverse=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_mass_same_as_a_loop(dtype):
    rng = np.random.default_rng(0)
    labels, p = rng.integers(-1, 4, 200), rng.dirichlet(np.ones(5), 200).astype(dtype)
    expected = np.zeros((5, 5))
    for y, row in zip(labels, p):
        if y >= 0:
            expected[y] += row.astype(float)
    np.testing.assert_allclose(mass_joint(labels, p), expected, atol=1e-9)


def test_mass_sees_overlap_without_confidence():
    labels = np.repeat([0, 1, 2], 10)
    p = np.repeat([[0.6, 0.4, 0.0], [0.4, 0.6, 0.0], [0.0, 0.0, 1.0]], 10, axis=0)
    (row,) = class_overlap(mass_joint(labels, p), LabelSpace(["a", "b", "c"])).to_pylist()
    assert (row["class_a"], row["class_b"]) == ("a", "b") and row["overlap"] == pytest.approx(0.4)


def test_errors_tell_the_fix():
    space = LabelSpace(["a", "b"])
    with pytest.raises(ProbabilityError, match="pass confident_joint"):
        class_overlap(np.zeros((3, 3)), space)
    with pytest.raises(ProbabilityError, match="negative or NaN"):
        class_overlap(np.array([[1, -1], [0, 1]]), space)
