"""What the items of an audit look like, read from its folder; files only from below the data's folder."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from labelwright.errors import DataError, OptionError
from labelwright.webapp.refusals import NoSuchItem
from labelwright.webapp.views import Content, Part

_MARKUP = re.compile(
    r"<!doctype\s+html|<(html|head|body|div|p|table|ul|ol|h[1-6]|article|section)(\s[^<>]*)?>", re.IGNORECASE
)
_LOOKED_AT = 20_000  # characters of a text in which markup is looked for
MOST_MEDIA = 64 << 20  # bytes of a file that is shown
_KEPT = 32  # row groups in memory
_MEDIA = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"P5", "image/x-portable-graymap"),
    (b"P6", "image/x-portable-pixmap"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)


def media_type(head: bytes) -> str:
    """Told by the first bytes, never by the name.

    >>> media_type(b"GIF89a..."), media_type(b"<script>")
    ('image/gif', 'application/octet-stream')
    """
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12], "application/octet-stream")
    return next((name for magic, name in _MEDIA if head.startswith(magic)), "application/octet-stream")


def _check_beside(root: Path, folder: Path) -> None:
    """Raise unless the files lie where the repository lies: a repository of somebody else could name any folder of this
    machine, and a browser would then be shown what is there."""
    home = folder.resolve().parents[2]  # HOME/NAME.labels/audits/0001
    if not root.resolve().is_relative_to(home):
        raise OptionError(
            found=f"items whose files lie in {root}, outside of {home}",
            expected="your word that they may be shown",
            fix=f"pass --data {root}, or the folder in which they are now",
        )


class Contents:
    """The content of the items of one audit, by row. Threads may share it.

    kind: "text", "image", "audio", "row", "part" or "none".   root: the data's folder, None where nothing stands in files.

    Raises:
        OptionError: files outside of the folder in which the repository lies, and no `root` that allows them.
    """

    def __init__(self, folder: Path, *, root: Path | None = None):
        self._path, self._lock, self._file = folder / "content.parquet", threading.Lock(), None
        self._groups: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()
        self._starts: list[int] = [0]
        head = folder / "content.json"
        told = json.loads(head.read_text(encoding="utf-8")) if head.is_file() and self._path.is_file() else {}
        self.kind = str(told.get("kind", "none"))
        given = root if root is not None else told.get("root")
        self.root = None if given is None else Path(given)
        if root is None and self.root is not None:
            _check_beside(self.root, folder)
        if self.kind != "none":
            import pyarrow.parquet as pq

            self._file = pq.ParquetFile(self._path)
            for group in range(self._file.metadata.num_row_groups):
                self._starts.append(self._starts[-1] + self._file.metadata.row_group(group).num_rows)

    def __getitem__(self, row: int) -> Content:
        """What item `row` looks like."""
        found = self._row(row)
        if found.get("part") is not None:
            return Content("image", media=self._has_picture(found), part=self.part(row))
        if found.get("text") is not None:
            return Content("html" if _MARKUP.search(found["text"][:_LOOKED_AT]) else "text", text=found["text"])
        if found.get("cells"):
            return Content("row", cells=tuple((name, cell) for name, cell in json.loads(found["cells"])))
        if found.get("path") or found.get("image"):
            sound = self.kind == "audio" or media_type((found.get("image") or b"")[:16]).startswith("audio/")
            return Content("audio" if sound else "image", media=True)
        return Content("none")

    @property
    def of_parts(self) -> bool:
        """Whether the items are boxes or regions of pictures."""
        return self.kind == "part"

    def part(self, row: int) -> Part | None:
        """The box or region that item `row` is, None for other items."""
        text = self._row(row).get("part")
        if text is None:
            return None
        told = json.loads(text)
        pairs = {name: tuple(told[name]) for name in ("size", "box", "moved")}
        return Part(**told | pairs | {"others": tuple(tuple(other) for other in told["others"])})

    def media(self, row: int) -> tuple[Path | bytes, str]:
        """Its file or bytes, and the media type.

        Raises:
            NoSuchItem: it has none.   DataError: a file outside the data's folder, gone, or too large.
        """
        found = self._row(row)
        if found.get("same_as") is not None:  # boxes of one picture share it
            found = self._row(found["same_as"])
        if found.get("image"):
            return found["image"], media_type(found["image"][:16])
        if not found.get("path") or self.root is None:
            raise NoSuchItem(
                found="an item without a picture", expected="one with a picture", fix="nothing: there is none to show"
            )
        root = self.root.resolve()
        path = (root / found["path"]).resolve()  # follows links, so that none leads out
        if not path.is_relative_to(root) or not path.is_file():
            raise DataError(
                found="a picture that is not below the data's folder any more",
                expected="the files where the audit found them",
                fix="pass the folder of the data with --data",
            )
        if path.stat().st_size > MOST_MEDIA:
            raise DataError(
                found=f"a file of {path.stat().st_size >> 20} MiB", expected="at most 64 MiB", fix="make it smaller"
            )
        with path.open("rb") as file:
            return path, media_type(file.read(16))

    def snippets(self, limit: int = 300) -> list[str]:
        """The beginning of each item's text, for search; empty where there is no content."""
        import pyarrow.compute as pc

        out: list[str] = []
        if self._file is None:
            return out
        name = {"row": "cells", "image": "path", "audio": "path"}.get(self.kind, "text")
        for batch in self._file.iter_batches(columns=[name]):
            cut = pc.utf8_slice_codeunits(pc.fill_null(batch.column(0), ""), 0, limit * (3 if name == "cells" else 1))
            texts = cut.to_pylist()
            out += [_cells_as_text(text, limit) for text in texts] if name == "cells" else texts
        return out

    def _has_picture(self, found: dict[str, Any]) -> bool:
        return any(found.get(name) is not None for name in ("path", "image", "same_as"))

    def _row(self, row: int) -> dict[str, Any]:
        import bisect

        if self._file is None or not 0 <= row < self._starts[-1]:
            return {}
        group = bisect.bisect_right(self._starts, row) - 1
        with self._lock:
            if group not in self._groups:
                self._groups[group] = self._file.read_row_group(group).to_pylist()
                while len(self._groups) > _KEPT:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            return self._groups[group][row - self._starts[group]]


def _cells_as_text(text: str, limit: int) -> str:
    """`[["name", "cell"], …]`, cut anywhere, without its brackets and quotes."""
    return text.replace('"], ["', "; ").replace('", "', ": ").strip('[]"')[:limit]
