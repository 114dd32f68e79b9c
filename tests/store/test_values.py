"""What one event says, in its one spelling."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from labelwright.errors import LabelError
from labelwright.store._values import canonical
from labelwright.store.events import CANT_TELL, NONE_FITS, json_values


def test_values_have_one_text_each():
    said = [
        "cat",
        3,
        True,
        2.5,
        ("dog", "cat", "cat"),
        {"b": 0.25, "a": 0.75},
        CANT_TELL,
        NONE_FITS,
        None,
        float("nan"),
        np.int64(7),
    ]
    texts = json_values(said)
    assert texts.to_pylist() == [
        '"cat"', "3", "true", "2.5", '["cat", "dog"]', '{"a": 0.75, "b": 0.25}',
        '{"answer": "can\'t tell"}', '{"answer": "none of these"}', None, None, "7",
    ]  # fmt: skip
    assert canonical(texts).equals(texts)
    spelled = ['"c\\u0061t"', " 3 ", '["dog","cat"]', '{"b":0.25,"a":0.75}', "null"]
    assert canonical(pa.array(spelled)).to_pylist() == ['"cat"', "3", '["cat", "dog"]', '{"a": 0.75, "b": 0.25}', None]
    assert json_values(np.array(["a", None], dtype=object)).to_pylist() == ['"a"', None]


@pytest.mark.parametrize(
    "label", [["a", ["b"]], {}, {"cat": 2.0}, {"answer": "perhaps"}, [None], float("inf"), {"cat": "dog"}, object()]
)
def test_what_is_no_label(label):
    with pytest.raises(LabelError, match="in row 1.*pass a class, a list"):
        json_values(["cat", label])
