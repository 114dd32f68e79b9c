"""What an audit leaves in its folder for the people who review it.

review.parquet     a row per item: key, given, likeliest classes, suspicion, kind, stratum, place in the estimation order, the
                   nearest neighbours, and of items with several classes the one that is doubted most
content.parquet    a row per item, in the same order: its text, cells, path below the data's folder, or the image's bytes
content.json       {"kind": "text" | "image" | "audio" | "row" | "none", "root": the data's folder or null}; "part" is written
                   by `part_files`

Audits written before there were these files are read from items.parquet: keys and labels, without content.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.features.recordings import is_recording
from labelwright.labels import HardLabels, MultiLabels
from labelwright.store.events import json_values

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.auditing.result import Audit

TOP = 5  # classes and neighbours that are kept
MOST_TEXT = 1 << 20  # bytes of an item's text
_AT_A_TIME = 1 << 14  # rows of review.parquet in memory together
_GROUP = 256  # items of content.parquet that are read together


def review_files(
    audit: Audit, *, content: Any = None, root: str | os.PathLike[str] | None = None, seed: int = 0
) -> dict[str, Callable[[Path], None]]:
    """File name -> function that writes it, as in `Audit.files`.

    Args:
        audit: the audit.   content: what the items look like, a sequence of N texts, rows, paths of images or
        recordings, bytes or uint8 arrays.   root: the folder that paths stand below; the folder that holds all of them when None.
        seed: of the estimation order, the one of the review sample.
    """
    kind = content_kind(content)
    folder = _root(content, root) if kind in ("image", "audio") else None
    head = {"kind": kind, "root": None if folder is None else str(folder)}
    return {
        "review.parquet": lambda path: _write(path, _reviews(audit, seed), _AT_A_TIME),
        "content.parquet": lambda path: _write(path, _contents(content, kind, folder, len(audit.items)), _GROUP),
        "content.json": lambda path: _write_text(path, json.dumps(head, ensure_ascii=False)),
    }


def content_kind(content: Any) -> str:
    """ "text", "image", "audio" or "row", told by the first item; "none" where there is no content."""
    if content is None or len(content) == 0:
        return "none"
    first = _entry(content, 0)
    if isinstance(first, Mapping):
        return "row"
    if is_recording(first):
        return "audio"
    return "image" if isinstance(first, Path | bytes | io.BytesIO | np.ndarray) else "text"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write(path: Path, tables: Iterator[pa.Table], group: int) -> None:
    import pyarrow.parquet as pq

    first = next(tables)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first, row_group_size=group)
        for table in tables:
            writer.write_table(table, row_group_size=group)


def _parts(n: int, size: int) -> Iterator[np.ndarray]:
    return (np.arange(at, min(at + size, n)) for at in range(0, max(n, 1), size))


# ------------------------------------------------------------------------------------------------------- review.parquet
def _reviews(audit: Audit, seed: int) -> Iterator[pa.Table]:
    import pyarrow as pa

    n = len(audit.items)
    stratum, place = _order(audit, seed)
    keys = pa.array(audit.items).cast(pa.string())
    for rows in _parts(n, _AT_A_TIME):
        index, prob = audit.likeliest(rows, TOP)
        near, similarity = _near(audit, rows, keys)
        yield pa.table(
            {
                "item": keys.take(pa.array(rows)),
                "row": rows,
                "given": _given(audit, rows),
                "suggested": _pairs(index, prob, audit.space.classes),
                "top": _top(audit, rows, index),
                "doubted": pa.array(_doubted(audit, rows), pa.string()),
                "error_prob": pa.array(audit.error_prob[rows], pa.float64(), from_pandas=True),
                "kind": pa.array(audit.kind[rows].tolist(), pa.string()),
                "is_issue": audit.is_issue[rows],
                "stratum": pa.array(stratum[rows], pa.int64(), mask=place[rows] < 0),
                "place": pa.array(place[rows], pa.int64(), mask=place[rows] < 0),
                "suspicion": pa.array(audit.prior_error_prob[rows], pa.float64(), from_pandas=True),
                "near": near,
                "similarity": similarity,
            }
        )


def _order(audit: Audit, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) stratum and place in the order of the estimation stream; -1 for items without a label."""
    place = np.full(len(audit.items), -1, dtype=np.int64)
    if np.isnan(audit.prior_error_prob).all():
        return place.copy(), place
    design = audit.design(seed)
    place[design.order] = np.arange(len(design))
    return design.stratum, place


def _given(audit: Audit, rows: np.ndarray) -> pa.Array:
    import pyarrow as pa

    labels = audit.labels
    if isinstance(labels, HardLabels):
        ids = labels.ids[rows]
        return json_values(labels.space.classes).take(pa.array(ids, mask=ids < 0))
    part = labels[rows]
    known = np.asarray((part.dense() >= 0).any(1)).tolist()
    return json_values([names if there else None for names, there in zip(part.sets(), known)])


def _top(audit: Audit, rows: np.ndarray, index: np.ndarray) -> pa.Array:
    """What the label is likelier to be: a class, for multi-labels a set."""
    import pyarrow as pa

    if not audit.multi:
        return json_values(audit.space.classes).take(pa.array(index[:, 0]))
    present = audit.distributions(rows) >= 0.5
    return json_values([[audit.space.classes[k] for k in np.flatnonzero(row)] for row in present])


def _doubted(audit: Audit, rows: np.ndarray) -> list[str | None]:
    """JSON text of the class of each set that is most probably wrong, as [given, suggested]: [["cat"], []] where "cat" is given
    and perhaps should not be, [[], ["cat"]] where it is perhaps left out. Null of single classes, and where nothing is known."""
    if not isinstance(audit.labels, MultiLabels):
        return [None] * len(rows)
    y = audit.labels[rows].dense()
    doubt = np.where(y >= 0, np.abs(y - audit.distributions(rows)), -1.0)
    most = doubt.argmax(1)
    out: list[str | None] = []
    for k, given in zip(most.tolist(), y[np.arange(len(y)), most].tolist()):
        name = [audit.space.classes[k]]
        out.append(None if given < 0 else json.dumps([name, []] if given else [[], name], ensure_ascii=False))
    return out


def _pairs(index: np.ndarray, prob: np.ndarray, classes: tuple[Any, ...]) -> list[str]:
    """JSON text [[class, probability], …], likeliest first; -1 pads."""
    names = [json.dumps(name, ensure_ascii=False) for name in classes]
    return [
        "[" + ", ".join(f"[{names[k]}, {max(p, 0):.4g}]" for k, p in zip(ids, shares) if k >= 0) + "]"
        for ids, shares in zip(index.tolist(), prob.astype(np.float64).tolist())
    ]


def _near(audit: Audit, rows: np.ndarray, keys: pa.Array) -> tuple[Any, Any]:
    """Keys and similarities of the nearest items, (n, k) as lists; empty lists without neighbours."""
    import pyarrow as pa

    found = audit.neighbours
    k = 0 if found is None else min(TOP, np.shape(found.index)[1])
    offsets = np.arange(0, len(rows) * k + 1, k, dtype=np.int32) if k else np.zeros(len(rows) + 1, dtype=np.int32)
    index = np.asarray(found.index)[rows, :k].ravel() if k else np.empty(0, dtype=np.int64)
    alike = np.asarray(found.similarity)[rows, :k].ravel() if k else np.empty(0)
    near = pa.ListArray.from_arrays(offsets, keys.take(pa.array(index, mask=index < 0)))
    return near, pa.ListArray.from_arrays(offsets, pa.array(np.clip(alike, 0, 1).astype(np.float32)))


# ------------------------------------------------------------------------------------------------------ content.parquet
def _contents(content: Any, kind: str, root: Path | None, n: int) -> Iterator[pa.Table]:
    import pyarrow as pa

    fields = [("text", pa.string()), ("cells", pa.string()), ("path", pa.string()), ("image", pa.binary())]
    for rows in _parts(n, _GROUP):
        shown = [_shown(None if kind == "none" else _entry(content, int(row)), root) for row in rows]
        yield pa.table({name: pa.array([row.get(name) for row in shown], type_) for name, type_ in fields})


def _entry(content: Any, row: int) -> Any:
    value = content.iloc[row] if hasattr(content, "iloc") else content[row]
    return value.as_py() if hasattr(value, "as_py") else value


def _shown(value: Any, root: Path | None) -> dict[str, Any]:
    """One row of content.parquet."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        cells = [[_clean(str(name))[:200], _clean(_cell(cell))[:10_000]] for name, cell in list(value.items())[:200]]
        return {"cells": json.dumps(cells, ensure_ascii=False)}
    if isinstance(value, Path):
        path = Path(os.path.abspath(value))
        return {"path": path.relative_to(root).as_posix()} if root and path.is_relative_to(root) else {}
    if isinstance(value, io.BytesIO):
        return {"image": value.getvalue()}
    if isinstance(value, np.ndarray):
        return {"image": _png(value)}
    return {"image": value} if isinstance(value, bytes) else {"text": _clean(str(value))}


def _clean(text: str) -> str:
    """Text that UTF-8 can hold, at most `MOST_TEXT` bytes."""
    return text[:MOST_TEXT].encode("utf-8", "replace")[:MOST_TEXT].decode("utf-8", "ignore")


def _cell(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview | np.ndarray):
        return f"({len(value):,} values)"
    return "" if value is None else str(value)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    flat = pixels.squeeze(2) if pixels.shape[2:] == (1,) else pixels
    Image.fromarray(flat.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def _root(content: Any, root: str | os.PathLike[str] | None) -> Path | None:
    """The folder that image paths stand below."""
    if root is not None:
        return Path(os.path.abspath(root)).resolve()
    paths = (_entry(content, row) for row in range(len(content)))
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths if isinstance(path, Path)}
    return Path(os.path.commonpath(folders)) if folders else None
