"""Where the record batches of an Arrow file or stream lie and how long they are, from their heads alone."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from labelwright.errors import DataError

_DICTIONARY, _BATCH = 2, 3  # of Message.header in Arrow's format/Message.fbs


class Batch(NamedTuple):
    """offset: of its message in the file.   n_rows: how many rows it has."""

    offset: int
    n_rows: int


class Messages(NamedTuple):
    """is_file: the file format (with a footer) or a stream.   batches: in order.   dictionaries: whether there are any."""

    is_file: bool
    batches: list[Batch]
    dictionaries: bool


def walk(file: Any, size: int, name: str) -> Messages:
    """The record batches of an open Arrow file or stream of `size` bytes. Bodies, compressed or not, are skipped.

    Source: Arrow columnar format, "Encapsulated message format" and Message.fbs.
    """
    is_file = file.read(6) == b"ARROW1"
    at, batches, dictionaries = 8 if is_file else 0, [], False
    while at < size or is_file:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            raise _cut_short(name, size)
        mark, length = struct.unpack("<II", head)
        if mark != 0xFFFFFFFF:
            raise DataError(
                found=f"{name}, which is no Arrow file of version 0.15 or later, or damaged at byte {at}",
                expected="an Arrow (Feather V2) file or stream",
                fix="write it again with pyarrow.feather.write_feather or pyarrow.ipc",
            )
        if length == 0:  # the end of the stream
            break
        meta = file.read(length)
        if len(meta) < length:
            raise _cut_short(name, size)
        header, body, n_rows = _message(meta)
        if at + 8 + length + body > size:
            raise _cut_short(name, size)
        if header == _BATCH:
            batches.append(Batch(at, n_rows))
        dictionaries |= header == _DICTIONARY
        at += 8 + length + body
    return Messages(is_file, batches, dictionaries)


def _message(meta: bytes) -> tuple[int, int, int]:
    """Type, length of the body, and rows (0 unless a record batch) of a flatbuffer `Message`."""

    def field(table: int, number: int) -> int:
        vtable = table - struct.unpack_from("<i", meta, table)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", meta, vtable)[0]:
            return 0
        offset = struct.unpack_from("<H", meta, vtable + 4 + 2 * number)[0]
        return table + offset if offset else 0

    root = struct.unpack_from("<I", meta)[0]
    header = meta[field(root, 1)] if field(root, 1) else 0
    body = struct.unpack_from("<q", meta, field(root, 3))[0] if field(root, 3) else 0
    if header != _BATCH:
        return header, body, 0
    at = field(root, 2)
    batch = at + struct.unpack_from("<I", meta, at)[0]
    length = field(batch, 0)
    return header, body, struct.unpack_from("<q", meta, length)[0] if length else 0


def _cut_short(name: str, size: int) -> DataError:
    return DataError(
        found=f"{name}, which ends after {size} bytes within a record batch",
        expected="a whole Arrow file",
        fix="copy or write the file again",
    )
