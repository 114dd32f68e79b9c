"""Votes sorted by item on disk, so that all that is said of an item is read at once."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.crowds._candidates import members
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.errors import DataError, LabelError
from labelwright.labels import LabelSpace, Votes
from labelwright.stream import Chunk, Rows
from labelwright.stream.rows import digest

PART = 1 << 20
"""Votes that are sorted in memory at a time."""

PIECE = 1 << 17
"""Votes between two places at which reading may begin."""

_FILES = {"item": np.int64, "annotator": np.int32, "label": np.int32, "weight": np.float64}
_HEAD = "votes.json"


@dataclass(frozen=True, eq=False)
class VotePart:
    """Votes on consecutive items; prepared.item counts from 0, which is the item `first` of all."""

    prepared: Prepared
    first: int

    def __len__(self) -> int:
        return len(self.prepared)


class SortedVotes(Rows):
    """V votes in a folder that `sort_votes` wrote; chunks are `VotePart`s and end where an item ends.

    n_items, n_annotators; space: the classes; annotators: (A,) keys; gold: (N,) class ids, -1 unknown; start: (N + 1,) where
    the votes of each item begin; notes: what `prepare` said.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        head = json.loads((self.folder / _HEAD).read_text(encoding="utf-8"))
        self.name, self.shape = self.folder.name, (int(head["votes"]),)
        self.space = LabelSpace.from_json(json.dumps(head["space"]))
        self.n_items, self.n_annotators = int(head["items"]), int(head["annotators"])
        self.notes: list[str] = head["notes"]
        self.repeats, self.abstentions = int(head["repeats"]), int(head["abstentions"])
        self._weighted, self._source = bool(head["weighted"]), str(head["source"])
        self.start = self._array("start", np.int64)
        self.gold = self._array("gold", np.int32)
        borders = np.searchsorted(self.start, np.arange(0, self.shape[0], PIECE))
        self.pieces = np.unique(self.start[borders]).tolist()[: None if self.shape[0] else 0]

    def _array(self, name: str, dtype: Any) -> np.ndarray:
        path = self.folder / f"{name}.bin"
        return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)

    def keys(self, name: str) -> Any:
        """pyarrow array of the keys of the "items" or the "annotators", mapped into memory."""
        import pyarrow as pa

        return pa.ipc.open_file(pa.memory_map(str(self.folder / f"{name}.arrow"))).read_all()["key"]

    def items(self, first: int, last: int) -> Prepared:
        """The votes on the items first .. last - 1."""
        return self._prepared(slice(int(self.start[first]), int(self.start[last])), first, last)

    def some(self, items: np.ndarray) -> Prepared:
        """The votes on some items, in increasing order."""
        vote, begin = members(np.asarray(self.start), items)
        annotator, label = (self._array(name, np.int32)[vote] for name in ("annotator", "label"))
        weight = self._array("weight", np.float64)[vote] if self._weighted else np.ones(len(vote))
        item = np.repeat(np.arange(len(items), dtype=np.int32), np.diff(begin))
        gold = np.asarray(self.gold[items])
        return Prepared(item, annotator, label, weight, begin, self.n_annotators, self.space, gold)

    def _prepared(self, votes: slice, first: int, last: int) -> Prepared:
        item = (self._array("item", np.int64)[votes] - first).astype(np.int32)
        annotator, label = (np.asarray(self._array(name, np.int32)[votes]) for name in ("annotator", "label"))
        weight = np.asarray(self._array("weight", np.float64)[votes]) if self._weighted else np.ones(len(item))
        start = np.asarray(self.start[first : last + 1]) - votes.start
        gold = np.asarray(self.gold[first:last])
        return Prepared(item, annotator, label, weight, start, self.n_annotators, self.space, gold)

    def _read(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        end = len(self) if stop is None else stop
        first = int(np.searchsorted(self.start, start, "right")) - 1 if start else 0
        # items without a vote have no room between two votes: they go with the item before, the first ones with the first
        last_item = self.n_items if end >= len(self) else int(np.searchsorted(self.start, end, "right")) - 1
        while first < last_item:
            last = int(np.searchsorted(self.start, self.start[first] + rows, "right")) - 1
            last = min(max(last, first + 1), last_item)
            at = int(self.start[first])
            yield Chunk(at, VotePart(self.items(first, last), first), self.name, at)
            first = last

    def fingerprint(self) -> str:
        return digest(self._source, str(self.shape), self.space.to_json())


def sort_votes(
    rows: Rows,
    folder: Path,
    *,
    item: str = "item",
    annotator: str = "annotator",
    label: str = "label",
    weight: str | None = None,
    gold: Mapping[Any, Any] | None = None,
    space: LabelSpace | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> SortedVotes:
    """Sort votes by item into a folder, from two passes over them; memory holds `PART` votes, and the annotators' keys.

    Args:
        rows: tables with the columns of those names, as `open_rows` gives them; a missing label is an abstention.
        folder: new, empty, or one that an interrupted call left; a finished one for the same rows is used again.
        gold: {item: class}.   space: the classes; default: those that occur, sorted.

    Raises:
        LabelError: a missing item or annotator (with shard and row), a label or gold that is no class.
        DataError: no votes, sorted votes of another source.
    """
    folder = Path(folder)
    source = digest(rows.fingerprint(), item, annotator, label, weight or "", json.dumps(str(gold)), str(space))
    if (folder / _HEAD).is_file():
        told = json.loads((folder / _HEAD).read_text(encoding="utf-8"))
        if told["source"] != source:
            raise DataError(
                found=f"sorted votes of another source in {folder.name}", expected="an empty folder", fix="pass another"
            )
        return SortedVotes(folder)
    shutil.rmtree(folder / "parts", ignore_errors=True)
    (folder / "parts").mkdir(parents=True)
    names = _Names(item, annotator, label, weight)
    scattered = _scatter(rows, folder / "parts", names, space, progress)
    known = _gold_ids(gold, scattered.space)
    _write_sorted(folder, scattered, known, source, progress)
    shutil.rmtree(folder / "parts")
    return SortedVotes(folder)


@dataclass(frozen=True)
class _Names:
    item: str
    annotator: str
    label: str
    weight: str | None


@dataclass(frozen=True, eq=False)
class _Scattered:
    """parts: Arrow files with item, annotator, label (id before sorting) and weight.   order: id before -> class id.
    annotators: keys in first-seen order."""

    parts: list[Path]
    space: LabelSpace
    order: np.ndarray
    annotators: list[Any]


class _Codes:
    """Keys -> numbers in first-seen order."""

    def __init__(self) -> None:
        self.of: dict[Any, int] = {}

    def __call__(self, column: Any) -> np.ndarray:
        """(n,) int32 of a pyarrow column, -1 for null."""
        encoded = column.combine_chunks().dictionary_encode()
        place = np.array([self.of.setdefault(key, len(self.of)) for key in encoded.dictionary.to_pylist()], np.int32)
        index = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return (
            np.where(index >= 0, place[index], -1).astype(np.int32) if len(place) else np.full(len(index), -1, np.int32)
        )


def _scatter(rows: Rows, folder: Path, names: _Names, space: LabelSpace | None, progress: Any) -> _Scattered:
    """First pass: each vote into the part that its item's key falls into."""
    import pyarrow as pa

    n = len(rows)
    if not n:
        raise DataError(found=f"no votes in {rows.name}", expected="a row per vote", fix="check the file")
    paths = [folder / f"{i:05}.arrow" for i in range(-(-n // PART))]
    annotators, labels = _Codes(), _Codes()
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for chunk in rows.chunks(PIECE):
            table, which = chunk.data, _check(chunk, names)
            columns = {
                "item": table[names.item].combine_chunks(),
                "annotator": annotators(table[names.annotator]),
                "label": labels(table[names.label]),
            }
            if names.weight is not None:
                columns["weight"] = table[names.weight].cast(pa.float64()).combine_chunks()
            told = pa.table(columns)
            part = which % len(paths)
            for p in np.unique(part):
                mine = told.take(np.flatnonzero(part == p)) if len(paths) > 1 else told
                if int(p) not in writers:
                    writers[int(p)] = stack.enter_context(pa.ipc.new_file(str(paths[p]), told.schema))
                writers[int(p)].write_table(mine)
            if progress:
                progress("sorting votes", chunk.first + len(chunk), 2 * n)
    found = list(labels.of)
    classes = [key for key in found if key is not None]
    if not classes:
        raise LabelError(
            found=f"{n:,} votes, all of them abstentions", expected="at least one answer", fix="check the labels"
        )
    space = space or LabelSpace.from_labels(classes)
    order = np.asarray(space.encode(classes), np.int32) if classes else np.zeros(0, np.int32)
    return _Scattered([path for path in paths if path.exists()], space, order, list(annotators.of))


def _check(chunk: Chunk, names: _Names) -> np.ndarray:
    """(n,) a hash of each item's key; raises where an item or an annotator is missing."""
    table = chunk.data
    for role in (names.item, names.annotator):
        if table[role].null_count:
            at = int(np.flatnonzero(table[role].is_null().to_numpy())[0])
            raise LabelError(
                found=f"{table[role].null_count} votes without {role}, first in {chunk.where(at)}",
                expected=f"a key in every row of {role!r}",
                fix="drop these rows, or name the unknown with a key of its own",
            )
    encoded = table[names.item].combine_chunks().dictionary_encode()
    value = np.array([zlib.crc32(str(key).encode()) for key in encoded.dictionary.to_pylist()], np.int64)
    return value[encoded.indices.to_numpy()]


def _write_sorted(folder: Path, found: _Scattered, gold: dict[str, int], source: str, progress: Any) -> None:
    """Second pass: each part in memory, sorted, behind the one before."""
    import pyarrow as pa

    told = {"votes": 0, "items": 0, "repeats": 0, "abstentions": 0, "silent": 0, "most": 0}
    weighted = False
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in (*_FILES, "start", "gold")}
        keys = None
        for done, path in enumerate(found.parts):
            with pa.memory_map(str(path)) as source_file:
                table = pa.ipc.open_file(source_file).read_all()
            encoded = table["item"].combine_chunks().dictionary_encode()
            items, label = encoded.dictionary, table["label"].to_numpy()
            label = np.where(label >= 0, found.order[label], -1).astype(np.int64)
            weight = table["weight"].to_numpy() if "weight" in table.column_names else None
            weighted |= weight is not None
            votes = Votes(
                encoded.indices.to_numpy().astype(np.int64), table["annotator"].to_numpy().astype(np.int64), label,
                np.broadcast_to(np.int8(0), len(items)), np.broadcast_to(np.int8(0), len(found.annotators)),
                found.space, weight=weight,
            )  # fmt: skip
            part = prepare(votes)
            _append(files, part, told)
            ids = [gold.get(str(key), -1) for key in items.to_pylist()] if gold else [-1] * len(items)
            files["gold"].write(np.array(ids, np.int32).tobytes())
            batch = pa.record_batch({"key": items})
            keys = keys or stack.enter_context(pa.ipc.new_file(str(folder / "items.arrow"), batch.schema))
            keys.write_batch(batch)
            if progress:
                progress("sorting votes", len(found.parts) + done + 1, 2 * len(found.parts))
        files["start"].write(np.array([told["votes"]], np.int64).tobytes())
    who = pa.table({"key": found.annotators})
    with pa.ipc.new_file(str(folder / "annotators.arrow"), who.schema) as writer:
        writer.write_table(who)
    head = {
        **told, "annotators": len(found.annotators), "space": json.loads(found.space.to_json()), "weighted": weighted,
        "source": source, "notes": _notes(told, len(found.annotators)),
    }  # fmt: skip
    temp = folder / (_HEAD + ".new")
    temp.write_text(json.dumps(head), encoding="utf-8")
    temp.replace(folder / _HEAD)  # last: without it the folder does not count


def _append(files: dict[str, Any], part: Prepared, told: dict[str, int]) -> None:
    files["item"].write((part.item.astype(np.int64) + told["items"]).tobytes())
    files["annotator"].write(part.annotator.astype(np.int32).tobytes())
    files["label"].write(part.label.astype(np.int32).tobytes())
    files["weight"].write(part.weight.tobytes())
    files["start"].write((part.start[:-1] + told["votes"]).tobytes())
    count = np.diff(part.start)
    told["votes"] += len(part)
    told["items"] += part.n_items
    told["repeats"] += part.repeats
    told["abstentions"] += part.abstentions
    told["silent"] += int((count == 0).sum())
    told["most"] = max(told["most"], int(count.max(initial=0)))


def _notes(told: dict[str, int], n_annotators: int) -> list[str]:
    notes = []
    if told["repeats"]:
        notes.append(f"{told['repeats']:,} votes repeat what their annotator had said of the item; counted once")
    if n_annotators == 1:
        notes.append("one annotator only: nothing tells how good these votes are, unless gold does")
    elif told["most"] <= 1:
        notes.append("no item has two votes: nothing tells how good the annotators are, unless gold does")
    if told["silent"]:
        notes.append(f"{told['silent']:,} items have no vote")
    return notes


def _gold_ids(gold: Mapping[Any, Any] | None, space: LabelSpace) -> dict[str, int]:
    if not gold:
        return {}
    place = {str(name): i for i, name in enumerate(space.classes)}
    strange = [name for name in gold.values() if str(name) not in place]
    if strange:
        raise LabelError(
            found=f"gold label {strange[0]!r}",
            expected=f"one of the classes {', '.join(map(repr, space.classes[:8]))}",
            fix="pass space=LabelSpace([...]) with all classes",
        )
    return {str(item): place[str(name)] for item, name in gold.items()}
