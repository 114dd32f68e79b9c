"""Training in stages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelwright.errors import OptionError
from labelwright.learning import TrainData, train
from labelwright.learning.networks import MLP
from labelwright.learning.stages import train_stages


def test_each_stage_begins_where_the_last_ended() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    one, two = TrainData(x, (x[:, 0] > 0).astype(int)), TrainData(x, (x[:, 1] > 0).astype(int))
    torch.manual_seed(0)
    student, apart = MLP(3, 2, hidden=(4,)), MLP(3, 2, hidden=(4,))
    apart.load_state_dict(student.state_dict())
    found = train_stages(student, [{"data": one, "epochs": 2}, {"data": two}], seed=5, epochs=3, batch_size=20)
    train(one, student=apart, epochs=2, batch_size=20, seed=5)
    train(two, student=apart, epochs=3, batch_size=20, seed=6)
    assert torch.equal(found.module.head.weight, apart.head.weight)
    assert [row["stage"] for row in found.history] == [1, 1, 2, 2, 2]


def test_errors() -> None:
    with pytest.raises(OptionError, match="write each stage as"):
        train_stages(MLP(2, 2), [{"loss": "kl"}])
    with pytest.raises(OptionError, match="at least one"):
        train_stages(MLP(2, 2), [])
