"""Which items come, in which epoch, how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError, OptionError
from labelwright.learning.samplers import FirstThenAll


def orders(sampler: FirstThenAll, n: int, epochs: int) -> list[np.ndarray]:
    recipe = SimpleNamespace(batch_size=2, accumulate=2)
    run: Any = SimpleNamespace(data=range(n), recipe=recipe, accelerator=SimpleNamespace(num_processes=1))
    return [sampler.order(run, epoch, np.random.default_rng(epoch)) for epoch in range(epochs)]


def test_first_some_then_all() -> None:
    first = [1, 4, 5]
    a, b, c = orders(FirstThenAll(first, steps=3), 8, 3)  # 3 steps of 4 items: an epoch and a half
    assert len(a) == len(b) == len(c) == 8
    assert set(a) == set(first) and sorted(np.bincount(a)[first]) == [2, 3, 3]
    assert set(b[:4]) == set(first) and len(set(b[4:])) == 4
    assert sorted(c) == list(range(8))
    mask = np.isin(np.arange(8), first)
    np.testing.assert_array_equal(orders(FirstThenAll(mask, steps=3), 8, 2)[1], b)
    assert sorted(orders(FirstThenAll(first, steps=0), 8, 1)[0]) == list(range(8))


def test_errors() -> None:
    with pytest.raises(OptionError, match="choose items"):
        FirstThenAll([], steps=1)
    with pytest.raises(OptionError, match="steps=0 or more"):
        FirstThenAll([1], steps=-1)
    with pytest.raises(DataError, match="data that is passed to train"):
        orders(FirstThenAll([9], steps=1), 8, 1)
