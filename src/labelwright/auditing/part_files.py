"""An audit of boxes or regions in a label repository, for the review app: one row of review.parquet per box or region.

The key of a box is its picture's and its place, `photo.jpg#xywh=10,20,30,40`, as in files of labels; of a region it is a number
in the queue, `photo.png#region=3`, and `#mask=...` in the repository. content.parquet holds each picture once, and for every row
what to draw over it; content.json says "part".
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing.material import _parts, _root, _shown, _write, _write_text
from labelwright.auditing.review import review_design
from labelwright.errors import DataError, LabelError, LabelwrightWarning, OptionError
from labelwright.store.events import event_ids, json_values
from labelwright.store.exchange._parts import Box, Mask, part_key

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.auditing.parts import PartAudit
    from labelwright.store import Repository

DIGITS = 2
"""Decimals of pixels that a key keeps: what float32 corners hold."""
OTHERS = 40  # other boxes of a picture that are drawn with one, the nearest
_GROUP = 256  # rows of content.parquet that are read together
_Row = dict[str, Any]


def save_parts(
    audit: PartAudit,
    path: str | os.PathLike[str],
    *,
    images: Sequence[Any] | None = None,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Path:
    """Write an audit of boxes or masks into the repository at `path`, made where there is none; the audit's folder.

    Args:
        audit: what="boxes" or "masks".   images: one per item, as paths, bytes or uint8 arrays.   root: the folder that paths
        stand below; the one that holds all of them when None.   seed: of the order of the estimation stream.

    Raises:
        OptionError: an audit of something else.   DataError: another number of images than items, or one that is no image.
        LabelError: an audit without classes.   RepositoryError: `path` is something else, or of other labels.

    Warns:
        LabelwrightWarning: boxes that lie exactly on another one of their picture: a repository has one label per place.
    """
    from labelwright.store import Repository
    from labelwright.store._keys import fingerprint

    rows = part_rows(audit, images)
    space = audit.space
    assert space is not None
    labelled = audit.parts.filter(np.array(audit.parts["given"].is_valid()))
    if audit.what == "boxes":
        told = labelled.select(["item", "x1", "y1", "x2", "y2", "given"])
    else:  # the label images themselves are not here
        import pyarrow as pa

        told = pa.table({"item": pa.array(audit.items), "what": ["masks"] * len(audit.items)})
    name = Path(path).name.removesuffix(".labels")
    head = json.loads(space.to_json())
    repo = Repository.open_or_create(path, fingerprint=fingerprint(told), source=name, space=head)
    folder = repo.write_audit({**audit.files(), **_review_files(rows, images, root, seed)})
    _record(repo, rows, folder.name)
    return folder


def part_rows(audit: PartAudit, images: Sequence[Any] | None) -> list[_Row]:
    """What is known of each box or region, in the order of `audit.parts`: key (of the queue), item, and the fields of the review
    app's `Part`."""
    if audit.what not in ("boxes", "masks"):
        raise OptionError(
            found=f"an audit of {audit.what} to be saved as a repository",
            expected="an audit of boxes or masks",
            fix="save it into a plain folder: audit.save('FOLDER')",
        )
    if images is not None and len(images) != len(audit.items):
        raise DataError(
            found=f"{len(images)} images for {len(audit.items)} items",
            expected="one per item, in the order of audit.items",
            fix="pass them in that order",
        )
    if audit.space is None:
        raise LabelError(
            found="an audit that does not know its classes",
            expected="one that audit_boxes or audit_masks made",
            fix="audit again with this version",
        )
    picture: list[tuple[int, int] | None] = [None] * len(audit.items)
    if images is not None:
        picture = [_size(image) for image in images]
    rows = _box_rows(audit, picture) if audit.what == "boxes" else _region_rows(audit)
    return _first_per_place(rows)


def _first_per_place(rows: list[_Row]) -> list[_Row]:
    """Without rows whose key came before; a place that another label already has is not suggested."""
    import warnings

    kept = {row["key"]: row for row in reversed(rows)}
    lost = len(rows) - len(kept)
    if lost:
        warnings.warn(
            f"{lost} boxes lie exactly on another box of their picture and are left out: a repository has one label per place",
            LabelwrightWarning,
            stacklevel=4,
        )
    for row in kept.values():
        if row["moved"] and _box_key(row["item"], row["moved"]) in kept:
            row["moved"] = []
    return [row for row in rows if kept.get(row["key"]) is row]


def _size(image: Any) -> tuple[int, int]:
    """Width and height."""
    if isinstance(image, np.ndarray):
        return int(image.shape[1]), int(image.shape[0])
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            return opened.size
    except OSError as err:
        raise DataError(
            found=f"an image that cannot be read ({err})"[:300],
            expected="paths, bytes or uint8 arrays of images",
            fix="mend or leave out this image",
        ) from err


# ---------------------------------------------------------------------------------------------------------------- boxes
def _box_rows(audit: PartAudit, picture: list[tuple[int, int] | None]) -> list[_Row]:
    columns = {name: audit.parts[name].to_pylist() for name in audit.parts.column_names}
    corners = np.stack([audit.parts[name].to_numpy() for name in ("x1", "y1", "x2", "y2")], 1).astype(np.float64)
    corners = corners.round(DIGITS)
    given = np.array([box is not None for box in columns["box"]], dtype=bool)
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    of_item: dict[int, np.ndarray] = {}
    at = np.array(columns["row"], dtype=np.int64)
    order = np.argsort(at, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(at[order])) + 1):
        if len(group):
            of_item[int(at[group[0]])] = group
    out = []
    for i, box in enumerate(corners):
        group = of_item[int(at[i])]
        others = group[given[group] & (group != i)]
        near = others[np.argsort(((middle[others] - middle[i]) ** 2).sum(1), kind="stable")[:OTHERS]]
        whole = corners[group][:, 2:].max(0).tolist()
        moved = columns["corners"][i] if given[i] and columns["problem"][i] == "bad location" else None
        item = str(columns["item"][i])
        out.append(
            {
                "key": _box_key(item, box.tolist()), "item": item, "at": int(at[i]), "what": "box",
                "problem": columns["problem"][i] if given[i] else "missed object", "given": columns["given"][i],
                "suggested": columns["suggested"][i], "error_prob": 1 - columns["quality"][i],
                "is_issue": columns["is_issue"][i], "size": list(picture[at[i]] or whole), "box": box.tolist(),
                "moved": [] if moved is None else [round(float(v), DIGITS) for v in moved],
                "others": [[columns["given"][j], *corners[j].tolist()] for j in near], "area": "", "edge": "",
                "labelled": bool(given[i]),
            }
        )  # fmt: skip
        out[-1]["place"] = out[-1]["key"]
    return out


def _box_key(item: str, box: Sequence[float]) -> str:
    x1, y1, x2, y2 = box
    return part_key(item, Box(x1, y1, round(x2 - x1, DIGITS), round(y2 - y1, DIGITS)))


# -------------------------------------------------------------------------------------------------------------- regions
def _region_rows(audit: Any) -> list[_Row]:
    columns = {name: audit.parts[name].to_pylist() for name in audit.parts.column_names}
    out, numbers = [], dict.fromkeys(columns["row"], 0)
    for i, row in enumerate(columns["row"]):
        height, width = (int(v) for v in audit.sizes[row])
        masks = audit.regions
        runs = masks.runs[masks.offset[i] : masks.offset[i + 1]]
        mask, item = masks.array(i), str(columns["item"][i])
        place = part_key(item, Mask(height, width, tuple(runs.tolist())))
        out.append(
            {
                "key": f"{item}#region={numbers[row]}", "place": place, "item": item, "at": row, "what": "region",
                "problem": columns["problem"][i], "given": columns["given"][i], "suggested": columns["suggested"][i],
                "error_prob": 1 - columns["quality"][i], "is_issue": columns["is_issue"][i], "size": [width, height],
                "box": [float(columns[name][i]) for name in ("x1", "y1", "x2", "y2")], "moved": [], "others": [],
                "area": area_path(mask), "edge": edge_path(mask), "labelled": True,
            }
        )  # fmt: skip
        numbers[row] += 1
    return out


def area_path(mask: np.ndarray) -> str:
    """An SVG path that fills a mask (H, W), row by row.

    >>> area_path(np.array([[0, 1, 1], [0, 0, 0]], bool))
    'M1 0h2v1h-2z'
    """
    return "".join(f"M{start} {y}h{stop - start}v1h{start - stop}z" for y, start, stop in _stretches(mask))


def edge_path(mask: np.ndarray) -> str:
    """An SVG path along the outline of a mask (H, W), in straight pieces.

    >>> edge_path(np.array([[1, 1]], bool))
    'M0 0h2M0 1h2M0 0v1M2 0v1'
    """
    padded = np.pad(mask.astype(np.int8), 1)
    across = np.diff(padded, axis=0)[:, 1:-1] != 0
    down = (np.diff(padded, axis=1)[1:-1] != 0).T
    flat = "".join(f"M{start} {y}h{stop - start}" for y, start, stop in _stretches(across))
    return flat + "".join(f"M{x} {start}v{stop - start}" for x, start, stop in _stretches(down))


def _stretches(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """(row, start, stop) of each stretch of True in the rows of (H, W)."""
    turns = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (row, start), (_, stop) = np.nonzero(turns == 1), np.nonzero(turns == -1)
    return list(zip(row.tolist(), start.tolist(), stop.tolist()))


# ---------------------------------------------------------------------------------------------------------------- files
def _review_files(
    rows: list[_Row], images: Sequence[Any] | None, root: str | os.PathLike[str] | None, seed: int
) -> dict[str, Callable[[Path], None]]:
    paths = images is not None and any(isinstance(image, str | os.PathLike) for image in images)
    shown = None if images is None else [Path(i) if isinstance(i, str | os.PathLike) else i for i in images]
    folder = _root(shown, root) if paths else None
    head = {"kind": "part", "root": None if folder is None else str(folder)}
    return {
        "review.parquet": lambda path: _write(path, iter([_reviews(rows, seed)]), 1 << 14),
        "content.parquet": lambda path: _write(path, _contents(rows, shown, folder), _GROUP),
        "content.json": lambda path: _write_text(path, json.dumps(head, ensure_ascii=False)),
    }


def _reviews(rows: list[_Row], seed: int) -> pa.Table:
    """As `material` writes them of whole items. The estimation stream is of given boxes; of regions only doubted ones are known,
    which say nothing about the others."""
    import pyarrow as pa

    n = len(rows)
    error = np.clip(np.array([row["error_prob"] for row in rows], dtype=np.float64), 0, 1)
    drawn = np.array([row["labelled"] and row["what"] == "box" for row in rows], dtype=bool)
    place, stratum = np.full(n, -1, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    if drawn.any():
        design = review_design(np.where(drawn, error, np.nan), seed=seed)
        place[design.order], stratum = np.arange(len(design)), design.stratum
    pairs = []
    for row, p in zip(rows, error):
        wrong = [[row["suggested"], float(p)]] if row["suggested"] not in (None, row["given"]) else []
        right = [[row["given"], float(1 - p)]] if row["given"] is not None else []
        listed = sorted(wrong + right, key=lambda pair: -pair[1])
        pairs.append(json.dumps([[name, round(share, 4)] for name, share in listed], ensure_ascii=False))
    nothing = pa.array([[]] * n, pa.list_(pa.string()))
    return pa.table(
        {
            "item": [row["key"] for row in rows], "row": np.arange(n),
            "given": json_values([row["given"] for row in rows]), "suggested": pairs,
            "top": json_values([row["suggested"] for row in rows]), "error_prob": error,
            "kind": [row["problem"] or "ok" for row in rows], "is_issue": [bool(row["is_issue"]) for row in rows],
            "stratum": pa.array(stratum, pa.int64(), mask=place < 0),
            "place": pa.array(place, pa.int64(), mask=place < 0), "suspicion": error, "near": nothing,
            "similarity": pa.array([[]] * n, pa.list_(pa.float32())),
        }
    )  # fmt: skip


_DRAWN = ("what", "problem", "given", "size", "box", "moved", "area", "edge", "others")


def _contents(rows: list[_Row], images: Sequence[Any] | None, root: Path | None) -> Iterator[pa.Table]:
    """The picture stands in the first row that is about it; others name that row."""
    import pyarrow as pa

    fields = {"text": pa.string(), "cells": pa.string(), "path": pa.string(), "image": pa.binary()}
    fields |= {"same_as": pa.int64(), "part": pa.string()}
    first: dict[int, int] = {}
    for group in _parts(len(rows), _GROUP):
        made = []
        for i in group.tolist():
            row = rows[i]
            at = first.setdefault(row["at"], i)
            seen = {} if images is None else {"same_as": at} if at != i else _shown(images[row["at"]], root)
            part = json.dumps({"key": row["place"], **{name: row[name] for name in _DRAWN}}, ensure_ascii=False)
            made.append({**seen, "text": row["problem"], "part": part})
        yield pa.table({name: pa.array([row.get(name) for row in made], kind) for name, kind in fields.items()})


def _record(repo: Repository, rows: list[_Row], audit: str) -> None:
    """The labels as they were given, each once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    given = [row for row in rows if row["labelled"]]
    item = pa.array([row["place"] for row in given], pa.string())
    events = pa.table(
        {
            "event_id": event_ids("given", item) if given else pa.array([], pa.string()),
            "item": item,
            "source": pa.array(["given"] * len(given), pa.string()),
            "kind": pa.array(["given"] * len(given), pa.string()),
            "value": json_values([row["given"] for row in given]),
        }
    )
    there = repo.event_table.read(["item"], kinds=("given",))["item"]
    events = events if len(there) == 0 else events.filter(pc.invert(pc.is_in(item, value_set=there)))
    repo.append(events, message=f"audit {audit}: {events.num_rows:,} labels given", source=f"audit {audit}")
