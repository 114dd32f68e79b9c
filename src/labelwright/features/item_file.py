"""The items of a data set on disk: content, keys, and the labels in the file, as relabel, train and evaluate read them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError
from labelwright.features.content import column_names, holds_paths, item_content, matrix_file, stacked

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.store import Columns


@dataclass(frozen=True, eq=False)
class ItemFile:
    """N items of a file.

    table, columns: as read, and who plays which role.   matrix: features from a file of their own, or None.
    path, root: the file, and the folder that image paths are relative to.
    """

    table: pa.Table
    columns: Columns
    matrix: np.ndarray | None
    path: Path
    root: Path

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def kind(self) -> str:
        """What the items are read from, the strongest at hand: "vectors", "image", "text" or "table"."""
        if self.matrix is not None or self.columns.features:
            return "vectors"
        return "image" if self.columns.image else "text" if self.columns.text else "table"

    @cached_property
    def items(self) -> Any:
        """(N, D) vectors, N image paths or open files, N texts, or a table of columns."""
        if self.kind == "vectors":
            found = self.matrix if self.matrix is not None else stacked(self.table, self.columns.features)
            assert found is not None
            if len(found) != len(self):
                raise DataError(
                    found=f"{len(found)} rows of features for {len(self)} items",
                    expected="one row per item, in the same order",
                    fix="check that both were written from the same table",
                )
            return np.asarray(found, np.float32)
        if self.kind == "table":
            if not self.columns.tabular:
                raise DataError(
                    found=f"{self.path.name} without a text, an image, features or other columns",
                    expected="something by which items can be told apart",
                    fix="name it with --text, --image or --features",
                )
            return self.table.select(list(self.columns.tabular))
        return item_content(self.table, self.columns, self.root)

    @cached_property
    def keys(self) -> np.ndarray:
        """(N,) item keys, the same as an audit of this file gives."""
        from labelwright.store import item_keys

        columns = self.columns
        files = {columns.image: self.root} if columns.image and holds_paths(self.table, columns.image) else None
        content = columns.content or tuple(name for name in (columns.label, *columns.pred_probs) if name)
        return np.asarray(item_keys(self.table, columns.id, content, files=files))

    @cached_property
    def given(self) -> Any:
        """The labels in the file: a column, or lists of classes; None where no column holds labels."""
        from labelwright.store import label_lists

        if self.columns.label is None:
            return None
        return label_lists(self.table, self.columns) if self.columns.multi else self.table[self.columns.label]


def read_item_file(
    data: str | os.PathLike[str],
    *,
    label: str | None = None,
    id: str | None = None,
    text: str | None = None,
    image: str | None = None,
    features: str | None = None,
    multi: bool = False,
    split: str | None = None,
) -> ItemFile:
    """The items of a CSV, TSV, JSONL, Parquet or Arrow file, a Hugging Face folder or an image folder.

    Args:
        label, id, text, image: column names, guessed when None.   features: a column, the prefix of several, or an .npy file.
        multi: a cell of the label column holds several classes.   split: which part of a data set with several.

    Raises:
        LabelwrightError: a file that cannot be read, or columns that are not there.
    """
    from labelwright.store import guess_columns, read_items

    table, matrix = read_items(data, split=split), matrix_file(features)
    named = None if matrix is not None else column_names(table, features)
    columns = guess_columns(table, label=label, id=id, text=text, image=image, features=named, multi=multi)
    path = Path(data)
    return ItemFile(table, columns, matrix, path, path if path.is_dir() else path.parent)
