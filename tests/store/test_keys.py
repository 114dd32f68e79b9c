"""Keys and fingerprints depend on what is said, not on how Arrow lays it out."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import ColumnError, DataError
from labelwright.store.read import fingerprint, item_keys

BASE = {
    "t": ["a", "", None, "ü"],
    "n": [1, -2, None, 2**40],
    "x": [0.5, float("nan"), None, 2.0],
    "b": [True, None, False, True],
    "l": [[1.0, 2.0], [], None, [None]],
    "w": [["a", "b"], ["ab"], [], None],
    "s": [{"k": 1, "j": "x"}, {"k": None, "j": None}, None, {"k": 2, "j": ""}],
    "d": [b"\0", b"", None, b"\xff"],
}
TYPES = {"n": pa.int64(), "l": pa.list_(pa.float64()), "d": pa.binary()}
TABLE = pa.table({name: pa.array(values, TYPES.get(name)) for name, values in BASE.items()})
OTHER_TYPES = {
    "t": pa.large_string(),
    "x": pa.float64(),
    "l": pa.large_list(pa.float64()),
    "w": pa.large_list(pa.large_string()),
    "d": pa.large_binary(),
}
OTHER = pa.table({name: pa.array(values, OTHER_TYPES.get(name)) for name, values in BASE.items()})


def rechunk(table: pa.Table, cuts: list[int]) -> pa.Table:
    at = [0, *sorted(min(c, table.num_rows) for c in cuts), table.num_rows]
    return pa.concat_tables([table.slice(i, j - i) for i, j in zip(at, at[1:])])


@given(st.lists(st.integers(0, 4), max_size=4), st.permutations(list(BASE)))
def test_layout_does_not_show(cuts, order):
    for table in (rechunk(TABLE, cuts).select(order), rechunk(OTHER, cuts).select(order)):
        assert fingerprint(table) == fingerprint(TABLE)
        np.testing.assert_array_equal(item_keys(table, None, order), item_keys(TABLE, None, list(BASE)))


def test_widths_and_dictionaries_do_not_show():
    a = pa.table({"t": ["x", "y", "x", None], "n": pa.array([1, 2, 3, None], pa.int64()), "f": [0.5, 1.5, 2.0, None]})
    b = pa.table(
        {
            "t": pa.array(["x", "y", "x", None]).dictionary_encode(),
            "n": pa.array([1, 2, 3, None], pa.uint8()),
            "f": pa.array([0.5, 1.5, 2.0, None], pa.float32()),
        }
    )
    assert fingerprint(a) == fingerprint(b)
    assert list(item_keys(a, None, ["t", "n", "f"])) == list(item_keys(b, None, ["t", "n", "f"]))
    half = a.set_column(2, "f", pa.array(np.array([0.5, 1.5, 2.0, 9], np.float16), mask=np.array([0, 0, 0, 1], bool)))
    assert fingerprint(half) == fingerprint(a)


def test_bytes_under_a_null_do_not_show():
    clean = pa.array(["ab", None, "c"])
    bitmap = pa.array([True, False, True]).buffers()[1]
    offsets = pa.py_buffer(np.array([0, 2, 4, 5], np.int32))
    dirty = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"abXXc"), bitmap)
    assert dirty.to_pylist() == clean.to_pylist()
    assert fingerprint(pa.table({"t": dirty})) == fingerprint(pa.table({"t": clean}))


CELLS = {
    "text": st.text(max_size=4) | st.none(),
    "number": st.integers(-(2**40), 2**40) | st.none(),
    "float": st.floats(allow_nan=False) | st.none(),
    "words": st.lists(st.text(max_size=2), max_size=3) | st.none(),
    "vector": st.lists(st.floats(allow_nan=False, width=32), max_size=3) | st.none(),
}
KINDS = {
    "text": pa.string(),
    "number": pa.int64(),
    "float": pa.float64(),
    "words": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32()),
}


@pytest.mark.parametrize("kind", CELLS)
@given(data=st.data())
def test_fingerprints_are_equal_exactly_where_tables_are(kind, data):
    a = data.draw(st.lists(CELLS[kind], min_size=1, max_size=4))
    b = data.draw(st.just(a) | st.lists(CELLS[kind], min_size=1, max_size=4))
    one, two = (pa.table({"c": pa.array(v, KINDS[kind])}) for v in (a, b))
    signs = [str(v) for v in (a, b)]  # -0.0 is not 0.0
    assert (fingerprint(one) == fingerprint(two)) == (signs[0] == signs[1])


def test_fingerprint_sees_every_change():
    seen = {fingerprint(TABLE)}
    for i, name in enumerate(TABLE.column_names):
        column = TABLE[name].to_pylist()
        changed = pa.array([column[1], column[0], *column[2:]], TABLE.schema.field(name).type)
        seen.add(fingerprint(TABLE.set_column(i, name, changed)))
    for other in (TABLE.slice(1), TABLE.rename_columns([*TABLE.column_names[:-1], "e"]), TABLE.drop(["t"])):
        seen.add(fingerprint(other))
    assert len(seen) == len(BASE) + 4
    assert fingerprint(pa.table({"t": ["ab", "c"]})) != fingerprint(pa.table({"t": ["a", "bc"]}))
    assert fingerprint(pa.table({"t": ["1"]})) != fingerprint(pa.table({"t": [1]}))
    assert fingerprint(pa.table({"t": pa.array([b"a"])})) != fingerprint(pa.table({"t": ["a"]}))


def test_keys_follow_the_content_not_the_row():
    words = pa.table({"text": [f"w{i}" for i in range(50)], "x": range(50)})
    order = np.random.default_rng(0).permutation(50)
    keys = item_keys(words, None, ["text", "x"])
    assert len(set(keys)) == 50 and all(len(k) == 32 for k in keys)
    np.testing.assert_array_equal(item_keys(words.take(order), None, ["x", "text"]), keys[order])
    np.testing.assert_array_equal(item_keys(words.rename_columns(["u", "y"]), None, ["u", "y"]), keys)


def test_duplicates_get_suffixes_in_order():
    keys = item_keys(pa.table({"t": ["a", "b", "a", "a"]}), None, ["t"])
    assert list(keys) == [keys[0], keys[1], f"{keys[0]}-2", f"{keys[0]}-3"]


def test_cells_do_not_run_into_each_other():
    table = pa.table({"a": ["ab", "a", "1", None, "x", None], "b": ["c", "bc", None, "1", None, "x"]})
    assert not any("-" in k for k in item_keys(table, None, ["a", "b"]))
    lists = pa.table({"a": [["ab"], ["a", "b"], ["a"], [], [""], ["", ""]]})
    assert not any("-" in k for k in item_keys(lists, None, ["a"]))
    vectors = pa.table({"a": pa.array([[0.0], [None], [0.0, None], [], [0.0, 0.0]], pa.list_(pa.float64()))})
    assert not any("-" in k for k in item_keys(vectors, None, ["a"]))
    assert item_keys(pa.table({"a": ["1"]}), None, ["a"])[0] != item_keys(pa.table({"a": [1]}), None, ["a"])[0]


def test_formats_that_cannot_tell_missing_from_empty_give_the_same_key():
    keys = item_keys(pa.table({"t": ["", None], "x": pa.array([float("nan"), None])}), None, ["t", "x"])
    assert keys[1] == f"{keys[0]}-2"
    whole = [
        item_keys(pa.table({"n": pa.array([3], t)}), None, ["n"])[0] for t in (pa.int8(), pa.uint64(), pa.float32())
    ]
    assert len(set(whole)) == 1


def test_pictures_are_keyed_by_what_they_show(tmp_path):
    a = pa.table({"i": [{"bytes": b"PNG", "path": "a.png"}]})
    b = pa.table({"i": [{"bytes": b"PNG", "path": None}]})
    assert item_keys(a, None, ["i"])[0] == item_keys(b, None, ["i"])[0]
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(b"picture")
    (tmp_path / "dog" / "2.png").write_bytes(b"another")
    paths = pa.table({"image": ["cat/1.png", "dog/1.png", "dog/2.png"]})
    keys = item_keys(paths, None, ["image"], files={"image": tmp_path})
    assert keys[1] == f"{keys[0]}-2" and keys[2] != keys[0]  # moved to another class, still the same picture
    for path in ("../x.png", "gone.png"):
        with pytest.raises(DataError, match="leads out of|no file"):
            item_keys(pa.table({"image": [path]}), None, ["image"], files={"image": tmp_path / "cat"})


def test_keys_and_fingerprints_never_change():
    """Another number here means that the keys stored in repositories no longer fit."""
    table = pa.table({"text": ["a", "b"], "x": [1.5, 2.0]})
    cells = [[b"sa", b"d" + struct.pack("<d", 1.5)], [b"sb", b"i" + struct.pack("<q", 2)]]
    by_hand = [b"".join(struct.pack("<Q", len(c)) + c for c in row) for row in cells]
    keys = [hashlib.blake2b(row, digest_size=16).hexdigest() for row in by_hand]
    assert list(item_keys(table, None, ["text", "x"])) == keys
    code = "import pyarrow as pa; from labelwright.store.read import *; "
    code += (
        "t = pa.table({'text': ['a', 'b'], 'x': [1.5, 2.0]}); print(*item_keys(t, None, ['text', 'x']), fingerprint(t))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.split() == [*keys, fingerprint(table)]
    assert fingerprint(table) == "ef7b6b624676c7b1b543c6b891bd5e24"


def test_user_ids():
    ids = pa.table({"id": [3, 1, 2], "t": ["x", "x", "x"]})
    assert list(item_keys(ids, "id", ["t"])) == ["3", "1", "2"]
    assert list(item_keys(pa.table({"id": pa.array(["b", "a"]).dictionary_encode()}), "id", [])) == ["b", "a"]


@pytest.mark.parametrize(
    "values, message",
    [
        (["a", "b", "a", "b"], "2 values repeat: 'a' in row 0, 2; 'b' in row 1, 3.*remove the duplicates"),
        (["a", None, ""], "2 missing ids in column 'id'; row 1, 2.*fill them in"),
        ([1.5, 2.5], "type double.*write the ids as text"),
    ],
)
def test_wrong_ids(values, message):
    with pytest.raises(DataError, match=message):
        item_keys(pa.table({"id": values}), "id", [])


def test_columns_that_are_not_there():
    with pytest.raises(ColumnError, match="no column 'txt'.*use 'text'"):
        item_keys(pa.table({"text": ["a"]}), None, ["txt"])
    with pytest.raises(DataError, match="no content columns.*name the id column"):
        item_keys(pa.table({"text": ["a"]}), None, [])


def test_fingerprint_is_fast():
    n = 200_000
    rng = np.random.default_rng(0)
    table = pa.table({"t": rng.integers(0, 10**9, n).astype(str), "x": rng.random(n), "y": rng.integers(0, 9, n)})
    start = time.process_time()
    fingerprint(table)
    assert time.process_time() - start < 0.5  # 1 M rows in 2.5 s at the very worst
