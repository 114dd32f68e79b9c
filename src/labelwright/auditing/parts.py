"""PartAudit: suspicious labels where an item carries many of them (tokens, boxes, pixels) or a number."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class PartAudit:
    """Which parts of which items to look at first.

    what: "values", "tokens", "boxes" or "masks".   items: (N,) keys.
    quality: (N,) float64 in [0, 1], how far all labels of an item can be believed; NaN where it has none.
    parts: one row per label: item, row (position of the item), the columns that say where in the item it lies, given,
        suggested, quality in [0, 1], problem (what seems wrong, "" where nothing), is_issue.
    notes: what the user should know.   settings: every option, default and seed.
    """

    what: str
    items: np.ndarray
    quality: np.ndarray
    parts: pa.Table
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def ranking(self) -> np.ndarray:
        """(N,) positions of the items, the most suspicious first; items without labels last."""
        return np.argsort(np.nan_to_num(self.quality, nan=np.inf), kind="stable")

    @cached_property
    def issues(self) -> pa.Table:
        """The flagged parts, the most suspicious first, with the columns of `parts` and their `rank` (1 = look here first)."""
        import pyarrow as pa

        quality = self.parts["quality"].to_numpy()
        flagged = np.flatnonzero(self.parts["is_issue"].to_numpy(zero_copy_only=False))
        order = flagged[np.argsort(quality[flagged], kind="stable")]
        rank = pa.array(np.arange(1, len(order) + 1))
        return self.parts.take(pa.array(order)).add_column(0, "rank", rank)

    def summary(self) -> dict[str, Any]:
        """Every headline figure as plain numbers and strings, ready for JSON."""
        problems, counts = np.unique(
            self.issues["problem"].to_numpy(zero_copy_only=False).astype(str), return_counts=True
        )
        return {
            "what": self.what,
            "items": len(self.items),
            "labels": self.parts.num_rows,
            "issues": self.issues.num_rows,
            "items_with_issues": len(set(self.issues["row"].to_pylist())),
            "problems": dict(zip(problems.tolist(), counts.tolist())),
            "notes": self.notes,
            "settings": self.settings,
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write issues.parquet, parts.parquet and summary.json into a new folder.

        Raises:
            FileExistsError: the folder exists.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=False)
        for name, write in self.files().items():
            write(folder / name)
        return folder

    def files(self) -> dict[str, Any]:
        """File name -> function that writes it: what a label repository keeps of an audit."""
        import pyarrow.parquet as pq

        return {
            "issues.parquet": lambda path: pq.write_table(self.issues, path, compression="zstd"),
            "parts.parquet": lambda path: pq.write_table(self.parts, path, compression="zstd"),
            "summary.json": lambda path: path.write_text(json.dumps(self.summary(), indent=1, ensure_ascii=False)),
        }

    def __repr__(self) -> str:
        told = self.summary()
        return f"PartAudit({self.what}: {told['labels']} labels of {told['items']} items, {told['issues']} flagged)"
