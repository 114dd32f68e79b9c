import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import average_precision_score

from labelwright.auditing.values import audit_values, fit_values, out_of_fold_values, read_values
from labelwright.auditing.values import model as module
from labelwright.auditing.values.inputs import together, units_of
from labelwright.errors import DataError, LabelError, LabelwrightWarning, OptionError


def line(n=300, noise=0.1, seed=0):
    """A value that follows a line, and the line as its prediction."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 5, n)
    return truth + noise * rng.standard_t(5, n), truth


def column(audit, name):
    return audit.parts[name].to_numpy(zero_copy_only=False)


# ---------------------------------------------------------------------------------------------- against naive references
def test_noise_density_is_that_of_a_skewed_t_and_integrates_to_one():
    r = np.linspace(-400, 400, 800_001)
    skew = np.array([0.5, 2.0])
    ours = np.exp(module._log_noise(r, np.full(len(r), 1.5), skew, 4.0))
    assert np.trapezoid(ours, r) == pytest.approx(1, abs=1e-4)
    for x in (-3.0, 3.0):
        scale = 1.5 * (2.0 if x > 0 else 0.5)
        # both halves meet at zero: 2 / (0.5 + 2) times the t of unit scale
        expected = 2 / (1.5 * 2.5) * stats.t.pdf(x / scale, 4)
        assert np.interp(x, r, ours) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 1000), st.integers(2, 60), st.integers(1, 80))
def test_running_mean_same_as_a_loop(seed, n, width):
    rng = np.random.default_rng(seed)
    level, v, weight = rng.normal(size=n).round(1), rng.random(n), rng.random(n)
    order = np.argsort(level, kind="stable")
    expected, half = np.empty(n), min(width, n - 1) // 2
    for place, i in enumerate(order):
        first = min(max(place - half, 0), n - 1 - 2 * half)
        near = [j for j in order[first : first + 2 * half + 1] if j != i]
        total = sum(weight[j] + 1e-9 for j in near)
        expected[i] = sum((weight[j] + 1e-9) * v[j] for j in near) / total if near else np.nan
    if half:
        np.testing.assert_allclose(module._running_mean(level, v, weight, width), expected, atol=1e-6)


def test_near_median_same_as_a_loop():
    rng = np.random.default_rng(0)
    v = np.where(rng.random(50) < 0.2, np.nan, rng.random(50))
    neighbours = rng.integers(-1, 50, (50, 4))
    neighbours[7] = -1
    ours = module._near_median(v, neighbours, np.full(50, 9.0))
    for i in range(50):
        told = [v[j] for j in neighbours[i] if j >= 0 and not np.isnan(v[j])]
        assert ours[i] == pytest.approx(np.median(told) if told else 9.0)


def test_shrunk_fit_solves_ridge_and_withstands_an_outlier():
    rng = np.random.default_rng(0)
    a = np.column_stack([np.ones(200), rng.normal(size=200)])
    exact = a @ [1.0, 2.0]
    free = module._shrunk_fit(a, exact, np.ones(200), np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(free, [1, 2], atol=1e-6)
    held = module._shrunk_fit(a, exact, np.ones(200), np.array([0.0, 5.0]), np.array([0.0, 1e9]))
    assert held[1] == pytest.approx(5, abs=1e-3)
    y = exact + 0.1 * rng.normal(size=200)
    y[:10] += 1000
    assert np.abs(module._shrunk_fit(a, y, np.ones(200), np.zeros(2), np.full(2, 1e-6)) - [1, 2]).max() < 0.1


@pytest.mark.parametrize(("kind", "low", "high"), [("unrelated", 0.8, 1.0), ("moved", 0.0, 0.2)])
def test_how_values_went_wrong_is_told_by_the_predictions_of_the_farthest(kind, low, high):
    rng = np.random.default_rng(0)
    n = 4000
    f = rng.normal(size=n)
    y = f + 0.3 * rng.standard_t(8, n)
    bad = np.arange(200)
    y[bad] = rng.permutation(y)[:200] if kind == "unrelated" else y[bad] + rng.choice([-2.0, 2.0], 200)
    assert low <= module._unrelated(y, y - f, np.ones(n)) <= high


def test_nothing_tells_how_values_went_wrong():
    y = np.r_[np.zeros(50), np.ones(50)]
    assert module._unrelated(y, y - 0.5, np.ones(100)) == 0.5  # a constant prediction
    assert module._unrelated(y, np.zeros(100), np.ones(100)) == 0.5  # no residuals


def test_mixture_raises_the_likelihood_and_finds_share_and_scale():
    rng = np.random.default_rng(0)
    n, bad = 4000, 400
    f = rng.normal(size=n)
    y = f + 0.1 * rng.standard_t(8, n)
    y[:bad] = rng.normal(size=bad) * 1.5
    loglik, good, skew, share, each = module._mixture(y, y - f, np.ones(n), 8.0, 0.5)
    assert share == pytest.approx(0.075, abs=0.02)  # half of the data's 0.1, half of the prior's 0.05
    assert skew == pytest.approx([0.1, 0.1], rel=0.15)
    # the penalised likelihood is at a maximum in the share and in both scales
    bad_density = np.logaddexp(module._log_t(y, 4.0, 1.5), module._log_t(y - f, 1.0, 2.0)) - np.log(2)

    def at(share):
        noise = module._log_noise(y - f, np.ones(n), skew, 8.0)
        total = np.logaddexp(np.log1p(-share) + noise, np.log(share) + bad_density).sum()
        return total + n * (0.05 * np.log(share) + 0.95 * np.log1p(-share))

    assert loglik == pytest.approx(at(share))
    assert at(share) > max(at(share * 1.1), at(share / 1.1))
    assert good[bad:].mean() > 0.97 and each.shape == (n,)


# -------------------------------------------------------------------------------------------------------- what it finds
def test_planted_faults_come_first_and_are_flagged():
    y, truth = line()
    wrong = np.array([3, 50, 120, 200, 299])
    y[wrong] = truth[wrong] + [2, -2, 3, 2, -3]
    audit = audit_values(y, truth)
    assert set(audit.ranking[:5]) == set(wrong)
    assert set(wrong) <= set(audit.issues["row"].to_pylist()) and audit.issues.num_rows <= 8
    assert np.abs(column(audit, "suggested")[wrong] - truth[wrong]).max() < 0.3
    assert audit.what == "values" and audit.summary()["issues"] == audit.issues.num_rows


def test_clean_values_are_hardly_flagged_and_probabilities_are_low():
    y, truth = line(2000)
    audit = audit_values(y, truth)
    assert column(audit, "is_issue").mean() < 0.01
    assert (1 - audit.quality).mean() < 0.02


def test_noise_that_grows_with_the_level_is_learnt():
    rng = np.random.default_rng(0)
    level = rng.uniform(0, 10, 3000)
    sd = 0.05 + 0.3 * level
    y = level + sd * rng.normal(size=3000)
    audit = audit_values(y, level)
    assert stats.spearmanr(column(audit, "spread"), sd)[0] > 0.9
    y[0], y[1] = level[0] + 2, level[1] + 2  # the same residual
    level[0], level[1] = 0.3, 9.5
    y[:2] = level[:2] + 2
    quality = audit_values(y, level).quality
    assert quality[0] < 0.5 < quality[1]


def test_features_alone_copies_and_groups_held_out_together():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = x @ [1.0, 2.0, -1.0] + 0.1 * rng.normal(size=400)
    x[1], y[:2] = x[0], [20.0, 20.0]  # a copy with the same wrong value must not excuse it
    y[50:60] += 8
    audit = audit_values(y, features=x)
    assert {0, 1, *range(50, 60)} == set(audit.issues["row"].to_pylist())
    kept = together(np.r_[7, 8, np.arange(398)], x)
    assert kept[0] == kept[1] and len(np.unique(kept)) == 397  # 7 and 8 occur once more each


def test_a_group_is_never_trained_on_what_is_asked_of_it():
    class Memory(LinearRegression):
        """Predicts 1 for every row it was trained on, else 0."""

        def fit(self, x, y):
            self.seen = {tuple(row) for row in x}
            return self

        def predict(self, x):
            return np.array([float(tuple(row) in self.seen) for row in x])

    x, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60.0)
    y[5] = np.nan
    groups = np.arange(60) // 3
    x[1] = x[0]
    out = out_of_fold_values(x, y, groups=groups, estimator=Memory())
    assert out.shape == (60, 1) and out.max() == 0


def test_a_large_table_of_few_columns_is_predicted_by_two_models():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1000, 2))
    y = np.where(x[:, 0] > 0, 1.0, -1.0) * np.sign(x[:, 1])  # nothing linear about it
    ridge, boosting = out_of_fold_values(x, y, n_folds=2).T
    assert np.abs(ridge - y).mean() > 0.9 > 0.1 > np.abs(boosting - y).mean()
    assert out_of_fold_values(x[:900], y[:900], n_folds=2).shape == (900, 1)


def test_several_models_are_weighed_by_what_they_know():
    y, truth = line(500)
    noise = np.random.default_rng(1).normal(size=500)
    both = audit_values(y, np.column_stack([truth, truth + 3 * noise]))
    assert np.abs(column(both, "suggested") - truth).mean() < 0.1


def test_biased_predictions_are_mended():
    y, truth = line(500)
    audit = audit_values(y, 3 * truth + 100)
    assert np.abs(column(audit, "suggested") - truth).mean() < 0.05


@pytest.mark.parametrize("factor", [10, 0.01, 2.54, -1])
def test_a_unit_mistake_is_named_and_undone(factor):
    y, truth = line(400, noise=0.05)
    wrong = np.arange(0, 400, 20)
    right = y[wrong].copy()
    y[wrong] *= factor
    audit = audit_values(y, truth)
    assert (column(audit, "problem")[wrong] == "unit?").all()
    np.testing.assert_allclose(column(audit, "factor")[wrong], factor)
    np.testing.assert_allclose(column(audit, "suggested")[wrong], right)
    assert any(f"times {factor:g}" in note for note in audit.notes)
    assert np.isnan(np.delete(column(audit, "factor"), wrong)).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_unit_is_seen_in_swapped_values_or_in_a_long_tail(seed):
    rng = np.random.default_rng(seed)
    truth = rng.lognormal(0, 1, 500)
    y = truth * rng.lognormal(0, 0.5, 500)
    y[:50] = rng.permutation(y)[:50]
    assert not (column(audit_values(y, truth), "problem") == "unit?").any()


def test_better_than_the_plain_residual_on_a_real_table(real_data):
    table = pq.read_table(real_data / "scores" / "abalone.parquet").to_pandas()
    y = table["rings"].to_numpy(dtype=float)
    x = table.drop(columns=["rings", "sex"]).to_numpy()
    gaps = []
    for seed in range(2):
        rng = np.random.default_rng(1000 + seed)
        wrong = rng.choice(len(y), 400, replace=False)
        s = y.copy()
        s[wrong] = rng.permutation(y)[:400]
        p = out_of_fold_values(x, s, estimator=LinearRegression(), random_state=seed)[:, 0]
        ours = average_precision_score(s != y, -audit_values(s, p).quality)
        gaps.append(ours - average_precision_score(s != y, np.abs(s - p)))
    assert min(gaps) > 0.03


# ------------------------------------------------------------------------------------------------------------ invariants
@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_scale_and_origin_of_the_values_change_nothing(seed, factor, shift):
    y, truth = line(60, seed=seed)
    y[0] += 3
    one = fit_values(*(np.asarray(v) for v in _standard(y, truth)))
    two = fit_values(*(np.asarray(v) for v in _standard(y * factor + shift, truth * factor + shift)))
    np.testing.assert_allclose(one.good, two.good, atol=1e-4)


def _standard(y, truth):
    centre, scale = units_of(y)
    return (y - centre) / scale, ((truth - centre) / scale)[:, None]


def test_order_of_the_items_does_not_matter():
    y, truth = line(200)
    y[:4] += 4
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(
        audit_values(y, truth).quality[order], audit_values(y[order], truth[order]).quality, atol=1e-6
    )


def test_the_same_call_gives_the_same_answer_and_missing_values_are_suggested():
    x, y = load_diabetes(return_X_y=True)
    y[[4, 9]] = np.nan
    steps = []
    one = audit_values(y, features=x, progress=lambda *a: steps.append(a))
    two = audit_values(y, features=x)
    np.testing.assert_array_equal(one.quality, two.quality)
    assert np.isnan(one.quality[[4, 9]]).all() and np.isfinite(column(one, "suggested")).all()
    assert not column(one, "is_issue")[[4, 9]].any() and "2 items have no value" in one.notes[-1]
    assert {"neighbours", "out-of-fold predictions"} == {s[0] for s in steps}
    known = np.delete(one.quality, [4, 9])
    assert ((known >= 0) & (known <= 1)).all()
    assert list(one.ranking[-2:]) == [4, 9]


def test_an_estimator_of_ones_own_repeats_exactly():
    x, y = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(5, max_depth=3)
    one, two = (audit_values(y, features=x, estimator=forest).quality for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_texts_and_groups():
    texts = [f"{'small ' * (i % 2)}{'huge ' * (1 - i % 2)}thing number {i}" for i in range(120)]
    y = np.where(np.arange(120) % 2, 1.0, 9.0) + np.linspace(0, 0.5, 120)
    y[10] = 1.0
    audit = audit_values(y, features=texts, groups=np.arange(120) // 4, n_neighbours=8)
    assert audit.ranking[0] == 10 and column(audit, "problem")[10] == "mismatch"


def test_columns_of_any_kind():
    expected = [1.5, 2.0, np.nan, *range(12)]
    plain = [1.5, 2, None, *range(12)]
    frames = [pd.Series(plain, dtype="Float64"), pl.Series(plain, strict=False), pa.array(plain, pa.float32())]
    chunked = pa.chunked_array([pa.array(plain, pa.float64())])
    for column_type in (plain, *frames, chunked, np.array(expected), tuple(plain), iter(plain)):
        np.testing.assert_array_equal(read_values(column_type), expected)


# ------------------------------------------------------------------------------------------------------------------ edges
def test_mostly_equal_values_ten_items_and_perfect_predictions():
    y = np.zeros(100)
    y[:5] = [1, 2, 3, 4, 50]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isfinite(audit_values(y, np.zeros(100)).quality).all()
        assert np.isfinite(audit_values(np.arange(10.0), np.arange(10.0)).quality).all()
        assert np.isfinite(audit_values(np.arange(10.0) * 1e300, np.arange(10.0) * 1e300).quality).all()
        assert np.isfinite(audit_values(np.arange(12.0), features=np.arange(12.0)[:, None]).quality).all()


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        (["1.5"] * 12, "convert them with float"),
        ([*range(12), "tall"], "convert them with float"),
        ([True, False] * 6, "convert them with float"),
        ([*range(12), np.inf], "set them to NaN"),
        (np.ones((12, 2)), "pass one column"),
        ([3.0] * 12, "add labelled items"),
        ([1.0, 2.0, *[None] * 20], "add labelled items"),
    ],
)
def test_values_that_cannot_be_audited(values, fix):
    with pytest.raises(LabelError, match=fix):
        audit_values(values, np.zeros(len(values)))


@pytest.mark.parametrize(
    ("options", "error", "fix"),
    [
        ({}, DataError, "pass predictions="),
        ({"predictions": np.zeros(11)}, DataError, "predict every item once"),
        ({"predictions": ["a"] * 12}, DataError, "predict every item once"),
        ({"predictions": [np.nan] * 12}, DataError, "why the model failed"),
        ({"features": np.zeros((11, 2))}, DataError, "select the rows"),
        ({"features": np.eye(12), "groups": [1, 2]}, DataError, "one group per item"),
        ({"features": np.eye(12), "estimator": LinearRegression}, OptionError, r"pass LinearRegression\(\)"),
        ({"features": np.eye(12), "estimator": "ridge"}, OptionError, "fit and predict"),
        ({"predictions": np.zeros(12), "estimator": LinearRegression()}, OptionError, "leave out one"),
        ({"predictions": np.zeros(12), "groups": np.zeros(12)}, OptionError, "leave groups out"),
        ({"predictions": np.zeros(12), "items": [1, 2]}, DataError, "pass the id column"),
        ({"predictions": np.zeros(12), "n_folds": 1}, OptionError, "n_folds=2"),
        ({"predictions": np.zeros(12), "n_neighbours": 0}, OptionError, "n_neighbours=1"),
    ],
)
def test_input_that_does_not_fit(options, error, fix):
    with pytest.raises(error, match=fix):
        audit_values(np.arange(12.0), **options)


def test_predictions_of_infinity_by_an_estimator():
    class Broken(LinearRegression):
        def predict(self, x):
            return np.full(len(x), np.inf)

    with pytest.raises(DataError, match="scale the features"):
        audit_values(np.arange(12.0), features=np.eye(12), estimator=Broken())


def test_predictions_too_good_or_of_no_use_are_told():
    y, truth = line()
    with pytest.warns(LabelwrightWarning, match="out-of-fold"):
        audit = audit_values(y, y + 1e-4 * truth)
    assert "implausibly perfect" in audit.notes[0]
    with pytest.warns(LabelwrightWarning, match="order to look in"):
        audit_values(y, np.random.default_rng(5).normal(size=len(y)))


def test_saved_as_other_audits(tmp_path):
    y, truth = line(100)
    y[7] = 30
    audit = audit_values(y, truth, items=[f"photo {i}" for i in range(100)])
    folder = audit.save(tmp_path / "audit")
    assert pq.read_table(folder / "issues.parquet")["item"].to_pylist() == ["photo 7"]
    assert column(audit, "problem")[7] == "outlier"
