"""Agreement statistics against naive loops, published tables and invariants."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.crowds._distances import read
from labelwright.crowds._influence import observed
from labelwright.crowds._intervals import estimate
from labelwright.crowds.agreement import (
    agreement,
    annotator_agreement,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    observed_agreement,
)
from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace, Votes

K = 4
SPACES = {
    "nominal": LabelSpace(range(K)),
    "ordered": LabelSpace(range(K), structure="ordered"),
    "score": LabelSpace(range(K), structure="score", values=[0.0, 1.0, 3.0, 10.0]),
    "metric": LabelSpace(
        range(K), structure="metric", distances=[[0, 1, 2, 3], [1, 0, 2, 2], [2, 2, 0, 1], [3, 2, 1, 0]]
    ),
}
# item, annotator -> answer; None is missing
TABLES = st.lists(st.lists(st.one_of(st.none(), st.integers(0, K - 1)), min_size=3, max_size=3), min_size=2, max_size=8)


def votes_of(table, space=SPACES["nominal"]):
    """Votes of a table (items x annotators) of class ids."""
    cells = [(i, a, x) for i, row in enumerate(table) for a, x in enumerate(row) if x is not None]
    item, annotator, label = (np.array([c[n] for c in cells], dtype=np.int64) for n in range(3))
    return Votes(item, annotator, label, np.arange(len(table)), np.arange(len(table[0])), space)


def units_of(table):
    return [[x for x in row if x is not None] for row in table]


def naive_distance(metric, space, pool):
    n = np.bincount(pool, minlength=K)

    def distance(a, b):
        low, high = min(a, b), max(a, b)
        v = space.values
        return {
            "nominal": lambda: float(a != b),
            "ordinal": lambda: (n[low : high + 1].sum() - (n[low] + n[high]) / 2) ** 2,
            "interval": lambda: (v[a] - v[b]) ** 2,
            "ratio": lambda: 0.0 if a == b else ((v[a] - v[b]) / (v[a] + v[b])) ** 2,
            "space": lambda: space.cost()[a, b],
        }[metric]()

    return distance


def naive_alpha(units, distance):
    units = [u for u in units if len(u) > 1]
    values = [v for u in units for v in u]
    seen = sum(distance(a, b) / (len(u) - 1) for u in units for a, b in itertools.permutations(u, 2))
    every = sum(distance(a, b) for a, b in itertools.permutations(values, 2))
    return 1 - (len(values) - 1) * seen / every if every else float("nan")


@given(TABLES)
def test_alpha_is_the_definition(table):
    units = units_of(table)
    pool = [v for u in units if len(u) > 1 for v in u]
    for metric, name in itertools.product(["nominal", "ordinal", "space", "interval", "ratio"], SPACES):
        if metric in ("interval", "ratio") and name != "score":
            continue
        expected = naive_alpha(units, naive_distance(metric, SPACES[name], np.array(pool, dtype=int)))
        found = krippendorff_alpha(votes_of(table, SPACES[name]), metric=metric).value
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(TABLES)
def test_observed_fleiss_and_gwet_are_their_definitions(table):
    units = [u for u in units_of(table) if u]
    shares = [np.mean([a == b for a, b in itertools.permutations(u, 2)]) for u in units if len(u) > 1]
    votes = votes_of(table)
    if not shares:
        assert np.isnan(observed_agreement(votes).value)
        return
    p = np.mean(shares)
    pi = np.mean([np.bincount(u, minlength=K) / len(u) for u in units], axis=0)
    assert observed_agreement(votes).value == pytest.approx(p)
    e = (pi**2).sum()
    assert fleiss_kappa(votes).value == pytest.approx((p - e) / (1 - e) if e < 1 - 1e-9 else np.nan, nan_ok=True)
    e = (pi * (1 - pi)).sum() / (K - 1)
    assert gwet_ac1(votes).value == pytest.approx((p - e) / (1 - e))


def test_se_is_the_jackknife():
    """The infinitesimal jackknife and the one that leaves items out agree on 300 items."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, K, 300)
    table = [[int(t) if rng.random() < 0.7 else int(rng.integers(K)) for _ in range(3)] for t in true]
    for space, f in (
        (SPACES["ordered"], krippendorff_alpha),
        (SPACES["nominal"], krippendorff_alpha),
        (SPACES["metric"], krippendorff_alpha),
        (SPACES["nominal"], fleiss_kappa),
        (SPACES["nominal"], gwet_ac1),
        (SPACES["nominal"], observed_agreement),
    ):
        without = np.array([f(votes_of(table[:i] + table[i + 1 :], space)).value for i in range(300)])
        jackknife = np.sqrt(299 / 300 * ((without - without.mean()) ** 2).sum())
        assert f(votes_of(table, space)).se == pytest.approx(jackknife, rel=0.02)


def naive_kappa(x, y, weight):
    table = np.zeros((K, K))
    for a, b in zip(x, y, strict=True):
        table[a, b] += 1 / len(x)
    by_chance = np.outer(table.sum(1), table.sum(0))
    below = (by_chance * weight).sum()
    return 1 - (table * weight).sum() / below if below > 1e-12 else float("nan")


@given(TABLES)
def test_cohens_kappa_is_the_definition(table):
    steps = np.abs(np.subtract.outer(np.arange(K), np.arange(K))).astype(float)
    weights = {"nominal": 1 - np.eye(K), "linear": steps, "quadratic": steps**2, "space": steps}
    for name, weight in weights.items():
        found = cohen_kappa(votes_of(table, SPACES["ordered"]), weights=name, least=1).to_pylist()
        for row in found:
            both = [(r[row["a"]], r[row["b"]]) for r in table if None not in (r[row["a"]], r[row["b"]])]
            assert row["items"] == len(both)
            assert row["agreement"] == pytest.approx(np.mean([a == b for a, b in both]))
            expected = naive_kappa(*zip(*both, strict=True), weight)
            assert (np.nan if row["kappa"] is None else row["kappa"]) == pytest.approx(expected, nan_ok=True)
    shared = sum(any(None not in (r[a], r[b]) for r in table) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert len(found) == shared


@given(TABLES)
def test_annotators_against_the_others(table):
    space = SPACES["metric"]
    for row in annotator_agreement(votes_of(table, space)).to_pylist():
        a = row["annotator"]
        equal, apart, chance = [], [], []
        others = [x for r in table if len(units_of([r])[0]) > 1 for b, x in enumerate(r) if b != a and x is not None]
        for r in table:
            rest = [x for b, x in enumerate(r) if b != a and x is not None]
            if r[a] is not None and rest:
                equal.append(np.mean([x == r[a] for x in rest]))
                apart.append(np.mean([space.cost()[r[a], x] for x in rest]))
                chance.append(np.mean([space.cost()[r[a], x] for x in others]))
        assert row["compared"] == len(equal)
        if equal:
            assert row["agreement"] == pytest.approx(np.mean(equal))
            if sum(chance) > 0:
                assert row["kappa"] == pytest.approx(1 - sum(apart) / sum(chance))


# ------------------------------------------------------------------------------------------------------- published tables
def krippendorffs_example(structure):
    """Krippendorff 2011, section C: four observers, twelve units, five categories."""
    rows = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    space = LabelSpace([1, 2, 3, 4, 5], structure=structure, values=[1, 2, 3, 4, 5] if structure == "score" else None)
    table = np.array([[None if x == "." else int(x) - 1 for x in r.split()] for r in rows], dtype=object).T
    return votes_of(table.tolist(), space)


@pytest.mark.parametrize(
    "structure, metric, value",
    [("nominal", None, 0.743), ("ordered", None, 0.815), ("score", None, 0.849), ("score", "ratio", 0.797)],
)
def test_alpha_of_krippendorffs_example(structure, metric, value):
    assert krippendorff_alpha(krippendorffs_example(structure), metric=metric).value == pytest.approx(value, abs=5e-4)


def test_gwets_handbook_values_on_the_same_table():
    """Gwet 2014 (package irrCAC): observed 0.81818, Fleiss' kappa 0.76117, AC1 0.77544."""
    votes = krippendorffs_example("nominal")
    assert observed_agreement(votes).value == pytest.approx(0.81818, abs=5e-6)
    assert fleiss_kappa(votes).value == pytest.approx(0.76117, abs=5e-6)
    assert gwet_ac1(votes).value == pytest.approx(0.77544, abs=5e-6)


def test_fleiss_table():
    """Ten subjects, fourteen raters, five categories, the worked example of Fleiss' kappa: p 0.378, e 0.213, kappa 0.210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    table = [[c for c, n in enumerate(row) for _ in range(n)] for row in counts]
    votes = votes_of(table, LabelSpace(range(5)))
    assert observed_agreement(votes).value == pytest.approx(0.378, abs=5e-4)
    assert fleiss_kappa(votes).value == pytest.approx(0.210, abs=5e-4)


def test_cohens_kappa_and_its_error():
    """Gwet's table of 100 diagnoses by two abstractors: kappa 0.7964, standard error 0.0589."""
    counts = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]
    table = [[a, b] for a in range(3) for b in range(3) for _ in range(counts[a][b])]
    row = cohen_kappa(votes_of(table, LabelSpace(range(3)))).to_pylist()[0]
    assert row["kappa"] == pytest.approx(0.7964094, abs=1e-6)
    assert row["se"] == pytest.approx(0.05891072 * (100 / 99) ** 0.5, abs=1e-7)  # ours divides by n - 1
    pooled = agreement(votes_of(table, LabelSpace(range(3)))).statistics.to_pylist()[-1]
    assert pooled["value"] == pytest.approx(row["kappa"]) and pooled["se"] == pytest.approx(row["se"])


# ------------------------------------------------------------------------------------------------------------- invariants
def test_perfect_agreement_is_one_and_random_votes_near_zero():
    rng = np.random.default_rng(0)
    perfect = [[t] * 3 for t in rng.integers(0, K, 50).tolist()]
    chance = rng.integers(0, K, (2000, 3)).tolist()
    for name, space in SPACES.items():
        statistics = agreement(votes_of(perfect, space)).statistics.to_pylist()
        assert all(row["value"] == pytest.approx(1) and row["high"] == pytest.approx(1) for row in statistics)
        assert all(0.5 < row["low"] < 1 for row in statistics), "no disagreement in 50 items is no certainty"
        for row in agreement(votes_of(chance, space)).statistics.to_pylist():
            if row["statistic"] != "observed_agreement":
                assert abs(row["value"]) < 0.06 and row["low"] < 0.03 and row["high"] > -0.03, (name, row)


@given(TABLES, st.permutations(range(K)), st.randoms(use_true_random=False))
def test_order_of_rows_items_annotators_and_classes_is_nothing(table, classes, random):
    before = agreement(votes_of(table)).statistics.to_pylist()
    other = [[None if x is None else classes[x] for x in row] for row in table]
    random.shuffle(other)
    other = [row[::-1] for row in other]
    votes = votes_of(other)
    order = np.random.default_rng(0).permutation(len(votes))
    after = agreement(votes[order]).statistics.to_pylist()
    for a, b in zip(before, after, strict=True):
        for key in ("value", "low", "high"):
            x, y = (np.nan if z[key] is None else z[key] for z in (a, b))
            assert x == pytest.approx(y, abs=1e-7, nan_ok=True)


def test_alpha_counts_what_the_space_says():
    near = [[0, 0], [1, 1], [2, 3], [3, 2], [0, 1], [3, 3]]
    far = [[0, 0], [1, 1], [0, 3], [3, 0], [2, 1], [3, 3]]
    nominal, ordered = SPACES["nominal"], SPACES["ordered"]
    assert krippendorff_alpha(votes_of(near, ordered)).value > krippendorff_alpha(votes_of(far, ordered)).value + 0.3
    gap = krippendorff_alpha(votes_of(near, nominal)).value - krippendorff_alpha(votes_of(far, nominal)).value
    assert abs(gap) < 0.1


def test_repeats_abstentions_and_weightless_votes_are_left_out():
    votes = Votes.from_columns(
        [1, 1, 1, 1, 2, 2, 2], list("aabcabc"), ["x", "x", "x", None, "y", "x", "y"], weight=[1, 1, 1, 1, 1, 1, 0]
    )
    clean = Votes.from_columns([1, 1, 2, 2], list("abab"), ["x", "x", "y", "x"])
    assert krippendorff_alpha(votes) == krippendorff_alpha(clean)


def test_an_annotator_who_guesses_and_one_who_turns_it_around():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 300)
    table = np.stack(
        [true, true, np.where(rng.random(300) < 0.9, true, 1 - true), rng.integers(0, 2, 300), 1 - true], 1
    )
    rows = annotator_agreement(votes_of(table.tolist(), LabelSpace(range(2)))).to_pylist()
    kappa = [row["kappa"] for row in rows]
    assert kappa[0] == kappa[1] > kappa[2] > 0.1 and kappa[4] < -0.3
    assert rows[3]["low"] < 0 < rows[3]["high"]


def test_many_pairs_are_thinned(monkeypatch):
    monkeypatch.setattr("labelwright.crowds.agreement.MOST_PAIRS", 300)
    table = np.random.default_rng(0).integers(0, K, (200, 3)).tolist()
    found = agreement(votes_of(table))
    assert "kappas of pairs come from 100 of 200 items" in found.notes[0]
    assert found.pairs.column("items").to_pylist() == [100, 100, 100]
    assert found.statistics == agreement(votes_of(table)).statistics


def test_nothing_to_compare():
    alone = agreement(Votes.from_columns([1, 2], ["a", "a"], ["x", "y"]))
    assert alone.statistics.column("value").null_count == len(alone.statistics) and len(alone.pairs) == 0
    assert np.isnan(krippendorff_alpha(Votes.from_columns([1, 1], ["a", "b"], ["x", "x"])).value)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside, widths = [], []
    for _ in range(300):
        true = rng.integers(0, 2, 40)
        table = np.where(rng.random((40, 3)) < 0.85, true[:, None], 1 - true[:, None])
        _, _, low, high, _ = krippendorff_alpha(votes_of(table.tolist(), LabelSpace(range(2))))
        inside.append(low <= 0.49 <= high)  # (2 * 0.85 - 1)^2
        widths.append(high - low)
    assert 0.85 <= np.mean(inside) <= 0.95 and np.mean(widths) < 0.5


def test_one_item_has_no_error():
    assert np.isnan(estimate(observed(read(votes_of([[0, 1, 1]])).cells()), 0.9).se)


def test_errors():
    votes = votes_of([[0, 1, 1], [1, 1, 0]])
    with pytest.raises(OptionError, match="pass level=0.9"):
        agreement(votes, level=90)
    with pytest.raises(OptionError, match="did you mean 'nominal'"):
        krippendorff_alpha(votes, metric="nominell")
    with pytest.raises(LabelError, match="structure='score'"):
        krippendorff_alpha(votes, metric="interval")
    with pytest.raises(LabelError, match="none negative"):
        space = LabelSpace(range(4), structure="score", values=[-1, 0, 1, 2])
        krippendorff_alpha(votes_of([[0, 1]], space), metric="ratio")
    with pytest.raises(OptionError, match="did you mean 'quadratic'"):
        cohen_kappa(votes, weights="quadratics")
    with pytest.raises(OptionError, match="pass least=1 or more"):
        cohen_kappa(votes, least=0)
    with pytest.raises(OptionError, match="krippendorff_alpha"):
        agreement(votes)["alpha"]
