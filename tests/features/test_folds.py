import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, OptionError
from labelwright.features.folds import fold_ids


@given(st.lists(st.integers(-1, 4), min_size=2, max_size=80), st.integers(2, 7), st.integers(0, 99))
def test_every_class_is_dealt_evenly(labels, n_folds, seed):
    labels = np.array(labels)
    if (labels >= 0).sum() < 2:
        return
    fold = fold_ids(labels, n_folds=n_folds, random_state=seed)
    assert ((fold < 0) == (labels < 0)).all()
    used = fold.max() + 1
    assert used == min(n_folds, (labels >= 0).sum())
    for c in np.unique(labels[labels >= 0]):
        count = np.bincount(fold[labels == c], minlength=used)
        assert count.max() - count.min() <= 1
    np.testing.assert_array_equal(fold, fold_ids(labels, n_folds=n_folds, random_state=seed))


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 9)), min_size=2, max_size=80), st.integers(2, 6))
def test_groups_stay_whole_and_no_fold_is_empty(pairs, n_folds):
    labels, groups = np.array(pairs).T
    with_labels = np.unique(groups[labels >= 0])
    if len(with_labels) < 2:
        return
    fold = fold_ids(labels, groups=groups, n_folds=n_folds)
    for g in np.unique(groups):
        assert len(np.unique(fold[groups == g])) == 1
        assert (fold[groups == g][0] >= 0) == (g in with_labels)  # an unlabelled item shares its group's fold
    assert set(fold[labels >= 0]) == set(range(min(n_folds, len(with_labels))))


def test_groups_are_balanced():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 200, 4000)
    labels = rng.integers(0, 3, 200)[groups]
    fold = fold_ids(labels, groups=groups)
    table = np.histogram2d(fold, labels, bins=(5, 3))[0]
    assert (np.abs(table / table.mean(0) - 1) < 0.15).all()


def test_errors_tell_the_fix():
    with pytest.raises(OptionError, match="pass n_folds=5"):
        fold_ids(np.array([0, 1]), n_folds=1)
    with pytest.raises(LabelError, match="label more items"):
        fold_ids(np.array([0, -1]))
    with pytest.raises(LabelError, match="leave out `groups`"):
        fold_ids(np.array([0, 1]), groups=np.array([3, 3]))
    with pytest.raises(DataError, match="one group id per item"):
        fold_ids(np.array([0, 1]), groups=np.array([3]))
