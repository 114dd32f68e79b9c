from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from labelwright.errors import DataError
from labelwright.systems import _soap_notes as notes
from labelwright.systems import soap_weak_transfer as system
from labelwright.systems.proof import Dataset, Proof


def by_name(name: str) -> Proof:
    return next(p for p in system.PROOFS if p.name == name)


def small() -> Dataset:
    data = notes.made_up()
    rows = np.arange(len(data))[::3]
    return Dataset("small", {key: data[key][rows] for key in ("text", "role", "source")})


@pytest.fixture(scope="module")
def case() -> Any:
    before = dict(system.OPTIONS)
    system.OPTIONS.update(hidden=0, max_updates=150)
    yield system.prepare(small(), 0)
    system.OPTIONS.update(before)


def test_notes_carry_every_line_once_and_no_heading(case: system.Case) -> None:
    data = small()
    vectors = np.arange(len(data), dtype=float)[:, None]
    made = notes.notes_of(data, vectors, 0, 0)
    rows = np.concatenate(made.x)[:, 0].astype(int)
    assert len(set(rows)) == len(rows) and (data["source"][rows] == 0).all()
    np.testing.assert_array_equal(data["role"][rows], np.concatenate(made.role))
    label, sets = np.concatenate(made.label), np.concatenate(made.sets)
    assert 0.5 < (label >= 0).mean() < 0.95 and 0.5 < (label == data["role"][rows])[label >= 0].mean() < 0.95
    assert (sets.sum(1) == 2).any() and (sets[label < 0].sum(1) > 1).all()


def test_taggers_beat_the_rules(case: system.Case) -> None:
    told = {arm.name: arm.run(case, 0) for arm in by_name("tagger").arms}
    method = told.pop("BiLSTM, partial CRF")
    assert all(0 < v <= 1 for v in told.values()) and method["macro-F1"] > told["rules only"]
    assert told["true roles"] > told["rules only"] and 0.5 < method["lines with one class"] < 1


def test_labelled_notes_help_the_move(case: system.Case) -> None:
    told = {arm.name: arm.run(case, 0) for arm in by_name("transfer").arms}
    assert told["adapted, 100 notes"] > told["source tagger, 0 notes"] and all(0 < v <= 1 for v in told.values())


def test_end_models_on_rules() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    text = np.array([f"{['good', 'bad'][c]} {['fine', 'poor'][c]} w{rng.integers(9)}" for c in y], object)
    rules = np.where(rng.random((120, 2)) < 0.5, -1, y[:, None]).astype(np.int32)
    split = np.where(np.arange(120) < 80, "train", "test")
    data = Dataset("own", {"text": text, "rules": rules, "y": y, "split": split})
    told = {arm.name: arm.run(system.answered(data, 0), 0) for arm in by_name("end model").arms}
    assert told["end model of the label model"]["test accuracy"] == 1 > told["majority of the rules"]["test accuracy"]
    again = [by_name("end model").arms[1].run(system.answered(data, seed), seed)["test accuracy"] for seed in (1, 2, 3)]
    assert len(set(again)) > 1  # every seed draws the test items anew


def test_sets_without_and_with_the_real_folder(real_data: Any) -> None:
    assert [d.name for d in by_name("tagger").datasets(None)] == ["made-up words"]
    assert not list(by_name("end model").datasets(None))
    names = [d.name for d in by_name("tagger").datasets(real_data)]
    assert names == ["made-up words", "ag_news to dbpedia14"]
    found = list(by_name("end model").datasets(real_data))
    assert [d.name for d in found] == ["YouTube comments", "TREC questions"] and all(d.real for d in found)
    covered = (np.asarray(found[1]["rules"]) >= 0).any(1)
    assert covered.mean() > 0.9  # 3 % of the questions meet no rule


def test_missing_keys_are_refused() -> None:
    with pytest.raises(DataError, match="data-format"):
        by_name("tagger").check(Dataset("none", {"text": np.array(["a"], object)}))
