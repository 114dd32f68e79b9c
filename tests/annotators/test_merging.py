"""Merging of confused classes against SciPy's clustering, planted synonyms, and the way back to classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score, confusion_matrix

from labelwright.annotators.merging import LINKAGES, Groups, choose_groups, merge_classes, soft_labels_from_confusion
from labelwright.errors import DataError, LabelError, LabelwrightWarning, OptionError, ProbabilityError


def random_counts(seed: int, k: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 60, (k, k)) + 300 * np.eye(k, dtype=int)


@given(st.integers(0, 10_000), st.integers(2, 12), st.sampled_from(LINKAGES), st.floats(0.02, 0.12))
def test_same_as_scipy(seed: int, k: int, how: str, least: float) -> None:
    count = random_counts(seed, k)
    rate = count / count.sum(1, keepdims=True)
    apart = 1 - (rate + rate.T) / 2
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), how)
    ours = merge_classes(count, min_confusion=least, linkage=how, z=0).group
    theirs = fcluster(tree, 1 - least - 1e-12, "distance")
    assert adjusted_rand_score(ours, theirs) == 1
    n = int(np.random.default_rng(seed).integers(1, k + 1))
    ours = merge_classes(count, n_groups=n, linkage=how, z=0).group
    assert adjusted_rand_score(ours, fcluster(tree, n, "maxclust")) == 1 and ours.max() + 1 == n


def planted(seed: int, frequent: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Classes 0 and 3, and 1, 4 and 5, are each one thing under names given at random; 2 is alone."""
    truth, rng = np.array([0, 1, 2, 0, 1, 1]), np.random.default_rng(seed)
    shares = np.array([frequent, 200, 200, 60, 200, 200])
    given = np.repeat(np.arange(6), shares)
    names = [np.flatnonzero(truth == g) for g in range(3)]
    guess = np.array([rng.choice(names[truth[y]]) if rng.random() > 0.1 else rng.integers(6) for y in given])
    return confusion_matrix(given, guess), truth


def test_planted_synonyms_are_found() -> None:
    for seed in range(20):
        count, truth = planted(seed)
        assert adjusted_rand_score(merge_classes(count, min_confusion=0.1).group, truth) == 1
        assert adjusted_rand_score(merge_classes(count, n_groups=3).group, truth) == 1


def test_three_items_of_a_rare_class_prove_nothing() -> None:
    count = np.array([[980, 20, 0], [15, 985, 0], [2, 0, 1]])  # the rare class was missed twice in three
    assert merge_classes(count, min_confusion=0.2, z=0).group.tolist() == [0, 1, 0]
    assert merge_classes(count, min_confusion=0.2).group.tolist() == [0, 1, 2]
    assert merge_classes(count, min_confusion=0.005, weights="counts", z=0).group.tolist() == [0, 0, 1]


def test_single_linkage_chains_and_the_cap_holds() -> None:
    count = 60 * np.eye(5, dtype=int) + 20 * (np.eye(5, k=1, dtype=int) + np.eye(5, k=-1, dtype=int))
    assert merge_classes(count, min_confusion=0.1, linkage="single", z=0).n_groups == 1
    assert merge_classes(count, min_confusion=0.1, linkage="complete", z=0).n_groups == 3
    for how in LINKAGES:
        capped = merge_classes(count, min_confusion=0.0, linkage=how, z=0, max_size=2)
        assert np.bincount(capped.group).max() == 2
    with pytest.warns(LabelwrightWarning, match="3 groups are left, not 1"):
        merge_classes(count, n_groups=1, z=0, max_size=2)


@given(st.integers(0, 10_000), st.sampled_from(["rows", "counts"]), st.floats(0, 3))
def test_names_of_classes_do_not_matter(seed: int, weights: str, z: float) -> None:
    rng = np.random.default_rng(seed)
    count, order = random_counts(seed, 7), rng.permutation(7)
    group = merge_classes(count, min_confusion=0.07, weights=weights, z=z).group
    moved = merge_classes(count[np.ix_(order, order)], min_confusion=0.07, weights=weights, z=z).group
    assert adjusted_rand_score(group[order], moved) == 1
    assert merge_classes(count, min_confusion=0.07, weights=weights, z=z + 1).n_groups >= group.max() + 1


def test_no_confusion_no_merging() -> None:
    assert merge_classes(np.eye(4), min_confusion=0.0).group.tolist() == [0, 1, 2, 3]
    assert merge_classes([[3]], n_groups=1).group.tolist() == [0]
    assert merge_classes([[0, 0], [0, 5]], min_confusion=0.0).n_groups == 2  # a class without items


def test_to_groups_and_back() -> None:
    groups = Groups(np.array([0, 1, 0, 2]))
    assert groups.members == [[0, 2], [1], [3]] and groups.n_groups == 3
    p = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    g = groups.to_groups(p)
    within = np.random.default_rng(1).dirichlet(np.ones(4), 30)
    for rule, shares in {"equal": {}, "prior": {"prior": [1, 2, 3, 4]}, "within": {"within": within}}.items():
        back = groups.split(g, rule=rule, **shares)
        np.testing.assert_allclose(groups.to_groups(back), g, atol=1e-12)
        for i in range(30):
            share = {"equal": [1] * 4, "prior": [1, 2, 3, 4], "within": within[i]}[rule]
            for c in range(4):
                total = sum(share[j] for j in groups.members[groups.group[c]])
                assert back[i, c] == pytest.approx(g[i, groups.group[c]] * share[c] / total)
    np.testing.assert_allclose(groups.split(g, rule="within", within=p), p, atol=1e-12)
    empty = groups.split([[1.0, 0, 0]], rule="prior", prior=[0, 1, 0, 1])
    np.testing.assert_allclose(empty, [[0.5, 0, 0.5, 0]])  # no prior in this group: evenly
    assert groups.to_groups(np.array([3, -1, 2, 1])).tolist() == [2, -1, 0, 1]


def test_soft_labels_by_loop() -> None:
    count = np.array([[3, 1, 0], [2, 2, 4], [0, 0, 0]])
    y = np.array([1, 0, -1, 2])
    expected = [[2 / 8, 2 / 8, 4 / 8], [3 / 4, 1 / 4, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(soft_labels_from_confusion(y, count), expected)


def test_errors() -> None:
    count, groups = random_counts(0, 3), Groups(np.array([0, 1, 0]))
    with pytest.raises(DataError, match="sklearn.metrics.confusion_matrix"):
        merge_classes(count[:2], n_groups=1)
    with pytest.raises(DataError, match="with bad values"):
        merge_classes(-count, n_groups=1)
    with pytest.raises(OptionError, match="or the number of groups you want"):
        merge_classes(count)
    with pytest.raises(OptionError, match="pass 3 or less"):
        merge_classes(count, n_groups=4)
    with pytest.raises(OptionError, match="min_confusion=0.1"):
        merge_classes(count, min_confusion=20)
    with pytest.raises(OptionError, match="z=1.64"):
        merge_classes(count, n_groups=1, z=-1)
    with pytest.raises(OptionError, match="did you mean 'average'"):
        merge_classes(count, n_groups=1, linkage="averge")
    with pytest.raises(OptionError, match="max_size=1 or more"):
        merge_classes(count, n_groups=1, max_size=0)
    with pytest.raises(OptionError, match="pass prior="):
        groups.split([[0.5, 0.5]], rule="prior")
    with pytest.raises(OptionError, match="pass rule='prior'"):
        groups.split([[0.5, 0.5]], prior=[1, 1, 1])
    with pytest.raises(ProbabilityError, match="numpy.bincount"):
        groups.split([[0.5, 0.5]], rule="prior", prior=[1, -1, 1])
    with pytest.raises(LabelError, match="mend the label"):
        soft_labels_from_confusion(np.array([3]), count)


def softened(y: np.ndarray, truth: np.ndarray, sure: float, seed: int) -> np.ndarray:
    """Predictions that are `sure` of the meaning, and divide it at random among its names."""
    rng = np.random.default_rng(seed)
    p = np.full((len(y), len(truth)), (1 - sure) / len(truth))
    for i, label in enumerate(y):
        names = np.flatnonzero(truth == truth[label])
        p[i, names] += sure * rng.dirichlet(np.ones(len(names)))
    return p


def test_the_threshold_that_suits_the_labels() -> None:
    truth, rng = np.array([0, 1, 2, 0, 1, 3]), np.random.default_rng(0)
    y = rng.integers(0, 6, 1200)
    p = softened(y, truth, 0.9, 1)
    groups = choose_groups(y, p)
    assert adjusted_rand_score(groups.group, truth) == 1
    loss = [-np.log(q[np.arange(len(y)), y]).mean() for q in (groups.split(groups.to_groups(p)), p)]
    assert loss[0] < loss[1]
    missing = np.where(np.arange(1200) < 1100, y, -1)
    assert np.array_equal(choose_groups(missing, p).group, choose_groups(y[:1100], p[:1100]).group)


def test_classes_that_can_be_told_apart_stay_apart() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 4, 2000)
    p = np.full((2000, 4), 0.02)
    seen = np.where(rng.random(2000) < 0.7, y, y ^ 1)  # pairs are confused, and the model says how often
    p[np.arange(2000), seen], p[np.arange(2000), seen ^ 1] = 0.67, 0.29
    assert choose_groups(y, p).group.tolist() == [0, 1, 2, 3]
    assert (
        merge_classes(confusion_matrix(y, seen), min_confusion=0.2).n_groups == 2
    )  # though a fixed threshold joins them


def test_choosing_needs_labels() -> None:
    with pytest.raises(DataError, match="pass labels of the items"):
        choose_groups(np.array([-1, -1]), np.full((2, 2), 0.5))
