from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError
from labelwright.systems import _datasets
from labelwright.systems import labeling_instruction_generation as system
from labelwright.systems.proof import Dataset, Proof

OWN = {"red_cars": ["red", "car", "wheel"], "Boats": ["boat", "sea", "sail"], "planes": ["plane", "sky", "wing"]}


def by_name(name: str) -> Proof:
    return next(p for p in system.PROOFS if p.name == name)


def small_texts(n: int = 90) -> Dataset:
    rng = np.random.default_rng(0)
    y = np.array([list(OWN)[i % 3] for i in range(n)], dtype=object)
    texts = [" ".join([*rng.choice(OWN[c], 2), *rng.choice(["the", "of", "and", "a"], 4)]) for c in y]
    return Dataset("small", {"text": np.array(texts, dtype=object), "y": y})


def small_digits() -> Dataset:
    x, y = _datasets.digits()
    return Dataset("digits", {"x": x[:200], "y": y[:200]})


def runs(proof: Proof, data: Dataset, seed: int = 0) -> dict[str, dict[str, float]]:
    proof.check(data)
    prepared = proof.prepare(data, seed)
    told = {arm.name: arm.run(prepared, seed) for arm in proof.arms}
    return {k: dict(v) if isinstance(v, dict) else {proof.metric: v} for k, v in told.items()}


@pytest.mark.parametrize(("proof", "make"), [("text", small_texts), ("image", small_digits)])
def test_retrieval_arms(proof: str, make: Any) -> None:
    told = runs(by_name(proof), make())
    values = {name: found["mAP"] for name, found in told.items()}
    assert all(0 < v <= 1 for v in values.values())
    method = next(iter(values))
    assert values[method] > values["random examples"] and told[method]["queries"] <= system.PAIRS


@pytest.mark.parametrize("make", [small_texts, small_digits])
def test_audit_arms(make: Any) -> None:
    told = runs(by_name("audit"), make())
    assert all(0.5 < found["AUROC"] <= 1 for found in told.values()) and told["instructions"]["AUROC"] > 0.9
    assert 0 <= told["instructions"]["suspects wrong"] <= 1


def test_no_held_out_item_or_label_has_a_part_in_the_candidates() -> None:
    data = small_digits()
    for task in system.tasks(data, 3):
        assert len(task.y_train) == len(task.x_train) and len(task.x_train) + len(task.x_held) == 200
        assert task.y_train[task.own].all()  # candidates are training items of the class
        found = {row.tobytes() for row in task.x_train}
        assert not any(row.tobytes() in found for row in task.x_held)


def test_given_labels_of_a_user() -> None:
    x, y = _datasets.digits()
    names = np.array([f"digit {c}" for c in y[:200]], dtype=object)
    given = names.copy()
    given[:10] = np.roll(names, 1)[:10]
    given[10] = "a class of nobody"
    case = system.noised(Dataset("own", {"x": x[:200], "y": names, "y_given": given}), 0)
    assert len(case.x) == 199 and case.wrong.sum() == (given != names)[:10].sum()


def test_an_encoder_embeds_items_and_phrases(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoder:
        name = "letters"

        def encode(self, texts: list[str]) -> np.ndarray:
            return np.array([[t.count(c) + 0.01 for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], np.float32)

    monkeypatch.setattr(_datasets, "text_encoder", lambda: Encoder())
    monkeypatch.setattr(_datasets, "_MADE", {})
    monkeypatch.setattr(system, "_WORDS", {})
    data = Dataset("small", small_texts().arrays, options={"encoder": True})
    assert _datasets.vectors_of(data).shape == (90, 26)
    assert all(0 < found["mAP"] <= 1 for found in runs(by_name("text"), data).values())
    assert 0.5 < runs(by_name("audit"), data)["instructions"]["AUROC"] <= 1


def test_missing_keys_are_refused() -> None:
    with pytest.raises(DataError, match="data-format"):
        by_name("text").check(small_digits())
    with pytest.raises(DataError, match="data-format"):
        by_name("audit").check(Dataset("none", {"y": np.zeros(3, np.int64)}))


def test_sets_without_and_with_the_real_folder(real_data: Any) -> None:
    assert [d.name for d in by_name("image").datasets(None)] == ["digits"] and not list(by_name("text").datasets(None))
    sets = list(by_name("text").datasets(real_data))
    assert {d.name.split(",")[0] for d in sets} == {"trec", "ag_news", "dbpedia14", "banking77"}
    assert all(d.real for d in sets)
    assert {d.name for d in by_name("audit").datasets(real_data) if d.real} == {
        "CIFAR-10N aggregate",
        "CIFAR-10N worst",
    }
