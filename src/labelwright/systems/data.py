"""Where proofs find data: the user's own file, the folder of real data sets, and sets that the dependencies carry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError
from labelwright.systems.proof import Dataset

VARIABLE = "LABELWRIGHT_DATA"


def data_folder() -> Path | None:
    """The folder of real data sets that $LABELWRIGHT_DATA names; None where it is unset.

    Raises:
        DataError: the variable names no folder.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise DataError(
            found=f"{VARIABLE}={named}, where there is no folder",
            expected="the folder of the real data sets",
            fix=f"correct it, or unset {VARIABLE} to use bundled data only",
        )
    return Path(named)


def read_dataset(path: str | os.PathLike[str]) -> Dataset:
    """A user's own data for a proof: an .npz file, or a Parquet file or folder; its keys or columns are the arrays.

    Raises:
        DataError: nothing of the kind there.
    """
    path = Path(path)
    if path.suffix == ".npz":
        from labelwright.store import read_arrays

        return Dataset(path.stem, read_arrays(path))
    if path.is_dir() or path.suffix in (".parquet", ".pq"):
        from labelwright.labels import as_columns
        from labelwright.store import read_items

        return Dataset(path.stem, {name: _array(column) for name, column in as_columns(read_items(path)).items()})
    raise DataError(
        found=f"{path}, which is neither .npz nor Parquet" if path.exists() else f"nothing at {path}",
        expected="an .npz file, or a Parquet file or folder",
        fix="--data-format prints the keys that a proof reads",
    )


def _array(column: np.ndarray) -> np.ndarray:
    """Lists of one length become a matrix; everything else stays a column."""
    values: list[Any] = column.tolist()
    if values and isinstance(values[0], list) and len({len(v) if isinstance(v, list) else -1 for v in values}) == 1:
        return np.array(values)
    return column
