"""PartAudit: suspicious labels where an item carries many of them (tokens, boxes, pixels) or a number."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.labels import LabelSpace


@dataclass(frozen=True, eq=False)
class PartAudit:
    """Which parts of which items to look at first.

    what: "values", "tokens", "boxes" or "masks".   items: (N,) keys.
    quality: (N,) float64 in [0, 1], how far all labels of an item can be believed; NaN where it has none.
    parts: one row per label: item, row (position of the item), the columns that say where in the item it lies, given,
        suggested, quality in [0, 1], problem (what seems wrong, "" where nothing), is_issue.
    notes: what the user should know.   settings: every option, default and seed.   space: the classes of boxes and masks.
    """

    what: str
    items: np.ndarray
    quality: np.ndarray
    parts: pa.Table
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    space: LabelSpace | None = None

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

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        images: Sequence[Any] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write issues.parquet, parts.parquet and summary.json into a new folder; the folder of the audit. A name that ends in
        .labels is a label repository, made where there is none: audits of boxes and masks stand there for `labelwright review`.

        Args:
            folder: a new one, or NAME.labels.
            images: for a repository: what the items look like, N paths, bytes or uint8 arrays.
            root: the folder that paths of images stand below; the one that holds all of them when None.

        Raises:
            FileExistsError: a plain folder that exists.   OptionError: images without a repository, or a repository for an
            audit of something else.   DataError, LabelError, RepositoryError: see the messages.
        """
        folder = Path(folder)
        if folder.suffix == ".labels":
            from labelwright.auditing.part_files import save_parts

            return save_parts(self, folder, images=images, root=root)
        if images is not None:
            raise OptionError(
                found=f"images for the plain folder {folder.name!r}",
                expected="a label repository for them",
                fix=f"call it {folder.name}.labels",
            )
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
