"""What one event says, as JSON text: equal texts are equal values.

"cat", 3                          a class                     null                          no label
["cat", "dog"]                    a set of classes, sorted    {"answer": "can't tell"}      looked, and could not tell
{"cat": 0.9, "dog": 0.1}          a distribution              {"answer": "none of these"}   no class fits
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import LabelError

if TYPE_CHECKING:
    import pyarrow as pa

CANT_TELL, NONE_FITS = {"answer": "can't tell"}, {"answer": "none of these"}
_FIX = "pass a class, a list of classes, {class: probability}, {'answer': \"can't tell\"}, {'answer': 'none of these'} or None"


def json_values(labels: Iterable[Any]) -> pa.Array:
    """Labels as the JSON text of events: classes, lists or sets of them, {class: probability}, answers, None.

    Returns:
        (N,) strings, null where there is no label.

    Raises:
        LabelError: something else.

    >>> json_values(["cat", 3, ["dog", "cat"], {"cat": 1.0}, None]).to_pylist()
    ['"cat"', '3', '["cat", "dog"]', '{"cat": 1.0}', None]
    """
    import pyarrow as pa

    known: dict[Any, str | None] = {}
    out = []
    for row, label in enumerate(labels.to_pylist() if hasattr(labels, "to_pylist") else labels):
        key = (type(label), label) if isinstance(label, str | int) else None
        if key is None or key not in known:
            text = _dumped(label, row)
            if key is None:
                out.append(text)
                continue
            known[key] = text
        out.append(known[key])
    return pa.array(out, pa.string())


def canonical(values: Any) -> pa.Array:
    """JSON texts, each in the one way we write its value; null stays null and "null" becomes it.

    Raises:
        LabelError: a text that is no JSON, or JSON that is no label.
    """
    import pyarrow as pa

    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    coded = array.cast(pa.string()).dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy()
    first = dict(zip(*(found.tolist() for found in np.unique(codes, return_index=True))))
    known = []
    for code, text in enumerate(coded.dictionary.to_pylist()):
        row = first.get(code, -1)
        try:
            label = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as err:
            raise LabelError(
                found=f"value {text[:80]!r} in row {row}, which is no JSON",
                expected='JSON text, such as "cat" with its quotation marks',
                fix="make the column with labelwright.store.events.json_values(labels)",
            ) from err
        known.append(_dumped(label, row))
    return pa.array(known, pa.string()).take(coded.indices)


def _dumped(label: Any, row: int) -> str | None:
    plain = _plain(label)
    if plain is None:
        return None
    if not _is_label(plain):
        raise LabelError(
            found=f"{label!r:.80} in row {row}",
            expected="something that a label can be",
            fix=_FIX,
        )
    if isinstance(plain, list):  # a set: order and repeats say nothing
        plain = [value for _, value in sorted({json.dumps(v): v for v in plain}.items())]
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _plain(label: Any) -> Any:
    """NumPy's scalars and arrays, tuples and sets as what JSON knows; NaN, which is how columns write missing, as None."""
    if isinstance(label, np.ndarray | np.generic):
        label = label.tolist()
    if isinstance(label, list | tuple | set | frozenset):
        return [_plain(value) for value in label]
    if isinstance(label, dict):
        return {str(name): _plain(value) for name, value in label.items()}
    return None if isinstance(label, float) and math.isnan(label) else label


def _is_label(label: Any) -> bool:
    if isinstance(label, list):
        return all(_is_class(value) for value in label)
    if isinstance(label, dict):
        if "answer" in label and isinstance(label["answer"], str):
            return label in (CANT_TELL, NONE_FITS)
        return len(label) > 0 and all(_is_weight(value) for value in label.values())
    return _is_class(label)


def _is_class(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
