"""Specialists and students of generated classes on a small scale."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from labelwright.systems import Dataset
from labelwright.systems import knowledge_concentration as system


def test_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "EPOCHS", 2)
    whole = system.generated()
    few = np.asarray(whole["vertical"]) < 3
    data = Dataset("three verticals", {key: np.asarray(whole[key])[few][::1] for key in ("x", "y", "vertical")})
    monkeypatch.setattr(system, "PER_CLASS", 10)
    rows = np.tile(np.arange(few.sum()), 3)  # 440 items are too few for 500 to choose by
    case = system.prepare(Dataset(data.name, {key: data[key][rows] for key in ("x", "y", "vertical")}), 0)
    assert [len(v) for v in case.verticals] == [3, 3, 5] and case.said.shape == (110, 11) and case.k == 11
    found = {arm.name: arm.run(case, 0) for arm in system.PROOFS[0].arms}
    sizes = [f["parameters"] for f in found.values() if "parameters" in f]
    assert max(sizes) < 1.05 * min(sizes)
    assert found["specialists, told the vertical"]["accuracy"] >= found["generalist"]["accuracy"]
    assert all(np.isfinite(list(f.values())).all() for f in found.values())
