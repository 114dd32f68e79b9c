"""Rows of the event table: what is refused, their ids and their digest."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import ColumnError, DataError, LabelError, OptionError, ProbabilityError
from labelwright.store._rows import digest, prepare
from labelwright.store.events import EventTable, event_ids, schema


@pytest.fixture
def table(tmp_path):
    return EventTable(tmp_path / "events")


@given(st.data())
def test_the_digest_sees_content_and_not_chunks(data):
    n = data.draw(st.integers(0, 8))
    text = st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=n, max_size=n)
    columns = {f.name: pa.array(data.draw(text), pa.string()) for f in schema() if f.type == pa.string()}
    columns["probability"] = pa.array(
        data.draw(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=n, max_size=n)), pa.float64()
    )
    columns["time"] = pa.array(range(n), pa.timestamp("us", "UTC"))
    rows = pa.table(columns)
    cut = data.draw(st.integers(0, n))
    assert digest(pa.concat_tables([rows.slice(0, cut), rows.slice(cut)])) == digest(rows)
    if n:
        name = data.draw(st.sampled_from([f.name for f in schema() if f.type == pa.string()]))
        cells = rows[name].to_pylist()
        cells[-1] = "" if cells[-1] is None else None
        other = rows.set_column(rows.column_names.index(name), name, pa.array(cells, pa.string()))
        assert digest(other) != digest(rows)


def test_events_that_cannot_be(table):
    item = {"item": ["a", "b"]}
    cases = [
        ({"value": ["1"]}, ColumnError, "without a column 'item'.*keys as text"),
        ({"item": ["a"], "label": ["cat"]}, ColumnError, "column 'label'.*rename or drop"),
        ({"item": ["a"]}, ColumnError, r"without a column 'value'.*json_values"),
        ({"item": ["a"], "value": ["1"], "commit": [1]}, ColumnError, "numbered by the repository"),
        ({**item, "value": ["1", "cat"]}, LabelError, r"'cat' in row 1, which is no JSON.*json_values\(labels\)"),
        ({**item, "value": ["1", '{"a": NaN}']}, LabelError, "which is no JSON"),
        ({**item, "value": ["1", "[[1]]"]}, LabelError, "in row 1.*pass a class"),
        (
            {"item": ["a", None], "value": ["1", "1"]},
            DataError,
            r"1 events with no item \(row 1\).*leave these rows out",
        ),
        ({"item": ["", "b"], "value": ["1", "1"]}, DataError, r"no item \(row 0\)"),
        ({**item, "value": ["1", "1"], "event_id": ["x", None]}, DataError, "no event_id"),
        ({**item, "value": ["1", "1"], "kind": ["review", "reviews"]}, OptionError, "did you mean 'review'"),
        (
            {**item, "value": ["1", "1"], "probability": [None, 1.5]},
            ProbabilityError,
            r"row 1: 1.5.*divide percentages",
        ),
        ({**item, "value": ["1", "1"], "probability": [float("nan"), 1]}, ProbabilityError, "replace NaN by null"),
        ({**item, "value": ["1", "1"], "probability": ["x", "y"]}, DataError, "convert 'probability' to double"),
        ({**item, "value": ["1", "1"], "time": [datetime(2024, 1, 1)] * 2}, DataError, "without a zone.*timestamp"),
        ({**item, "value": ["1", None], "kind": ["review", "retraction"]}, DataError, "names no event.*event_id"),
        (3, DataError, "wrap the columns"),
    ]
    for events, error, message in cases:
        with pytest.raises(error, match=message):
            table.append(events, message="m", source="s")
    assert not table.folder.exists()
    assert prepare({**item, "value": ["1", "1"]}, source="s")[0]["item"].to_pylist() == ["a", "b"]


def test_ids_made_of_what_is_said():
    one = event_ids("given", ["a", "b"], pa.array(['"x"', None]))
    assert one.equals(event_ids("given", ["a", "b"], ['"x"', None])) and len(set(one.to_pylist())) == 2
    assert event_ids(["ab"], ["c"]) != event_ids(["a"], ["bc"])
    with pytest.raises(ValueError, match="zip"):
        event_ids(["a"], ["b", "c"])
