"""The log of a training: one row per epoch, as CSV on disk, as a table, and for TensorBoard where it is installed."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

LOG = "log.csv"


class History:
    """Rows of epoch, step, seconds, loss, lr, each term's loss, and what the looks at the validation data found.

    rows: list of dicts.   folder: where `log.csv` and TensorBoard's files go; None keeps them in memory only.
    """

    def __init__(self, folder: Path | None = None):
        self.rows: list[dict[str, Any]] = []
        self._folder, self._board = folder, None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._board = _tensorboard(folder)

    def add(self, **row: Any) -> None:
        """One more epoch."""
        self.rows.append(row)
        self._write(row)

    def add_to_last(self, found: dict[str, float]) -> None:
        """What a look found, beside the epoch it follows."""
        self.rows[-1].update(found)
        self._write(found)

    def table(self) -> pa.Table:
        """All rows; columns that some rows lack are null there."""
        import pyarrow as pa

        names = list(dict.fromkeys(name for row in self.rows for name in row))
        return pa.table({name: [row.get(name) for row in self.rows] for name in names})

    def close(self) -> None:
        """Write what TensorBoard still holds."""
        if self._board is not None:
            self._board.close()

    def _write(self, found: dict[str, Any]) -> None:
        if self._folder is None:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        out = csv.DictWriter(text, names)
        out.writeheader()
        out.writerows(self.rows)
        new = self._folder / f".new-{LOG}"
        new.write_text(text.getvalue(), encoding="utf-8")
        os.replace(new, self._folder / LOG)
        if self._board is not None:
            for name, value in found.items():
                if isinstance(value, float) and name != "seconds":
                    self._board.add_scalar(name, value, self.rows[-1]["step"])


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None  # an optional second form of the same log
    return SummaryWriter(str(folder / "tensorboard"))
