import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.duplicates import label_conflicts, near_duplicates
from labelwright.errors import DataError, OptionError
from labelwright.features.neighbours import nearest_neighbours
from labelwright.labels.hard import HardLabels
from labelwright.labels.space import LabelSpace


def naive(near, threshold):
    """Groups by flooding."""
    n = len(near.index)
    linked = {i: set() for i in range(n)}
    for i in range(n):
        for j, s in zip(near.index[i], near.similarity[i]):
            if s >= threshold:
                linked[i].add(j)
                linked[j].add(i)
    out, group = np.full(n, -1), 0
    for i in range(n):
        if out[i] >= 0 or not linked[i]:
            continue
        todo = [i]
        while todo:
            j = todo.pop()
            if out[j] < 0:
                out[j] = group
                todo += linked[j]
        group += 1
    return out


@given(st.integers(0, 500), st.floats(0.5, 1))
def test_same_as_flooding(seed, threshold):
    rng = np.random.default_rng(seed)
    near = nearest_neighbours(rng.normal(size=(40, 3)), 5)
    np.testing.assert_array_equal(near_duplicates(near, threshold=threshold), naive(near, threshold))


def test_only_copies_by_default():
    rng = np.random.default_rng(0)
    for width in (2, 50):
        x = rng.normal(size=(500, width))
        x[[10, 20, 30]] = x[5]
        x[41] = x[40] * (1 + 1e-4 * rng.normal(size=width))
        x[[60, 61]] = 0
        found = near_duplicates(nearest_neighbours(x, 8))
        assert found[[5, 10, 20, 30]].tolist() == [found[5]] * 4 and found[5] >= 0
        assert found[40] == found[41] >= 0
        assert (found[[60, 61]] == -1).all()
        assert (found >= 0).sum() < 60  # in two dimensions some directions do coincide


def test_more_copies_than_neighbours_are_one_group():
    x = np.repeat(np.random.default_rng(1).normal(size=(3, 8)), 50, axis=0)
    assert near_duplicates(nearest_neighbours(x, 4)).tolist() == [0] * 50 + [1] * 50 + [2] * 50


def test_conflicts_are_listed():
    labels = HardLabels.from_values(["cat", "cat", "dog", None, "dog", "dog", "cat"])
    groups = np.array([0, 0, 1, 1, 1, 2, 2])
    table = label_conflicts(labels, groups, np.array(list("abcdefg")))
    assert table.to_pylist() == [{"group": 2, "rows": [5, 6], "items": ["f", "g"], "labels": ["dog", "cat"]}]
    groups = np.array([4, 1, 4, 4, 1, -1, -1])
    assert label_conflicts(labels, groups).to_pylist() == [
        {"group": 1, "rows": [1, 4], "items": [1, 4], "labels": ["cat", "dog"]},
        {"group": 4, "rows": [0, 2, 3], "items": [0, 2, 3], "labels": ["cat", "dog", None]},
    ]


def test_integer_names_stay_integers_and_nothing_gives_an_empty_table():
    labels = HardLabels.from_ids(np.array([0, 1]), LabelSpace([3, 5]))
    assert label_conflicts(labels, np.array([0, 0]))["labels"].to_pylist() == [[3, 5]]
    assert near_duplicates(None) is None
    empty = label_conflicts(labels, None)
    assert empty.num_rows == 0 and empty.column_names == ["group", "rows", "items", "labels"]
    assert label_conflicts(labels, np.array([-1, -1])).num_rows == 0


def test_errors_tell_the_fix():
    near = nearest_neighbours(np.eye(3), 1)
    with pytest.raises(OptionError, match=r"pass threshold=0\.99"):
        near_duplicates(near, threshold=1.5)
    with pytest.raises(DataError, match="groups and keys of the same rows"):
        label_conflicts(HardLabels.from_values(["a", "b"]), np.array([0]))
