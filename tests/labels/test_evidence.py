"""Every evidence type: conversions, slicing, equality, files, and the one question `loglik`."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelwright.errors import ColumnError, DataError, LabelError
from labelwright.labels import (
    Boxes,
    CandidateLabels,
    Comparisons,
    Evidence,
    HardLabels,
    LabelMap,
    LabelProportions,
    LabelSpace,
    Masks,
    MultiLabels,
    SoftLabels,
    Spans,
    Votes,
    average,
    conflate,
    js_divergence,
    kl_divergence,
)

ABC = LabelSpace(["a", "b", "c"])


def examples():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 4)
    p[2] = np.nan
    grid = rng.dirichlet(np.ones(3), (4, 2, 2))
    return {
        "hard": HardLabels.from_values(["a", None, "c", "b"], ABC),
        "hard_int": HardLabels.from_values([5, -3, 5, 9]),
        "soft": SoftLabels.from_dense(p, ABC),
        "soft_top": SoftLabels.from_dense(p, ABC, k=2, tail=[1, 2, 3]),
        "multi": MultiLabels.from_sets([["a"], None, [], ["a", "c"]], ABC),
        "multi_gaps": MultiLabels.from_sets([["a"], None, [], ["a", "c"]], ABC, rest="unknown"),
        "candidates": CandidateLabels.from_sets([["a"], None, ["b", "c"], ["a", "c"]], ABC),
        "votes": Votes.from_columns(
            ["x", "y", "x", "z"], ["ann", "bob", "bob", "ann"], ["a", None, "c", "b"], ABC,
            weight=[1, 2, 0.5, 1], probability=[0.5, 1, np.nan, 0.1], time=[0, 1, 2, 3],
            source=["web", None, "web", "api"], comment=["", "?", "", "sure"],
        ),
        "comparisons": Comparisons.from_columns(
            list("xyxz"), list("pqqp"), list("aaab"), list("bccc"), ["a", "c", None, "b"]
        ),
        "proportions": LabelProportions.from_shares([0, 1, 0, -1], [[0.5, 0.25, 0.25], [1, 0, 0]], ABC),
        "map": LabelMap.from_dense(grid, ABC, k=2),
        "spans": Spans.from_columns([0, 0, 1, 2], [0, 3, 1, 0], [2, 5, 4, 1], [0, 1, -1, 2], ABC),
        "boxes": Boxes.from_columns(
            [0, 0, 1, 2], np.array([[0, 0, 2, 2]] * 4) + np.arange(4)[:, None], [0, 1, 2, 0], ABC
        ),
        "masks": Masks.from_arrays([0, 0, 1, 2], [rng.random((3, 4)) > 0.5 for _ in range(4)], [0, 1, 2, -1], ABC),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(examples()))
def test_files_slices_and_equality(name, tmp_path):
    one = examples()[name]
    assert len(one) == 4 and one == examples()[name]
    path = tmp_path / "labels.npz"
    one.save(path)
    again = Evidence.load(path)
    assert type(again) is type(one) and again == one
    assert type(one).load(path) == one
    with pytest.raises(FileExistsError, match="not overwritten"):
        one.save(path)
    part = one[1:3]
    assert type(part) is type(one) and len(part) == 2 and part != one
    assert one[[0, 1, 2, 3]] == one
    assert one[np.array([False, True, True, False])] == part
    assert len(one[0]) == 1
    assert type(one).__name__ in repr(one)


@pytest.mark.parametrize("name", list(examples()))
def test_loglik_is_never_positive_and_follows_the_order_of_the_asked_space(name):
    one = examples()[name]
    wider = LabelSpace([*reversed(one.space.classes), *([99] if isinstance(one.space.classes[0], int) else ["new"])])
    axis = 1 if name.startswith("multi") else -1
    own, other = one.loglik(), one.loglik(wider)
    assert (own <= 0).all()
    assert other.shape[axis] == own.shape[axis] + 1
    known = np.take(other, range(len(one.space)), axis=axis)
    assert np.array_equal(np.flip(known, axis), own)
    with pytest.raises(LabelError, match="add the class to the space"):
        one.loglik(LabelSpace([99, 98, 97] if isinstance(one.space.classes[0], int) else ["x", "y", "z"]))


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "junk.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="pass the file that `save` wrote"):
        Evidence.load(tmp_path / "junk.npz")
    np.savez(tmp_path / "object.npz", head=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="pass the file that `save` wrote"):
        Evidence.load(tmp_path / "object.npz")
    examples()["hard"].save(tmp_path / "hard.npz")
    with pytest.raises(DataError, match="use HardLabels.load"):
        Votes.load(tmp_path / "hard.npz")
    with pytest.raises(FileNotFoundError):
        Votes.load(tmp_path / "nowhere.npz")


# -- hard ------------------------------------------------------------------------------------------------------------
def test_hard_loglik_uses_the_transition_of_the_given_label():
    t = np.array([[0.9, 0.1], [0.3, 0.7]])  # [true, given]
    labels = HardLabels.from_ids([1, -1], LabelSpace("ab"))
    assert np.allclose(labels.loglik(transition=t), [[np.log(0.1), np.log(0.7)], [0, 0]])
    assert labels.loglik()[0].tolist() == [-np.inf, 0]
    assert labels.soft().hard() == labels


@pytest.mark.parametrize("ids", [[3], [-2], [0.0], [[0]]])
def test_hard_ids_are_checked(ids):
    with pytest.raises(LabelError, match="set it to -1|encode names"):
        HardLabels.from_ids(ids, ABC)


# -- soft ------------------------------------------------------------------------------------------------------------
dense = arrays(np.float64, (5, 4), elements=st.floats(0.01, 1)).map(lambda a: a / a.sum(1, keepdims=True))


@given(dense, st.integers(1, 4))
def test_soft_rows_sum_to_one_and_keep_what_they_list(p, k):
    soft = SoftLabels.from_dense(p, k=k)
    out = soft.dense()
    assert np.allclose(out.sum(1), 1, atol=1e-6)
    for i in range(5):  # naive: the k largest are exact, the others share what is left
        top = sorted(range(4), key=lambda c: (-p[i, c], c))[:k]
        assert soft.index[i].tolist() == top
        left = 1 - p[i, top].sum()
        for c in range(4):
            expected = p[i, c] if c in top else left / (4 - k)
            assert out[i, c] == pytest.approx(expected, abs=1e-6)


@given(dense, dense)
def test_soft_algebra_against_loops(p, q):
    a, b = SoftLabels.from_dense(p), SoftLabels.from_dense(q)
    mean, product = average([a, b], [1, 3]).dense(), conflate([a, b]).dense()
    kl, js = kl_divergence(a, b), js_divergence(a, b)
    for i in range(5):
        assert np.allclose(mean[i], (p[i] + 3 * q[i]) / 4, atol=1e-5)
        assert np.allclose(product[i], p[i] * q[i] / (p[i] * q[i]).sum(), atol=1e-4)
        assert kl[i] == pytest.approx(sum(x * np.log(x / y) for x, y in zip(p[i], q[i])), abs=1e-4)
        m = (p[i] + q[i]) / 2
        both = (p[i] * np.log(p[i] / m)).sum() / 2 + (q[i] * np.log(q[i] / m)).sum() / 2
        assert js[i] == pytest.approx(both, abs=1e-4) and 0 <= js[i] + 1e-9 <= np.log(2) + 1e-6
    assert np.allclose(a.temper(1).dense(), p, atol=1e-6)
    assert (a.temper(0.5).entropy() <= a.entropy() + 1e-6).all()
    assert a.entropy()[0] == pytest.approx(-(p[0] * np.log(p[0])).sum(), abs=1e-5)


def test_no_evidence_is_not_uniform():
    soft = SoftLabels.from_dense([[np.nan, np.nan], [0.5, 0.5]])
    assert soft.known.tolist() == [False, True] and soft.hard().ids.tolist() == [-1, 0]
    sure = SoftLabels.from_dense([[0.9, 0.1], [0.9, 0.1]])
    assert np.allclose(average([soft, sure]).dense(), [[0.9, 0.1], [0.7, 0.3]])
    assert np.isnan(soft.entropy()[0]) and np.isnan(js_divergence(soft, sure)[0])
    assert np.array_equal(soft.loglik()[0], [0, 0])


def test_tail_shapes_the_rest():
    soft = SoftLabels.from_topk([[0]], [[0.4]], ABC, tail=[5, 1, 3])
    assert np.allclose(soft.dense(), [[0.4, 0.15, 0.45]])
    nowhere = SoftLabels.from_topk([[0]], [[0.4]], ABC, tail=[1, 0, 0])  # a tail with no mass on the open classes
    assert np.allclose(nowhere.dense(), [[0.4, 0.3, 0.3]])


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: SoftLabels.from_dense([[0.5, 0.4]]), "keepdims"),
        (lambda: SoftLabels.from_dense([[1.5, -0.5]]), "keepdims"),
        (lambda: SoftLabels.from_dense([0.5, 0.5]), "one row per item"),
        (lambda: SoftLabels.from_dense([[0.5, 0.5]], ABC), "whose classes are the columns"),
        (lambda: SoftLabels.from_dense([[0.5, 0.5]], k=0), "k=None"),
        (lambda: SoftLabels.from_dense([[0.5, 0.5]], tail=[1, 1, 1]), "tail=None"),
        (lambda: SoftLabels.from_dense([[0.5, 0.5]]).temper(0), "1 changes nothing"),
        (lambda: SoftLabels.from_topk([[0, 0]], [[0.5, 0.5]], ABC), "rescale the row"),
        (lambda: SoftLabels.from_topk([[3]], [[0.5]], ABC), "rescale the row"),
        (lambda: SoftLabels.from_topk([[1]], [[1.5]], ABC), "rescale the row"),
        (lambda: conflate([SoftLabels.from_dense([[1.0, 0]]), SoftLabels.from_dense([[0, 1.0]])]), "soften"),
        (lambda: average([SoftLabels.from_dense([[1.0, 0]]), SoftLabels.from_dense([[0, 1.0]] * 2)]), "same rows"),
        (lambda: average([SoftLabels.from_dense([[1.0, 0]])], [-1]), "one weight per source"),
    ],
)
def test_soft_errors(make, hint):
    with pytest.raises(LabelError, match=hint):
        make()


def test_rounding_of_half_precision_is_no_error():
    p = np.random.default_rng(0).dirichlet(np.ones(1000), 3).astype(np.float16)
    assert np.allclose(SoftLabels.from_dense(p).dense().sum(1), 1)


# -- multi, candidates -----------------------------------------------------------------------------------------------
@given(arrays(np.int8, (4, 3), elements=st.sampled_from([-1, 0, 1])))
def test_multi_dense_round_trip_and_loglik(y):
    multi = MultiLabels.from_dense(y)
    assert np.array_equal(multi.dense(), y)
    loglik = multi.loglik()
    for i in range(4):
        for c in range(3):
            expected = {1: [-np.inf, 0], 0: [0, -np.inf], -1: [0, 0]}[int(y[i, c])]
            assert loglik[i, c].tolist() == expected


def test_tags_with_gaps_leave_the_rest_unknown():
    gaps = MultiLabels.from_sets([["a"], None], ABC, rest="unknown")
    assert gaps.dense().tolist() == [[1, -1, -1], [-1, -1, -1]]
    assert MultiLabels.from_sets([["a"], None], ABC).dense().tolist() == [[1, 0, 0], [-1, -1, -1]]
    assert MultiLabels.from_sets([["b", "a"], []]).sets() == [["a", "b"], []]


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: MultiLabels.from_dense([[2, 0]]), "MultiLabels.from_sets"),
        (lambda: MultiLabels.from_dense([1, 0]), "from_sets"),
        (lambda: MultiLabels.from_dense([[1, 0]], ABC), "whose classes are the columns"),
        (lambda: MultiLabels.from_sets(["ab"], ABC), r"\[name\]"),
        (lambda: MultiLabels.from_sets([["a", None]], ABC), "drop None"),
        (lambda: CandidateLabels.from_sets([["a"], []], ABC), "nothing is known of them"),
        (lambda: CandidateLabels.from_dense([[True]], ABC), "whose classes are the columns"),
    ],
)
def test_multi_and_candidate_errors(make, hint):
    with pytest.raises(LabelError, match=hint):
        make()


def test_candidates_allow_and_exclude():
    c = CandidateLabels.from_sets([["a", "b"], None], ABC)
    assert c.loglik().tolist() == [[0, 0, -np.inf], [0, 0, 0]]
    assert c.soft().known.tolist() == [True, False]


# -- votes, comparisons, proportions ---------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from([None, "a", "b", "c"])), min_size=1))
def test_vote_counts_and_loglik_against_loops(rows):
    item, annotator, label = zip(*rows)
    votes = Votes.from_columns(list(item), list(annotator), list(label), ABC)
    assert votes.items.tolist() == list(dict.fromkeys(item))
    rng = np.random.default_rng(1)
    confusion = rng.dirichlet(np.ones(3), (votes.n_annotators, 3))
    counts, loglik = votes.counts(), votes.loglik(confusion=confusion)
    for n, key in enumerate(votes.items):
        expected = np.zeros(3)
        for i, a, given_label in rows:
            if i == key and given_label is not None:
                expected += np.log(confusion[votes.annotators.tolist().index(a), :, ABC.id_of(given_label)])
        assert np.allclose(loglik[n], expected)
        for c, name in enumerate("abc"):
            assert counts[n, c] == sum(1 for i, _, x in rows if i == key and x == name)


def test_agreement_gives_back_the_accuracy_that_made_the_votes():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 4000)
    item = np.repeat(np.arange(4000), 3)
    right = rng.random(12000) < 0.7
    label = np.where(right, truth[item], (truth[item] + rng.integers(1, 3, 12000)) % 3)
    votes = Votes.from_columns(item, np.tile([0, 1, 2], 4000), label, LabelSpace([0, 1, 2]))
    assert votes.agreement_accuracy() == pytest.approx(0.7, abs=0.02)
    assert Votes.from_columns(["i"], ["w"], ["a"], ABC).agreement_accuracy() == 0.8


def test_votes_from_tables_and_their_errors():
    frame = pd.DataFrame({"task": ["x", "y"], "worker": [1, 2], "answer": ["a", "b"], "weight": [1.0, 2.0]})
    votes = Votes.from_table(frame, item="task", annotator="worker", label="answer")
    assert votes.n_items == 2 and votes.weight.tolist() == [1, 2]
    with pytest.raises(ColumnError, match="nearest: task"):
        Votes.from_table(frame, item="tsk", annotator="worker", label="answer")
    with pytest.raises(DataError, match="wrap the columns"):
        Votes.from_table(3)
    for bad, hint in [
        ({"item": [None, "y"]}, "name the unknown"),
        ({"label": ["a"]}, "from one table"),
        ({"weight": [-1, 1]}, "drop such votes"),
        ({"probability": [0, 1]}, "review_sample"),
    ]:
        columns = {"item": ["x", "y"], "annotator": ["p", "q"], "label": ["a", "b"]} | bad
        with pytest.raises(LabelError, match=hint):
            Votes.from_columns(**columns, space=ABC)


def test_comparisons_by_hand():
    # item x: a beats b (accuracy .8), then a tie; class c was in neither, so it sits between
    c = Comparisons.from_columns(["x", "x"], ["p", "q"], ["a", "a"], ["b", "c"], ["a", None], ABC)
    assert np.allclose(c.loglik(), [[np.log(0.8), np.log(0.2), np.log(0.5)]])
    frame = pd.DataFrame({"item": ["x"], "annotator": ["p"], "a": ["a"], "b": ["b"], "preferred": ["a"]})
    assert len(Comparisons.from_table(frame)) == 1
    with pytest.raises(LabelError, match="drop or mend"):
        Comparisons.from_columns(["x"], ["p"], ["a"], ["b"], ["c"], ABC)
    with pytest.raises(LabelError, match="from one table"):
        Comparisons.from_columns(["x", "y"], ["p"], ["a"], ["b"], ["a"], ABC)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_bag_counts_are_whole_and_complete(bag):
    bags = LabelProportions.from_shares(bag, [[0.2, 0.3, 0.5], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], ABC)
    counts = bags.counts()
    assert counts.sum(1).tolist() == bags.size.tolist()
    assert (np.abs(counts - bags.share * bags.size[:, None]) < 1 + 1e-9).all()


def test_bag_errors():
    with pytest.raises(LabelError, match="number the bags"):
        LabelProportions.from_shares([2], [[1.0, 0]])
    with pytest.raises(LabelError, match="keepdims"):
        LabelProportions.from_shares([0], [[0.5, 0.4]])
    with pytest.raises(LabelError, match="pass the space"):
        LabelProportions.from_shares([0], [[1.0, 0]], ABC)


# -- maps and parts --------------------------------------------------------------------------------------------------
def test_map_pools_cells_that_have_evidence():
    p = np.zeros((1, 1, 3, 2))
    p[0, 0] = [[1, 0], [0.5, 0.5], [np.nan, np.nan]]
    label_map = LabelMap.from_dense(p, LabelSpace("ab"))
    assert np.allclose(label_map.pooled().dense(), [[0.75, 0.25]])
    assert label_map.loglik().shape == (1, 1, 3, 2) and (label_map.loglik()[0, 0, 2] == 0).all()
    with pytest.raises(LabelError, match="missing axes"):
        LabelMap.from_dense(np.ones((2, 2)))


@given(arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_run_lengths_give_back_the_mask(mask):
    masks = Masks.from_arrays([0, 1], [mask, ~mask], [0, 1], ABC)
    assert np.array_equal(masks.array(0), mask) and np.array_equal(masks[1].array(0), ~mask)


def test_part_errors():
    with pytest.raises(LabelError, match="mend or drop these parts"):
        Spans.from_columns([0], [3], [3], [0], ABC)
    with pytest.raises(LabelError, match="mend or drop these parts"):
        Boxes.from_columns([0], [[0, 0, 0, 1]], [0], ABC)
    with pytest.raises(LabelError, match="one item per part"):
        Spans.from_columns([0, 1], [3], [4], [0], ABC)
