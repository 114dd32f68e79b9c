"""Weights of models by what they foretell, and the history of annotators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labelwright as lw
from labelwright.crowds import METHODS, choose
from labelwright.crowds.choose import Compared
from labelwright.crowds.history import with_history
from labelwright.crowds.prepared import prepare
from labelwright.crowds.verb import AUTO
from labelwright.errors import DataError, OptionError
from labelwright.labels import LabelSpace, Votes

FAST = ("vote_shares", "one_coin", "dawid_skene")


def read(crowd, n=60, gold=0):
    table, truth = crowd(n)
    votes = Votes.from_table(table)
    ids = np.full(n, -1, np.int32)
    at = np.array([int(key[1:]) for key in votes.items])
    ids[:gold] = truth[at[:gold]]
    return prepare(votes, ids), truth[at]


def naive_weights(probability, prior, steps=3000):
    """EM with loops."""
    w = [p / sum(prior) for p in prior]
    for _ in range(steps):
        count = list(prior)
        for row in probability:
            total = sum(a * b for a, b in zip(row, w))
            for m in range(len(w)):
                count[m] += row[m] * w[m] / total
        w = [c / sum(count) for c in count]
    return w


def test_weights_equal_a_loop_and_are_the_best_mixture():
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.05, 1, (12, 3))
    weights, trace = choose.stack(probability, np.array([1.0, 2.0, 0.5]), max_iter=20_000, tol=1e-14)
    np.testing.assert_allclose(weights, naive_weights(probability, [1.0, 2.0, 0.5]), atol=1e-5)
    assert (np.diff(trace) > -1e-9).all()
    best = trace[-1]
    for other in rng.dirichlet(np.ones(3), 200):
        assert np.log(probability @ other).sum() + np.array([1.0, 2.0, 0.5]) @ np.log(other) <= best + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 30))
def test_weights_do_not_depend_on_order(seed, models, n):
    rng = np.random.default_rng(seed)
    probability = rng.uniform(1e-3, 1, (n, models))
    rows, columns = rng.permutation(n), rng.permutation(models)
    one, _ = choose.stack(probability, np.ones(models))
    two, _ = choose.stack(probability[rows][:, columns], np.ones(models))
    np.testing.assert_allclose(one[columns], two, atol=1e-6)
    assert one.sum() == pytest.approx(1) and (one > 0).all()


def test_known_classes_correct_what_votes_say():
    votes = np.tile([0.9, 0.3], (200, 1))
    found = Compared(("sure", "right"), votes, np.arange(200), np.zeros((0, 2)))
    assert choose.weigh(found)[0][0] > 0.95
    found = found._replace(truth=np.tile([0.1, 0.8], (60, 1)))
    assert choose.weigh(found)[0][1] > 0.8
    few = found._replace(truth=np.tile([0.1, 0.8], (1, 1)))
    assert choose.weigh(few)[0][0] > 0.8  # one class against the votes of ten


def test_figures_equal_a_loop_over_items():
    rng = np.random.default_rng(1)
    p, item = rng.uniform(0.1, 1, (40, 2)), rng.integers(0, 9, 40)
    found = choose.figures(("a", "b"), p, item)
    best = int(np.log(p).mean(0).argmax())
    for column, name in enumerate("ab"):
        gap = np.log(p[:, best] / p[:, column])
        squares = sum((gap[item == i] - gap.mean()).sum() ** 2 for i in set(item.tolist()))
        assert found[name]["behind"] == pytest.approx(gap.mean())
        assert found[name]["error"] == pytest.approx(np.sqrt(squares) / 40)
        assert found[name]["loglik"] == pytest.approx(np.log(p[:, column]).mean())


def test_each_vote_is_held_out_once_and_never_the_last_of_its_item(crowd):
    votes, _ = read(crowd, 50, gold=10)
    rounds = choose.held_out(votes, 0)
    assert len(rounds) == 5
    times = np.sum(rounds, axis=0)
    np.testing.assert_array_equal(times, (votes.gold < 0)[votes.item])
    for mask in rounds:
        assert (np.diff(choose.without(votes, mask).start)[10:] >= 4).all()
    pairs = prepare(Votes.from_columns([1, 1, 2, 2, 3], ["x", "y", "x", "y", "x"], ["a", "a", "b", "a", "a"]))
    for mask in choose.held_out(pairs, 0):
        assert (np.diff(choose.without(pairs, mask).start) >= 1).all()


def test_many_votes_need_fewer_rounds(crowd, monkeypatch):
    votes, _ = read(crowd, 60)
    monkeypatch.setattr(choose, "MOST", 20)
    monkeypatch.setattr(choose, "ENOUGH", 40)
    rounds = choose.held_out(votes, 0)
    assert [int(mask.sum()) for mask in rounds] == [20, 20]


def test_known_classes_are_hidden_once_each(crowd):
    votes, _ = read(crowd, 60, gold=13)
    parts = choose.hidden(votes, 0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(13)) and len(parts) == 5
    rest = choose.without(votes, np.zeros(len(votes), bool), parts[0])
    assert (rest.gold[parts[0]] == -1).all() and (votes.gold[parts[0]] >= 0).all()


def test_what_is_compared_was_not_seen(crowd):
    votes, truth = read(crowd, 60, gold=20)
    found = choose.compare({name: METHODS[name] for name in (*FAST, "majority")}, votes)
    assert found.names == FAST  # majority foretells no votes
    assert found.votes.shape == (200, 3) and found.truth.shape == (20, 3)
    first = choose.hidden(votes, 0)[0]
    fit = METHODS["one_coin"](choose.without(votes, choose.held_out(votes, 0)[0], first))
    np.testing.assert_allclose(
        found.truth[: len(first), 1], fit.labels[first].dense()[np.arange(len(first)), truth[first]]
    )
    assert (found.truth < 1).all()


def test_a_crowd_of_known_classes_only_is_weighed_by_them(crowd):
    votes, truth = crowd(60)
    gold = {f"t{i}": "abc"[truth[i]] for i in range(60)}
    found = lw.aggregate(votes, gold=gold)
    assert found.method == "mixture" and set(found.others["method"].to_pylist()) == set(AUTO)
    assert found.settings["chosen"] == "weights by held-out votes and known classes"
    assert np.isfinite(found.others["loglik"].to_numpy()).all()


def test_the_mixture_is_the_mean_of_the_labels_by_weight(crowd):
    votes, _ = crowd(80)
    found = lw.aggregate(votes)
    weight = dict(zip(found.others["method"].to_pylist(), found.others["weight"].to_pylist()))
    assert sum(weight.values()) == pytest.approx(1)
    each = {name: lw.aggregate(votes, method=name) for name in AUTO}
    expected = sum(w * each[name].labels.dense().astype(float) for name, w in weight.items())
    np.testing.assert_allclose(found.labels.dense(), expected, atol=1e-5)
    able = [name for name in AUTO if each[name].fit.confusion is not None]
    total = sum(weight[name] for name in able)
    confusion = sum(weight[name] / total * each[name].confusion("w3") for name in able)
    np.testing.assert_allclose(found.confusion("w3"), confusion)
    # answers and agreement, by a loop
    label = found.items["label"].to_pylist()
    answers = found.answers.to_pylist()
    for i, row in enumerate(found.others.to_pylist()):
        same = [answer[row["method"]] == name for answer, name in zip(answers, label)]
        assert row["differs"] == len(same) - sum(same) and row["agreement"] == pytest.approx(np.mean(same))
        assert [a[row["method"]] for a in answers] == each[row["method"]].items["label"].to_pylist(), i
    share = [np.mean([answer[name] == own for name in AUTO]) for answer, own in zip(answers, label)]
    np.testing.assert_allclose(found.items["methods_agree"].to_numpy(), share)
    assert each["one_coin"].others is None and each["one_coin"].items["methods_agree"].null_count == 80
    told = found.summary()
    assert [row["method"] for row in told["others"]] == list(AUTO)


def test_of_ordered_classes_the_ordinal_model_is_mixed_in(crowd, monkeypatch):
    table, _ = crowd(60)
    ordered = LabelSpace(["a", "b", "c"], structure="ordered")
    found = lw.aggregate(table, space=ordered)
    assert found.others["method"].to_pylist() == [*AUTO, "ordinal"]
    monkeypatch.setattr("labelwright.crowds.ordinal.MOST", 10)  # no room for its matrices
    assert lw.aggregate(table, space=ordered).others["method"].to_pylist() == list(AUTO)


def test_the_mixture_does_not_depend_on_the_order_of_the_classes(crowd):
    table, _ = crowd(60)
    one = lw.aggregate(table, space=LabelSpace(["a", "b", "c"]))
    two = lw.aggregate(table, space=LabelSpace(["c", "a", "b"]))
    np.testing.assert_allclose(one.labels.dense(), two.labels.dense()[:, [1, 2, 0]], atol=2e-3)


# ------------------------------------------------------------------------------------------------------------- history
def test_a_history_is_votes_on_items_of_known_class(crowd):
    votes, _ = read(crowd, 30)
    earlier = np.zeros((votes.n_annotators, 2))
    earlier[2], earlier[5] = (12.0, 4.0), (6.0, 0.0)
    more = with_history(votes, earlier)
    np.testing.assert_array_equal(more.item[: len(votes)], votes.item)
    assert more.n_items == 33 and more.gold[30:].tolist() == [0, 1, 2] and (np.diff(more.item) >= 0).all()
    extra = slice(len(votes), None)
    right = more.label[extra] == more.gold[more.item[extra]]
    for annotator in range(votes.n_annotators):
        mine = more.annotator[extra] == annotator
        assert more.weight[extra][mine & right].sum() == pytest.approx(earlier[annotator, 0])
        assert more.weight[extra][mine & ~right].sum() == pytest.approx(earlier[annotator, 1])
    # as often right as the history has it, so that the usual accuracy of the crowd is not misread
    assert np.mean(right[more.annotator[extra] == 2]) == pytest.approx(18 / 22, abs=0.1)


def test_what_a_history_does_to_a_skill(crowd):
    table, _ = crowd(40)
    plain = lw.aggregate(table, method="one_coin").annotators.to_pandas().set_index("annotator")
    for method in ("one_coin", "dawid_skene", "auto"):
        told = lw.aggregate(table, method=method, history={"w0": (1, 20), "w1": (20, 20)})
        now = told.annotators.to_pandas().set_index("annotator")
        assert now.loc["w0", "skill"] < plain.loc["w0", "skill"] - 0.1
        assert now.loc["w0", "votes"] == plain.loc["w0", "votes"] and len(told.labels) == 40
        assert told.settings["history"] == 2 and told.settings["history_cap"] == 20


def test_a_history_counts_up_to_its_cap(crowd):
    table, _ = crowd(40)
    skill = []
    for count, cap in ((20, 20), (2000, 20), (2000, 200)):
        found = lw.aggregate(table, method="one_coin", history={"w0": (0, count)}, history_cap=cap)
        skill.append({row["annotator"]: row["skill"] for row in found.annotators.to_pylist()}["w0"])
    assert skill[0] == pytest.approx(skill[1]) and skill[2] < skill[1] - 0.05


def test_the_table_of_an_earlier_run_is_a_history(crowd):
    table, _ = crowd(120)
    before = table["item"].isin([f"t{i}" for i in range(60)])
    first = lw.aggregate(table[before], method="one_coin")
    told = {
        row["annotator"]: (row["skill"] * row["votes"], row["votes"]) for row in first.annotators.to_pylist() if row["votes"]
    }  # fmt: skip
    one = lw.aggregate(table[~before], method="one_coin", history=first.annotators)
    two = lw.aggregate(table[~before], method="one_coin", history=told)
    np.testing.assert_array_equal(one.labels.dense(), two.labels.dense())
    odd = pa.table({"annotator": ["w0", "w1"], "votes": [5, 0], "skill": pa.array([0.5, None])})
    assert lw.aggregate(table, method="one_coin", history=odd).settings["history"] == 1


def test_who_did_not_vote_is_named(crowd):
    table, _ = crowd(30)
    found = lw.aggregate(table, method="one_coin", history={"w0": (3, 4), "eve": (1, 2)})
    assert any("did not vote and are left out: 'eve'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"history": {"eve": (1, 2)}}, DataError, "use the same keys"),
        ({"history": {}}, DataError, "use the same keys"),
        ({"history": {"w0": (3, 2)}}, DataError, "columns annotator, votes and skill"),
        ({"history": {"w0": 0.5}}, DataError, "columns annotator, votes and skill"),
        ({"history": {"w0": (float("nan"), 2)}}, DataError, "columns annotator, votes and skill"),
        ({"history": {"w0": (1, 2)}, "history_cap": 0}, OptionError, "pass history_cap=20"),
        ({"history": {"w0": (1, 2)}, "method": "majority"}, OptionError, "leave the history out"),
    ],
)
def test_a_history_that_is_none(options, error, told, crowd):
    with pytest.raises(error, match=told):
        lw.aggregate(crowd(20)[0], **options)


# ------------------------------------------------------------------------------------------------------------ real votes
def log_loss(found, truth):
    dense = found.labels.dense().astype(float)
    return -np.log(dense[np.arange(len(dense)), truth].clip(1e-6)).mean()


def real(folder, name):
    d = np.load(folder / "crowd" / f"{name}.npz")
    return pd.DataFrame({"item": d["item"], "annotator": d["worker"], "label": d["label"].astype(int)}), d["truth"]


def test_known_classes_help_on_a_real_crowd(real_data):
    """Ducks: most of this crowd takes grebes for ducks, and votes alone show no more than that grebes are answered alike."""
    votes, truth = real(real_data, "ducks")
    order = np.random.default_rng(0).permutation(len(truth))
    told, rest = order[:48], order[48:]
    gold = {int(i): int(truth[i]) for i in told}

    def right(found):
        at = {key: i for i, key in enumerate(found.items["item"].to_pylist())}
        label = np.array(found.items["label"].to_pylist())[[at[i] for i in rest.tolist()]]
        return np.mean(label == truth[rest])

    alone, majority = lw.aggregate(votes), lw.aggregate(votes, method="majority")
    assert any("ideas that are none of the classes" in note for note in alone.notes)
    assert right(alone) >= right(majority) - 0.01 > right(lw.aggregate(votes, method="dawid_skene")) + 0.05
    assert right(lw.aggregate(votes, gold=gold)) > 0.95


def test_a_history_helps_where_votes_are_few(real_data):
    votes, truth = real(real_data, "product")
    votes = votes[votes["item"] < 2000]
    early, late = votes[votes["item"] < 1800], votes[votes["item"] >= 1800]
    before = lw.aggregate(early, method="one_coin").annotators
    plain = lw.aggregate(late, method="one_coin")
    told = lw.aggregate(late, method="one_coin", history=before)
    y = truth[plain.items["item"].to_numpy()]
    assert log_loss(told, y) < log_loss(plain, y) - 0.005


def test_scores_without_an_order(crowd):
    votes, _ = read(crowd, 40)
    one = choose.compare({name: METHODS[name] for name in FAST}, votes)
    two = choose.compare({name: METHODS[name] for name in FAST[::-1]}, replace(votes, notes=[]))
    np.testing.assert_allclose(one.votes, two.votes[:, ::-1])
    assert choose.foretold({name: METHODS[name] for name in FAST}, votes) == choose.figures(FAST, one.votes, one.item)
