from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError, LabelError, OptionError

torch = pytest.importorskip("torch")

from labelwright.learning.sequence_tagger import SequenceTagger  # noqa: E402

SMALL: dict[str, Any] = {"hidden": 8, "dropout": 0.1, "learning_rate": 1e-2, "max_updates": 60}


def notes(n: int = 40, seed: int = 0, k: int = 3, noise: float = 1.0, turn: float = 0.0) -> tuple[list[Any], list[Any]]:
    """Documents whose classes come in order, 0 0 1 1 1 2 ..., with features that half tell them."""
    rng = np.random.default_rng(seed)
    centres = np.eye(k, 6) + turn * np.eye(k, 6)[:, ::-1]
    labels = [np.repeat(np.arange(k), rng.integers(1, 5, k)) for _ in range(n)]
    return [centres[y] + noise * rng.normal(size=(len(y), 6)) for y in labels], labels


def accuracy(tagger: SequenceTagger, x: list[Any], y: list[Any]) -> float:
    return float((np.concatenate(tagger.predict(x)) == np.concatenate(y)).mean())


def weak(labels: list[Any], seed: int = 0) -> list[Any]:
    """A third of the labels unknown."""
    rng = np.random.default_rng(seed)
    return [np.where(rng.random(len(y)) < 0.33, -1, y) for y in labels]


def test_the_chain_helps_and_gaps_hardly_hurt() -> None:
    (x, y), (held, true) = notes(seed=0), notes(seed=1)
    options = {**SMALL, "hidden": 0, "max_updates": 200}
    per_line = accuracy(SequenceTagger(**options, chain=False).fit(x, y), held, true)
    chain = accuracy(SequenceTagger(**options).fit(x, y), held, true)
    partial = accuracy(SequenceTagger(**options).fit(x, weak(y)), held, true)
    assert chain > per_line + 0.08 and partial > per_line + 0.05


def test_ids_and_candidate_sets_say_the_same() -> None:
    x, y = notes(12)
    gaps = weak(y)
    sets = [(g[:, None] == np.arange(3)) | (g < 0)[:, None] for g in gaps]
    one, other = SequenceTagger(**SMALL).fit(x, gaps), SequenceTagger(**SMALL).fit(x, sets)
    np.testing.assert_array_equal(np.concatenate(one.predict_proba(x)), np.concatenate(other.predict_proba(x)))


def test_true_candidate_sets_teach() -> None:
    x, y = notes(seed=2)
    rng = np.random.default_rng(0)
    sets = [np.eye(3, dtype=bool)[one] | (rng.random((len(one), 3)) < 0.3) for one in y]
    held, true = notes(seed=3)
    assert accuracy(SequenceTagger(**SMALL).fit(x, sets), held, true) > 0.75


def test_probabilities_sum_to_one_and_do_not_depend_on_the_batch() -> None:
    x, y = notes(12)
    tagger = SequenceTagger(**SMALL).fit(x, y)
    p = tagger.predict_proba(x)
    assert [one.shape for one in p] == [(len(t), 3) for t in y]
    np.testing.assert_allclose(np.concatenate(p).sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(tagger.predict_proba([x[3]])[0], p[3], atol=1e-6)
    np.testing.assert_allclose(tagger.predict_proba(x[::-1])[::-1][5], p[5], atol=1e-6)


def test_the_same_seed_gives_the_same_tagger_and_torch_keeps_its_own() -> None:
    x, y = notes(12)
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    tagger = SequenceTagger(**SMALL)
    first = np.concatenate(tagger.fit(x, y).predict_proba(x))
    torch.rand(3)
    np.testing.assert_array_equal(first, np.concatenate(tagger.fit(x, y).predict_proba(x)))  # fit twice is fit once
    torch.manual_seed(5)
    assert torch.equal(before, torch.random.get_rng_state()) and threads == torch.get_num_threads()
    tagger.fit(x, y)
    assert torch.equal(before, torch.random.get_rng_state())
    other = SequenceTagger(**SMALL, random_state=1).fit(x, y)
    assert not np.array_equal(first, np.concatenate(other.predict_proba(x)))


def test_without_a_chain_the_transitions_stay_zero() -> None:
    x, y = notes(12)
    tagger = SequenceTagger(**SMALL, chain=False).fit(x, y)
    assert not tagger.transitions_.any() and not tagger.start_.any() and not tagger.end_.any()
    for p, path in zip(tagger.predict_proba(x), tagger.predict(x)):
        np.testing.assert_array_equal(p.argmax(1), path)
    assert SequenceTagger(**SMALL).fit(x, y).transitions_.any()


def test_adapted_beats_scratch_on_few_documents() -> None:
    x, y = notes(60, seed=4)
    few, few_y = notes(3, seed=5, turn=0.3)
    held, true = notes(40, seed=6, turn=0.3)
    source = SequenceTagger(**SMALL).fit(x, y)
    before = np.concatenate(source.predict_proba(held))
    adapted = source.adapt(few, few_y)
    np.testing.assert_array_equal(adapted.transitions_, source.transitions_)  # fewer than ten documents
    assert not np.array_equal(source.adapt(few, few_y, freeze_transitions=False).transitions_, source.transitions_)
    scratch = SequenceTagger(**SMALL).fit(few, few_y)
    assert accuracy(adapted, held, true) > accuracy(scratch, held, true) + 0.03
    np.testing.assert_array_equal(before, np.concatenate(source.predict_proba(held)))  # the source is as it was


def test_adapting_to_other_classes_keeps_the_lstm_only() -> None:
    x, y = notes(20)
    source = SequenceTagger(**SMALL).fit(x, y)
    adapted = source.adapt(*notes(12, seed=1, k=4), n_classes=4)
    assert adapted.n_classes_ == 4 and adapted.predict_proba(x)[0].shape[1] == 4
    idle = SequenceTagger(**{**SMALL, "learning_rate": 1e-12}).fit(x, y)
    moved = idle.adapt(*notes(12, seed=1, k=4), n_classes=4)
    was, now = (t.network_["lstm"].state_dict() for t in (idle, moved))
    same = [torch.allclose(was[name], now[name]) for name in was]
    assert all(same)


def test_options_are_those_given() -> None:
    x, y = notes(6)
    tagger = SequenceTagger(hidden=4, max_updates=5).fit(x, y)
    assert tagger.get_params()["hidden"] == 4 and not any(name.endswith("_") for name in tagger.get_params())
    assert SequenceTagger(**tagger.get_params()).fit(x, y).trace_ == tagger.trace_ != []
    assert SequenceTagger(hidden=0, max_updates=5).fit(x[:3], y[:3]).trace_ == []  # too few to hold any out


def test_one_class_and_one_line() -> None:
    tagger = SequenceTagger(hidden=0, max_updates=3, n_classes=2).fit([np.ones((1, 2))], [np.array([0])])
    assert tagger.predict([np.ones((1, 2))])[0].shape == (1,)


def test_what_cannot_be_trained_on_is_refused() -> None:
    x, y = notes(4)
    tagger = SequenceTagger(**SMALL)
    with pytest.raises(OptionError, match="call fit first"):
        tagger.predict(x)
    with pytest.raises(DataError, match="zero lines"):
        tagger.fit([*x, np.empty((0, 6))], [*y, np.empty(0, int)])
    with pytest.raises(DataError, match="one encoder"):
        tagger.fit([x[0], x[1][:, :3]], y[:2])
    with pytest.raises(DataError, match="impute"):
        tagger.fit([x[0] * np.nan], y[:1])
    with pytest.raises(DataError, match="pass a list"):
        tagger.fit([], [])
    with pytest.raises(LabelError, match="same lines"):
        tagger.fit(x, y[:3])
    with pytest.raises(LabelError, match="unknown label in row 1"):
        SequenceTagger(n_classes=2).fit(x, [y[0] % 2, y[1], y[2] % 2, y[3] % 2])
    with pytest.raises(LabelError, match="label a few lines"):
        tagger.fit(x, [np.full(len(one), -1) for one in y])
    with pytest.raises(LabelError, match="mark every class"):
        tagger.fit(x, [np.zeros((len(one), 3), dtype=bool) for one in y])
    with pytest.raises(LabelError, match="pass integers"):
        tagger.fit(x, [one.astype(float) for one in y])
    with pytest.raises(OptionError, match="hidden=0"):
        SequenceTagger(hidden=-1).fit(x, y)
    with pytest.raises(OptionError, match="dropout=0.2"):
        SequenceTagger(dropout=1.0).fit(x, y)
    with pytest.raises(OptionError, match="1e-3"):
        SequenceTagger(learning_rate=0).fit(x, y)
    with pytest.raises(OptionError, match="leave it out"):
        SequenceTagger(hidden=0, max_updates=2).fit(x, y).adapt(x, y, freeze_transitions="never")
