"""Numeric arrays from .npy and .npz files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from labelwright.errors import DataError, OptionError, check_option
from labelwright.store._kinds import existing, looks_like, parsing


def read_matrix(path: str | os.PathLike[str], *, name: str | None = None, ndim: int | None = 2) -> np.ndarray:
    """A numeric array from .npy (memory-mapped, read-only) or .npz (read into memory). Nothing is unpickled.

    Args:
        path: the file.
        name: which array of an .npz; may be left out where there is only one.
        ndim: the number of dimensions it must have; None takes any but 0.

    Raises:
        DataError: not an array file, damaged, holding objects or text, empty, or of other dimensions.
        OptionError: a name that is not in the .npz, or a name for an .npy.
    """
    source = existing(path)
    with parsing(source, "an array file"), source.open("rb") as f:
        seen = looks_like(f.read(64))
    if seen == "a NumPy array":
        if name is not None:
            raise OptionError(
                found=f"name={name!r} for {source.name}", expected="no name: .npy holds one array", fix="leave it out"
            )
        with parsing(source, "an array file"), _no_objects(source):
            array = np.load(source, mmap_mode="r", allow_pickle=False)
    elif seen.startswith("a zip archive"):
        array = _from_npz(source, name)
    else:
        raise DataError(
            found=f"{source.name}, which holds {seen}",
            expected="an array written by numpy.save or numpy.savez",
            fix="write it with numpy.save(path, array)",
        )
    wanted = "one or more dimensions" if ndim is None else f"{ndim} dimensions"
    if array.dtype.kind not in "fiub" or not array.size or not array.ndim or (ndim is not None and array.ndim != ndim):
        raise DataError(
            found=f"an array of shape {array.shape} and dtype {array.dtype} in {source.name}",
            expected=f"numbers in {wanted}, not empty",
            fix="save the array as (N items, columns) of a float or integer type",
        )
    return array


def _from_npz(source: Path, name: str | None) -> np.ndarray:
    with parsing(source, "an array file"), _no_objects(source), np.load(source, allow_pickle=False) as arrays:
        names = list(arrays.files)
        if name is None and len(names) != 1:
            raise DataError(
                found=f"{len(names)} arrays in {source.name}: {', '.join(names[:10]) or 'none'}",
                expected="one array, or the name of one",
                fix=f"pass name={names[0]!r}" if names else "write it with numpy.savez(path, pred_probs=array)",
            )
        if name is not None:
            check_option("name", name, names)
        return np.asarray(arrays[names[0] if name is None else name])


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of an .npz by name, numbers or text. Nothing is unpickled.

    Raises:
        DataError: not an .npz file, damaged, or holding objects.
    """
    source = existing(path)
    with source.open("rb") as f:
        seen = looks_like(f.read(64))
    if not seen.startswith("a zip archive"):
        raise DataError(
            found=f"{source.name}, which holds {seen}",
            expected="arrays written by numpy.savez",
            fix="write them with numpy.savez(path, x=..., y=...)",
        )
    with parsing(source, "an array file"), _no_objects(source), np.load(source, allow_pickle=False) as arrays:
        return {name: np.asarray(arrays[name]) for name in arrays.files}


@contextmanager
def _no_objects(path: Path) -> Iterator[None]:
    """NumPy refuses object arrays with a ValueError about pickle; say what that means for the user."""
    try:
        yield
    except ValueError as err:
        if "bject" not in str(err):
            raise
        raise DataError(
            found=f"an array of Python objects in {path.name}",
            expected="an array of numbers; objects are pickled, and nothing is unpickled here",
            fix="save it as numbers: numpy.save(path, numpy.stack(list(array)).astype('float32'))",
        ) from err
