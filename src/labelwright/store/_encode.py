"""Canonical bytes of Arrow values, free of their layout: cell by cell for keys, column by column for fingerprints."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

_EXACT = 2.0**53  # floats up to here are whole numbers exactly


def encode_rows(column: Any) -> list[bytes]:
    """The bytes of each cell of an Arrow array. Missing, NaN and "" are all b"".

    A whole number is the same as int and as float. The first byte tells the kind, so that the text "1" is not the
    number 1.
    """
    import pyarrow as pa
    import pyarrow.types as t

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return encode_rows(column.storage)
    if t.is_dictionary(kind):
        return encode_rows(column.dictionary_decode())
    if t.is_null(kind):
        return [b""] * len(column)
    if _is_text(kind):
        return [b"" if not v else b"s" + v for v in column.cast(_text_bytes(kind)).to_pylist()]
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        return [b"" if not v else b"b" + v for v in column.to_pylist()]
    if t.is_boolean(kind):
        return [b"" if v is None else b"t" if v else b"f" for v in column.to_pylist()]
    if t.is_integer(kind) or t.is_floating(kind):
        return _number_rows(column)
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return _list_rows(column)
    if t.is_struct(kind):
        parts = {kind.field(i).name: encode_rows(values) for i, values in enumerate(column.flatten())}
        if parts.keys() == {"bytes", "path"}:  # a picture: what it shows, not where it lay
            return [data or path for data, path in zip(parts["bytes"], parts["path"])]
        joined = zip(*(parts[name] for name in sorted(parts))) if parts else [()] * len(column)
        return [b"o" + _join(cells) if any(cells) else b"" for cells in joined]
    return [b"" if v is None else b"j" + _json(v) for v in column.to_pylist()]


def _number_rows(column: Any) -> list[bytes]:
    """8 bytes, little endian: "i" + int64 for whole numbers, "d" + float64 for others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_uint64(column.type):
        raw = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
        return [b"" if not ok else b"i" + int(v).to_bytes(9 if v >> 63 else 8, "little") for v, ok in zip(raw, valid)]
    if pa.types.is_integer(column.type):
        raw = pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes()
        whole = np.ones(len(column), bool)
    else:
        values = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False).astype("<f8")
        valid = valid & ~np.isnan(values)
        whole = (values == np.floor(values)) & (np.abs(values) <= _EXACT)
        raw = np.where(whole, np.where(whole, values, 0).astype("<i8").view("<f8"), values).astype("<f8").tobytes()
    cells = zip(valid.tolist(), whole.tolist(), range(0, 8 * len(column), 8))
    return [b"" if not ok else (b"i" if int_ else b"d") + raw[at : at + 8] for ok, int_, at in cells]


def _list_rows(column: Any) -> list[bytes]:
    """Lists: of numbers as one block of 8-byte values and one of which are there, else cell by cell."""
    import pyarrow.compute as pc
    import pyarrow.types as t

    flat = column.flatten()
    ends = np.cumsum(_lengths(column)).tolist()
    spans = list(zip([0, *ends[:-1]], ends, column.is_valid().to_pylist()))
    if not (t.is_integer(flat.type) or t.is_floating(flat.type)):
        cells = encode_rows(flat)
        return [b"l" + _join(cells[i:j]) if ok else b"" for i, j, ok in spans]
    valid = flat.is_valid().to_numpy(zero_copy_only=False)
    values = pc.fill_null(flat, 0).to_numpy(zero_copy_only=False)
    if t.is_floating(flat.type):
        valid = valid & ~np.isnan(values)
        values = np.where(valid, values, 0).astype("<f8") + 0.0  # + 0.0: there is no -0.0
        kind, raw = b"v", values.tobytes()
    else:
        kind, raw = b"n", values.astype("<i8").tobytes()
    there = valid.tobytes()
    return [kind + raw[8 * i : 8 * j] + there[i:j] if ok else b"" for i, j, ok in spans]


def update_column(column: Any) -> bytes:
    """16 bytes over the values of a chunked array; the chunks do not show. Kinds: see `_Stream`."""
    stream = _Stream()
    for chunk in column.chunks:
        stream.update(chunk)
    return stream.digest()


class _Stream:
    """Hashes of one column: which cells are there, how long they are, what they hold; children for lists and structs.

    Kinds, lengths and values go into hashes of their own, so that where one chunk ends and the next begins leaves no
    trace.
    """

    def __init__(self) -> None:
        self.kind = ""
        self.valid, self.lengths, self.values = (hashlib.blake2b(digest_size=16) for _ in range(3))
        self.children: dict[str, _Stream] = {}

    def update(self, chunk: Any) -> None:
        import pyarrow as pa
        import pyarrow.types as t

        kind = chunk.type
        if isinstance(kind, pa.BaseExtensionType):
            return self.update(chunk.storage)
        if t.is_dictionary(kind):
            return self.update(chunk.dictionary_decode())
        self.valid.update(chunk.is_valid().to_numpy(zero_copy_only=False).tobytes())
        if _is_text(kind) or t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind):
            self.kind = "text" if _is_text(kind) else "bytes"
            self._bytes(chunk.cast(pa.large_binary()))
        elif t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind):
            self._numbers(chunk)
        elif t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
            self.kind = "list"
            self.lengths.update(_lengths(chunk).astype("<i8").tobytes())
            self._child("item").update(chunk.flatten())
        elif t.is_struct(kind):
            self.kind = "struct"
            for i, values in enumerate(chunk.flatten()):
                self._child(kind.field(i).name).update(values)
        elif not t.is_null(kind):  # dates, decimals, maps: rare, so by way of Python
            self.kind = str(kind)
            self._bytes(pa.array([None if v is None else _json(v) for v in chunk.to_pylist()], pa.large_binary()))
        return None

    def _bytes(self, chunk: Any) -> None:
        import pyarrow.compute as pc

        if chunk.null_count:
            chunk = pc.fill_null(chunk, b"")  # bytes may lie under a null
        self.lengths.update(pc.binary_length(chunk).to_numpy().astype("<i8").tobytes())
        _, offsets, data = chunk.buffers()
        if data is not None and len(chunk):
            ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            self.values.update(memoryview(data)[ends[0] : ends[-1]])

    def _numbers(self, chunk: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        floating = pa.types.is_floating(chunk.type)
        self.kind = "float" if floating else "bool" if pa.types.is_boolean(chunk.type) else "integer"
        values = pc.fill_null(chunk, False if self.kind == "bool" else 0).to_numpy(zero_copy_only=False)
        if floating:
            values = values.astype("<f8")
            values = np.where(np.isnan(values), np.nan, values)  # NaN has many bit patterns
        self.values.update(
            values.astype("<f8" if floating else "<u8" if values.dtype == np.uint64 else "<i8").tobytes()
        )

    def _child(self, name: str) -> _Stream:
        return self.children.setdefault(name, _Stream())

    def digest(self) -> bytes:
        total = hashlib.blake2b(json.dumps([self.kind, sorted(self.children)]).encode(), digest_size=16)
        own = [self.valid.digest(), self.lengths.digest(), self.values.digest()]
        for part in own + [self.children[n].digest() for n in sorted(self.children)]:
            total.update(part)
        return total.digest()


def _is_text(kind: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def _text_bytes(kind: Any) -> Any:
    import pyarrow as pa

    return pa.binary() if pa.types.is_string(kind) else pa.large_binary()


def _lengths(column: Any) -> np.ndarray:
    """(N,) number of values of each list; 0 where it is missing."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), np.int64)


def _join(cells: Any) -> bytes:
    return b"".join([len(cell).to_bytes(8, "little") + cell for cell in cells])


def _json(value: Any) -> bytes:
    """A Python value as JSON with sorted keys; bytes in hex, dates and decimals as they print."""
    return json.dumps(value, sort_keys=True, default=lambda v: v.hex() if isinstance(v, bytes) else str(v)).encode()
