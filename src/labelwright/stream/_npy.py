"""Rows of .npy files (memory maps on this machine, ranges of bytes elsewhere) and of top-k pairs in .npz files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from labelwright.errors import DataError
from labelwright.stream._places import Place, reading
from labelwright.stream._shard import Head, numbers_only

_SOFT = ("index", "prob", "rest", "known")


@dataclass(frozen=True, eq=False)
class NpyShard:
    """An array (N, ...) saved by numpy.save."""

    place: Place
    head: Head
    offset: int  # of the first entry in the file
    fortran: bool
    stored: np.dtype[Any]

    @classmethod
    def open(cls, place: Place) -> NpyShard:
        with place.open() as file, reading(place.name):
            shape, fortran, dtype = _array_head(file, place.name)
            offset = file.tell()
        size, time = place.stamp()
        wanted = offset + dtype.itemsize * int(np.prod(shape))
        if size < wanted:
            raise DataError(
                found=f"{place.name} with {size} bytes, cut short",
                expected=f"{wanted} bytes: an array of shape {shape} and dtype {dtype}",
                fix="copy or write the file again",
            )
        if fortran and place.filesystem is not None:
            raise DataError(
                found=f"{place.name} in Fortran order, whose rows lie scattered over the file",
                expected="rows in one piece, to read a range of them from afar",
                fix="save numpy.ascontiguousarray(array), or copy the file to this machine",
            )
        head = Head(shape[0], tuple(shape[1:]), dtype=dtype.newbyteorder("="), stamp=(size, time))
        return cls(place, head, offset, fortran, dtype)

    def read(self, rows: int, start: int, stop: int) -> Iterator[np.ndarray]:
        shape = (self.head.n_rows, *self.head.tail)
        if self.place.filesystem is None and np.prod(shape):
            with reading(self.place.name):
                whole = np.memmap(
                    self.place.path, self.stored, "r", self.offset, shape, "F" if self.fortran else "C"
                )  # fmt: skip
            array = np.asarray(whole)
            for at in range(start, stop, rows):
                yield array[at : min(at + rows, stop)].astype(self.head.dtype, copy=False)
            return
        with self.place.open() as file:
            width = int(np.prod(self.head.tail))
            file.seek(self.offset + start * width * self.stored.itemsize)
            for at in range(start, stop, rows):
                n = min(rows, stop - at)
                yield _take(file, n, self.head.tail, self.stored, self.place.name)


@dataclass(frozen=True, eq=False)
class NpzShard:
    """Top-k rows: arrays `index` (N, k) and `prob` (N, k), if needed `rest` (N,), `known` (N,) and `classes` (K,)."""

    place: Place
    head: Head

    @classmethod
    def open(cls, place: Place) -> NpzShard:
        classes = None
        with place.open() as file, reading(place.name), zipfile.ZipFile(file) as members:
            names = {name.removesuffix(".npy") for name in members.namelist()}
            if not {"index", "prob"} <= names:
                raise DataError(
                    found=f"arrays {', '.join(sorted(names)) or 'none'} in {place.name}",
                    expected="`index` (N, k) and `prob` (N, k)",
                    fix="save them with numpy.savez(path, index=..., prob=...); save a dense array with numpy.save",
                )
            shapes = {}
            for name in sorted(names & set(_SOFT)):
                with members.open(f"{name}.npy") as member:
                    shapes[name], fortran, _ = _array_head(member, f"{name} in {place.name}")
                if fortran and len(shapes[name]) > 1:
                    raise DataError(
                        found=f"{name} in {place.name} in Fortran order",
                        expected="rows in one piece",
                        fix="save numpy.ascontiguousarray(array)",
                    )
            if "classes" in names:
                with members.open("classes.npy") as member:
                    classes = tuple(npy.read_array(member, allow_pickle=False).tolist())
        shape = shapes["index"]
        if len(shape) != 2 or any(other != shape[: len(other)] for other in shapes.values()):
            raise DataError(
                found=f"shapes {', '.join(f'{n} {s}' for n, s in shapes.items())} in {place.name}",
                expected="index and prob (N, k), rest and known (N,)",
                fix="write the arrays of the same items into one file",
            )
        head = Head(shape[0], shape[1:], "soft", np.dtype(np.float32), classes, stamp=place.stamp())
        return cls(place, head)

    def read(self, rows: int, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        with self.place.open() as file, zipfile.ZipFile(file) as members:
            names = [name for name in _SOFT if f"{name}.npy" in members.namelist()]
            streams, heads = {}, {}
            for name in names:
                streams[name] = members.open(f"{name}.npy")
                shape, _, dtype = heads[name] = _array_head(streams[name], name)
                with reading(self.place.name):
                    streams[name].seek(start * int(np.prod(shape[1:])) * dtype.itemsize, 1)
            for at in range(start, stop, rows):
                n = min(rows, stop - at)
                yield {
                    name: _take(streams[name], n, heads[name][0][1:], heads[name][2], self.place.name) for name in names
                }


def _array_head(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and dtype; the file is left at the first entry."""
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    numbers_only(dtype, name)
    if not shape:
        raise DataError(found=f"a single number in {name}", expected="an array (N, ...)", fix="save one row per item")
    return shape, fortran, dtype


def _take(file: BinaryIO | Any, n: int, tail: tuple[int, ...], dtype: np.dtype[Any], name: str) -> np.ndarray:
    wanted = n * int(np.prod(tail)) * dtype.itemsize
    with reading(name):
        data = file.read(wanted)
    if len(data) < wanted:
        raise DataError(
            found=f"{name}, which ended {wanted - len(data)} bytes too early",
            expected="as many bytes as when it was opened",
            fix="do not write to the files during a run; open them again",
        )
    return np.frombuffer(data, dtype).reshape(n, *tail).astype(dtype.newbyteorder("="), copy=False)
