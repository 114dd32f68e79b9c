"""The audit in passes: equal to the audit in memory, whatever the source, the engine and the cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labelwright as lw
from labelwright.auditing import _stacking
from labelwright.auditing._ranking import largest
from labelwright.auditing.streamed.passes import FirstPass, Model, PerRow, SecondPass, ThirdPass
from labelwright.errors import DataError, LabelError, LabelwrightError, OptionError, ProbabilityError
from labelwright.labels import LabelSpace, SoftLabels
from labelwright.stream import open_rows, run


def planted(n: int = 900, k: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Given labels, one in eight wrong, and probabilities of a fair model."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    logits = rng.normal(0, 1, (n, k)) + 3 * np.eye(k)[truth]
    p = np.exp(logits)
    wrong = rng.random(n) < 1 / 8
    return np.where(wrong, (truth + 1) % k, truth), (p / p.sum(1, keepdims=True)).astype(np.float32)


def same(streamed: lw.Audit, memory: lw.Audit) -> None:
    np.testing.assert_allclose(streamed.error_prob, memory.error_prob, atol=1e-6)
    np.testing.assert_array_equal(streamed.confident_joint, memory.confident_joint)
    np.testing.assert_allclose(streamed.transition, memory.transition, atol=1e-6)
    np.testing.assert_array_equal(streamed.is_issue, memory.is_issue)
    np.testing.assert_array_equal(streamed.kind, memory.kind)
    np.testing.assert_allclose(streamed.ambiguity, memory.ambiguity, atol=1e-6)
    np.testing.assert_allclose(streamed.novelty, memory.novelty, atol=2e-3)  # float32 makes ties of near equals
    np.testing.assert_allclose(streamed.severity, memory.severity, atol=1e-5)
    for name in ("estimate", "low", "high"):
        assert getattr(streamed.error_rate, name) == pytest.approx(getattr(memory.error_rate, name), abs=1e-6)
    assert isinstance(streamed.label_dist, SoftLabels) and isinstance(memory.label_dist, np.ndarray)
    kept = streamed.label_dist
    np.testing.assert_allclose(kept.prob, np.take_along_axis(memory.label_dist, kept.index, 1), atol=1e-6)
    np.testing.assert_allclose(kept.prob, -np.sort(-memory.label_dist, 1)[:, : kept.prob.shape[1]], atol=1e-6)
    assert streamed.issues["suggested"].to_pylist() == memory.issues["suggested"].to_pylist()


@pytest.mark.parametrize("engine", ["serial", "threads"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_passes_equal_the_audit_in_memory(engine: str, dtype: type):
    labels, p = planted()
    labels[[3, 500]] = -1
    known = [None if label < 0 else int(label) for label in labels]
    p = p.astype(dtype)
    same(lw.audit(known, p, engine=engine, workers=2), lw.audit(known, p))


def test_passes_with_structure_reviews_and_features():
    labels, p = planted(400, 5)
    space = LabelSpace(range(5), structure="ordered")
    first = lw.audit(labels, p, space=space)
    sample = first.review_sample(60, 0)
    rows = sample["row"].to_numpy()
    reviews = sample.append_column("label", [[int(c) for c in p[rows].argmax(1)]])
    same(
        lw.audit(labels, p, space=space, reviews=reviews, engine="serial"),
        lw.audit(labels, p, space=space, reviews=reviews),
    )
    x = np.random.default_rng(1).normal(0, 1, (400, 3)) + 4 * np.eye(5)[:, :3][labels]
    streamed, memory = lw.audit(labels, p, features=x, engine="serial"), lw.audit(labels, p, features=x)
    np.testing.assert_allclose(streamed.error_prob, memory.error_prob, atol=1e-6)
    np.testing.assert_array_equal(streamed.is_issue, memory.is_issue)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 5))
def test_the_cut_of_the_first_pass_changes_nothing(chunk: int, tasks: int, seed: int):
    labels, p = planted(120, 4, seed)
    sample = np.sort(np.random.default_rng(seed).choice(120, 30, replace=False))

    def feed(chunk):
        return chunk.rows, *chunk.data

    looked = run(
        lambda: FirstPass(4, sample), (labels, p), feed=feed, chunk_entries=chunk, tasks=tasks, engine="serial"
    )
    np.testing.assert_array_equal(looked.top, p.argmax(1))
    np.testing.assert_array_equal(looked.first, p.max(1))
    np.testing.assert_array_equal(looked.second, np.sort(p, 1)[:, -2])
    np.testing.assert_array_equal(looked.sample, p[sample])
    np.testing.assert_allclose(
        looked.thresholds, [p[labels == k, k].mean(dtype=np.float64) for k in range(4)], atol=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(2, 9))
def test_largest_equals_a_stable_sort(seed: int, k: int, n_classes: int):
    p = np.random.default_rng(seed).integers(0, 4, (15, n_classes)) / 4
    order = np.argsort(-p, axis=1, kind="stable")[:, :k]
    index, value = largest(p, k)
    np.testing.assert_array_equal(index, order)
    np.testing.assert_array_equal(value, np.take_along_axis(p, order, 1))


@pytest.mark.parametrize("form", ["npy", "parquet", "folder", "rows", "top k"])
def test_sources_give_the_same_answers(form: str, tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels, p = planted(300, 4)
    memory = lw.audit(labels, p)
    source: object
    if form == "npy":
        np.save(source := tmp_path / "probs.npy", p)
    elif form == "parquet":  # named columns in another order
        pq.write_table(pa.table({f"p_{k}": p[:, k] for k in (2, 0, 3, 1)}), source := tmp_path / "probs.parquet")
    elif form == "folder":
        source = tmp_path / "shards"
        source.mkdir()
        for i, part in enumerate(np.array_split(p, 3)):
            np.save(source / f"probs-{i:03d}.npy", part)
    elif form == "rows":
        source = open_rows(p)
    else:
        source = SoftLabels.from_dense(p, k=4)
    same(lw.audit(labels, source, engine="serial"), memory)
    small = lw.audit(labels, source)  # small ones are read into memory
    np.testing.assert_allclose(small.error_prob, memory.error_prob, atol=1e-6)


def test_a_sampled_fit_is_the_same_in_passes_and_in_memory(monkeypatch: pytest.MonkeyPatch):
    labels, p = planted(3000, 8)
    whole = lw.audit(labels, p)
    monkeypatch.setattr(_stacking, "FIT_CELLS", 8 * 1200)
    memory = lw.audit(labels, p)
    same(lw.audit(labels, p, engine="threads"), memory)
    assert 0 < np.abs(memory.error_prob - whole.error_prob).mean() < 0.02
    other = lw.audit(labels, p, random_state=1)
    assert not np.array_equal(other.error_prob, memory.error_prob)


def test_a_killed_audit_goes_on(tmp_path: Path):
    labels, p = planted(600, 5)
    np.save(path := tmp_path / "probs.npy", p)
    steps: list[tuple[str, int]] = []

    class Killed(Exception):
        pass

    def kill(step: str, done: int, total: int) -> None:
        steps.append((step, done))
        if step == "pass 2 of 3":
            raise Killed

    with pytest.raises(Killed):
        lw.audit(labels, path, checkpoint=tmp_path / "kept", progress=kill)
    assert (tmp_path / "kept" / "pass-1").is_dir()
    again = lw.audit(labels, path, checkpoint=tmp_path / "kept")
    same(again, lw.audit(labels, p))
    p[0] = p[1]
    np.save(path, p)
    with pytest.raises(DataError, match="checkpoint"):
        lw.audit(labels, path, checkpoint=tmp_path / "kept")


def test_parts_survive_their_state():
    rows = PerRow()
    rows.add(5, {"a": np.array([5.0, 6.0])})
    rows.add(0, {"a": np.arange(5.0)})
    back = PerRow.from_state(rows.state())
    np.testing.assert_array_equal(back.result()["a"], np.arange(7.0))
    np.testing.assert_array_equal(rows.result()["a"], np.arange(7.0))


def test_every_pass_survives_its_state_twice():
    labels, p = planted(60, 4)
    model = Model(labels, np.full(4, 0.25), _stacking.Pool(np.ones(1), np.zeros(4), np.eye(4) * 0.7 + 0.075, []), None)
    for statistic in (
        FirstPass(4, np.array([3, 50])),
        SecondPass(np.full(4, 0.5), model, sampled=True),
        ThirdPass(model, 0.3, np.eye(4) * 0.7 + 0.075, None, 2),
    ):
        for part in (slice(0, 40), slice(40, 60)):
            statistic.update((part, labels[part], p[part]))
        once = statistic.state()
        twice = type(statistic).from_state(type(statistic).from_state(once).state()).state()
        assert once.keys() == twice.keys()
        for name, values in once.items():
            np.testing.assert_array_equal(values, twice[name])


def test_files_and_report_of_a_streamed_audit(tmp_path: Path):
    import pyarrow.parquet as pq

    labels, p = planted(300, 7)
    streamed, memory = lw.audit(labels, p, engine="serial"), lw.audit(labels, p)
    streamed.save(tmp_path / "a")
    memory.save(tmp_path / "b")
    one, two = (pq.read_table(tmp_path / name / "items.parquet") for name in "ab")
    assert one.schema == two.schema and one["rank"].to_pylist() == two["rank"].to_pylist()
    assert (
        "over 99" in (tmp_path / "a" / "report.html").read_text()
        or "Given" in (tmp_path / "a" / "report.html").read_text()
    )
    assert streamed.corrected().ids.tolist() == memory.corrected().ids.tolist()


@pytest.mark.parametrize(
    ("change", "options", "error", "told"),
    [
        (lambda y, p: (y, np.where(np.arange(len(p))[:, None] == 70, np.nan, p)), {}, DataError, "row 70"),
        (lambda y, p: (y, p * 2), {}, ProbabilityError, "a softmax of logits"),
        (lambda y, p: (y[:-1], open_rows(p)), {}, ProbabilityError, "select the rows that the labels belong to"),
        (lambda y, p: (y, open_rows(p[:, 0])), {}, ProbabilityError, "write a matrix"),
        (lambda y, p: ([None] * len(y), p), {}, LabelError, "at least|known"),
        (
            lambda y, p: ([[c] for c in y.tolist()], p),
            {"multi": True},
            OptionError,
            "leave engine, workers and checkpoint out",
        ),
        (lambda y, p: (y, None), {"features": np.ones((100, 2))}, OptionError, "fits into memory"),
        (lambda y, p: (y, p), {"engine": "spark"}, OptionError, "threads"),
        (lambda y, p: (y, "nowhere.npy"), {}, LabelwrightError, "nowhere"),
    ],
)
def test_bad_input(change, options, error: type, told: str):
    labels, p = planted(100, 4)
    y, q = change(labels, p.astype(np.float64))
    with pytest.raises(error, match=told):
        lw.audit(y, q, **{"engine": "serial", **options})
