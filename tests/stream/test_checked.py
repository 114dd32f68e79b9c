"""Checked rows: the bad one is named, in its shard and in the whole, and never skipped."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from stream_data import random_case

from labelwright.auditing.thresholds import ClassThresholds
from labelwright.errors import DataError, ProbabilityError
from labelwright.stream import checked, open_rows, run


def test_nan_in_the_millionth_row_is_named(tmp_path):
    p = np.full((1_000_100, 2), 0.5, np.float16)
    for i, part in enumerate(np.split(p, [400_000, 800_000])):
        np.save(tmp_path / f"probs-{i:03}.npy", part)
    late = np.load(tmp_path / "probs-002.npy", mmap_mode="r+")
    late[199_999, 1] = np.nan
    late.flush()
    rows = checked(open_rows((np.zeros(len(p), int), tmp_path)))
    with pytest.raises(DataError, match=r"row 199999 of probs-002.npy \(row 999999 of all\).*predict these rows again"):
        run(lambda: ClassThresholds(2), rows, workers=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(bad):
    values = np.zeros(10)
    values[7] = bad
    with pytest.raises(DataError, match="1 of 4 rows, first in row 7"):
        list(checked(open_rows(values)).chunks(4))
    table = pa.table({"x": values, "t": ["a"] * 10})
    with pytest.raises(DataError, match="of 'x' in 1 of 4 rows, first in row 7"):
        list(checked(open_rows(table)).chunks(4))


def test_distributions():
    _, p = random_case(dtype=np.float16)
    assert len(list(checked(open_rows(p), distributions=True).chunks(7))) == 9
    for row, what in ((p[5] * 100, "sum 100"), (p[5] - [0.5, -0.5, 0, 0], "min -"), (p[5] * 0, "sum 0")):
        q = p.copy()
        q[41] = row
        with pytest.raises(ProbabilityError, match=rf"1 of 7 rows that are no distribution, first row 41 \(.*{what}"):
            list(checked(open_rows(q), distributions=True).chunks(7))
    list(checked(open_rows(q)).chunks())  # finite, which is all that is asked here


def test_a_checked_source_is_the_same_source():
    labels, p = random_case()
    rows = open_rows((labels, p))
    assert checked(rows).fingerprint() == rows.fingerprint()
    assert (checked(rows).shape, checked(rows).dtype) == (rows.shape, rows.dtype)
    np.testing.assert_array_equal(next(checked(rows).chunks(60)).data[1], p)
