"""What every evidence type shares: length, slicing, equality, lossless files without pickle."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels.space import LabelSpace

FORMAT = "labelwright-evidence"
VERSION = 1


class Evidence:
    """Base of the evidence types, which are frozen dataclasses of arrays plus a `space`.

    A subclass names in `rows` its arrays that have one entry per item (or per vote, for tables); `len`, slicing,
    equality and files follow from its fields.
    """

    rows: ClassVar[tuple[str, ...]] = ()
    space: LabelSpace

    def __len__(self) -> int:
        return int(getattr(self, self.rows[0]).shape[0])

    def __getitem__(self, rows: Any) -> Self:
        """The chosen rows (slice, index array or mask) as the same type."""
        if isinstance(rows, int | np.integer):
            rows = [int(rows)]
        taken = {f.name: getattr(self, f.name) for f in _fields(type(self))}
        for name in self.rows:
            if taken[name] is not None:
                taken[name] = taken[name][rows]
        return self._rebuilt(**taken)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in _fields(type(self)))

    __hash__ = None  # type: ignore[assignment]  # arrays change under a hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows, {len(self.space)} classes)"

    @classmethod
    def _rebuilt(cls, **values: Any) -> Self:
        """An instance from fields that were checked before."""
        self = object.__new__(cls)
        for f in _fields(cls):
            object.__setattr__(self, f.name, values[f.name])
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one file (NumPy archive, no pickle). An existing file is refused.

        Raises:
            FileExistsError: there is something at `path`.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"{path} exists and is not overwritten; choose another name or remove it")
        arrays: dict[str, np.ndarray] = {}
        head: dict[str, Any] = {"format": FORMAT, "version": VERSION, "type": type(self).__name__, "plain": {}}
        for f in _fields(type(self)):
            value = getattr(self, f.name)
            if isinstance(value, LabelSpace):
                head["plain"][f.name] = {"space": value.to_json()}
            elif hasattr(value, "tocsr"):
                arrays |= {f"{f.name}.{part}": getattr(value, part) for part in ("data", "indices", "indptr")}
                arrays[f"{f.name}.shape"] = np.array(value.shape)
            elif isinstance(value, np.ndarray):
                arrays[f.name] = value.astype(str) if value.dtype == object else value
            else:
                head["plain"][f.name] = {"value": value}
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(file.name, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; any evidence type when called on `Evidence`.

        Raises:
            DataError: not such a file, a newer version, or another type than the one asked for.
        """
        kinds = {c.__name__: c for c in _subclasses(Evidence)}
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
            head = json.loads(stored.pop("head").tobytes())
            assert head["format"] == FORMAT and head["version"] <= VERSION and head["type"] in kinds
        except FileNotFoundError:
            raise
        except Exception as error:
            raise DataError(
                found=f"{path}, which does not open as labels ({type(error).__name__}: {error})",
                expected=f"a file written by `save`, format version up to {VERSION}",
                fix="pass the file that `save` wrote; read tables with labelwright.store.read_items",
            ) from None
        kind = kinds[head["type"]]
        if not issubclass(kind, cls):
            raise DataError(
                found=f"{path} holds {head['type']}",
                expected=cls.__name__,
                fix=f"use {head['type']}.load(path)",
            )
        values = {name: _plain(entry) for name, entry in head["plain"].items()}
        for f in _fields(kind):
            if f.name in stored:
                values[f.name] = stored[f.name]
            elif f"{f.name}.data" in stored:
                values[f.name] = _csr(*(stored[f"{f.name}.{p}"] for p in ("data", "indices", "indptr", "shape")))
        return kind._rebuilt(**values)


def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _subclasses(cls: type[Evidence]) -> list[type[Evidence]]:
    return [c for s in cls.__subclasses__() for c in (s, *_subclasses(s))]


def _plain(entry: dict[str, Any]) -> Any:
    return LabelSpace.from_json(entry["space"]) if "space" in entry else entry["value"]


def _csr(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: np.ndarray) -> Any:
    from scipy.sparse import csr_array

    return csr_array((data, indices, indptr), shape=tuple(shape))


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "tocsr") and hasattr(b, "tocsr"):
        return a.shape == b.shape and (a != b).nnz == 0
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if a is None or b is None or a.shape != b.shape:
            return False
        return np.array_equal(a, b, equal_nan=bool(a.dtype.kind == "f" and b.dtype.kind == "f"))
    return bool(a == b)


def aligned(loglik: np.ndarray, own: LabelSpace, space: LabelSpace | None, fill: Any) -> np.ndarray:
    """Columns of `loglik` (..., K) put in the order of `space`; classes that `own` does not know get `fill`.

    Raises:
        LabelError: `space` lacks a class that the evidence speaks of.
    """
    if space is None or space.classes == own.classes:
        return loglik
    lost = [c for c in own.classes if c not in space.classes]
    if lost:
        raise LabelError(
            found=f"evidence about class {lost[0]!r}, which the asked space does not have",
            expected="a space that holds every class of the evidence",
            fix="add the class to the space, or recode the labels",
        )
    out = np.empty((*loglik.shape[:-1], len(space)), dtype=loglik.dtype)
    out[...] = fill if np.isscalar(fill) else np.asarray(fill)[..., None]
    out[..., [space.id_of(c) for c in own.classes]] = loglik
    return out
