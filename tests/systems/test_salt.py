"""The characters that a language model predicts, and the arms on a small scale."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from labelwright.systems import Dataset
from labelwright.systems import salt as system


def test_every_place_has_what_came_before() -> None:
    before, came, number = system.characters(["ab", "", "Ba!"])
    a, b = (system.ALPHABET.index(c) + 2 for c in "ab")
    assert came.tolist() == [a, b, b, a, 1] and number.tolist() == [0, 0, 2, 2, 2]
    assert before.shape == (5, system.WINDOW)
    assert before[1].tolist() == [0] * (system.WINDOW - 1) + [a] and before[2].tolist() == [0] * system.WINDOW
    assert before[4, -2:].tolist() == [b, a]


def test_arms_of_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, steps in (("STEPS", 20), ("TEACHER_STEPS", 20), ("EARLY_STEPS", 5)):
        monkeypatch.setattr(system, name, steps)
    text = np.array(["the cat sat on the mat. "] * 1700, dtype=object)
    case = system.prepare_corpus(Dataset("one sentence", {"text": text}), 0)
    assert len(case.score) == case.document.max() + 1 and len(case.teacher) == len(case.x)
    found = [arm.run(case, 0) for arm in system.PROOFS[0].arms[:2]] + [system.half_first("challenging")(case, 0)]
    assert all(np.isfinite(list(f.values())).all() for f in found) and found[0]["NLL"] < np.log(system.KINDS)
    assert found[0] == system.PROOFS[0].arms[0].run(case, 0)  # the same seed, the same student
