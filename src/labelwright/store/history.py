"""What the events of a repository come to: its versions, the labels of each, and how they changed.

The label of an item at a version is what its last review said; without one, what the last "given" or "import" event said. Last
means committed last, and further down within a commit: clocks are not trusted. Suggestions and votes do not count until
somebody accepts them in a review; a review that could not tell changes nothing; an event that a retraction names is passed over.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, OptionError, RepositoryError, nearest
from labelwright.store._values import CANT_TELL
from labelwright.store.events import EventTable

if TYPE_CHECKING:
    import pyarrow as pa

Version = int | str | None
_TAG = re.compile(r"(?![0-9]+$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COLUMNS = ["item", "value", "kind", "source", "time", "commit", "event_id"]
_KINDS = ("given", "import", "review", "retraction")


class LabelHistory:
    """The events of a label repository and its versions. A version is all events up to a commit.

    Versions are named by the commit's number, as int or text, by a tag, or None for the newest; 0 is before the first.
    """

    path: Path

    @cached_property
    def event_table(self) -> EventTable:
        """The table below these methods."""
        folder = self.path / "events"
        if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
            raise RepositoryError(
                found=f"{folder}, which is no folder of the repository's own",
                expected="the folder of its events",
                fix="look who put it there, and move it away",
            )
        return EventTable(folder, before_first=self._upgrade)

    def _upgrade(self) -> None:
        """What must be done before the first events are written: here nothing."""

    def append(self, events: Any, *, message: str, source: str) -> int:
        """Add events, all or none, as one commit.

        Args:
            events: a table with the columns `item` (key as text) and `value` (JSON text, see `json_values`), and any of
                `kind` ("import"), `source` (the commit's), `probability` in [0, 1] (null), `time` (now), `tool` (this one),
                `event_id` (random). Events whose id is there already are left out, so that a retry with ids adds
                nothing twice; `event_ids` makes ids of what the events say.
            message: one sentence for `log`.   source: who or what commits.

        Returns:
            the commit's number; the newest one's where every event was there already.

        Raises:
            LabelwrightError: what is wrong with the events, or that the repository cannot be written; nothing was added.
        """
        return self.event_table.append(events, message=message, source=source)

    def events(self, item: str | None = None, until: Version = None, *, kinds: tuple[str, ...] = ()) -> pa.Table:
        """All events, or those of an item or of some kinds, up to a version, in the order of their commits.

        Returns:
            event_id, item, source, kind, value (JSON text), probability, time, tool, commit.
        """
        return self.event_table.read(item=item, until=self.version(until), kinds=kinds)

    def labels(self, version: Version = None) -> pa.Table:
        """The label of every item, in the order in which the items came.

        Returns:
            item, label (JSON text, null where there is none), kind, source, time, commit, event (the id of what said so).
        """
        return current_labels(self.event_table.read(_COLUMNS, kinds=_KINDS, until=self.version(version)))

    def diff(self, a: Version, b: Version = None) -> pa.Table:
        """Items whose label differs between two versions: item, before, after, source, time, commit, event.

        The last four tell of the event behind the label that came later; null where a retraction left nothing.
        """
        first, second = self.version(a), self.version(b)
        events = self.event_table.read(_COLUMNS, kinds=_KINDS, until=max(first, second))
        return changed_labels(events, first, second)

    def show(self, item: str) -> pa.Table:
        """Every event of one item, as `events`, oldest first. The first eight signs or more of a key will do where no other
        key begins with them.

        Raises:
            DataError: no event tells of the item; the nearest names are told.
        """
        found = self.events(item)
        if found.num_rows == 0:
            every = self.event_table.read(["item"])
            begun = _begun(item, every) if len(item) >= 8 else []
            if len(begun) == 1:
                return self.events(begun[0])
            close = begun or _nearest_items(item, every)
            raise DataError(
                found=f"no event of an item {item!r}",
                expected="an item of this repository"
                + (": " + ", ".join(map(repr, close)) if close else ", which has none"),
                fix=f"did you mean {close[0]!r}?" if close else "run an audit first, or import labels",
            )
        return found

    def log(self) -> pa.Table:
        """The commits, oldest first: commit, time, message, source, events (how many), head (hash of all history), tags."""
        import pyarrow as pa
        import pyarrow.compute as pc

        log = self.event_table.refreshed()
        names: dict[int, list[str]] = {}
        for name, commit in log.tags.items():
            names.setdefault(commit, []).append(name)
        columns = {name: [getattr(c, name) for c in log.commits] for name in ("message", "source", "head")}
        times = pa.array([c.time.removesuffix("Z") for c in log.commits], pa.string())
        return pa.table(
            {
                "commit": pa.array([c.commit for c in log.commits], pa.int64()),
                "time": pc.assume_timezone(times.cast(pa.timestamp("us")), "UTC"),
                "message": pa.array(columns["message"], pa.string()),
                "source": pa.array(columns["source"], pa.string()),
                "events": pa.array([c.events for c in log.commits], pa.int64()),
                "head": pa.array(columns["head"], pa.string()),
                "tags": pa.array([names.get(c.commit, []) for c in log.commits], pa.list_(pa.string())),
            }
        )

    def tag(self, name: str, version: Version = None) -> int:
        """Name a version, for good; its number. The same tag again on the same version changes nothing.

        Raises:
            RepositoryError: the tag is on another version, or there is no commit yet.
            OptionError: no such version, or no name for a tag.
        """
        if not isinstance(name, str) or not _TAG.fullmatch(name):
            raise OptionError(
                found=f"tag {name!r}",
                expected="letters, digits, '.', '_' and '-', at most 100, not digits alone",
                fix="choose another name, such as 'v1' or 'before-review'",
            )
        number = self.version(version)
        if number == 0:
            raise RepositoryError(
                found=f"{self.path} without a commit",
                expected="a commit to name",
                fix="run an audit first, or import labels",
            )
        self.event_table.tag(name, number)
        return number

    def tags(self) -> dict[str, int]:
        """The tags and the versions they name."""
        return dict(self.event_table.refreshed().tags)

    def version(self, which: Version = None) -> int:
        """The number of a version.

        Raises:
            OptionError: there is none of this number or tag.
        """
        log = self.event_table.refreshed()
        if which is None:
            return log.last
        if which in log.tags:
            return log.tags[str(which)]
        if isinstance(which, str) and re.fullmatch("[0-9]{1,9}", which):
            which = int(which)
        if hasattr(which, "__index__") and not isinstance(which, bool) and 0 <= int(which) <= log.last:
            return int(which)
        close = nearest(str(which), log.tags)[:5]
        raise OptionError(
            found=f"version {which!r}",
            expected=f"a number from 0 to {log.last}"
            + (" or a tag: " + ", ".join(map(repr, close)) if close else "; there are no tags"),
            fix=f"did you mean {close[0]!r}?"
            if close and isinstance(which, str)
            else f"the newest version is {log.last}",
        )


def current_labels(events: pa.Table) -> pa.Table:
    """The label of each item after `events` (columns as `_COLUMNS`, in the order of their commits)."""
    winners = _winners(events)
    every = len(winners) == events.num_rows and bool((np.diff(winners) > 0).all())  # nothing to drop, nothing to move
    chosen = (events if every else events.take(winners)).select(_COLUMNS)
    return chosen.rename_columns(["item", "label", "kind", "source", "time", "commit", "event"])


def changed_labels(events: pa.Table, a: int, b: int) -> pa.Table:
    """Items whose label at commit `a` is not that at commit `b`, in the order in which they came."""
    import pyarrow as pa

    codes = events["item"].combine_chunks().dictionary_encode()
    items, code = codes.dictionary, codes.indices.to_numpy()
    values = events["value"].combine_chunks().dictionary_encode()
    value = values.indices.fill_null(-1).to_numpy()
    labels, winner = [], []
    for version in (a, b):
        rows = np.flatnonzero(events["commit"].to_numpy() <= version)
        chosen = rows[_winners(events.take(rows))]
        label, event = (np.full(len(items), -1, dtype=np.int64) for _ in range(2))
        label[code[chosen]], event[code[chosen]] = value[chosen], chosen
        labels.append(label)
        winner.append(event)
    rows = np.flatnonzero(labels[0] != labels[1])
    said = winner[1 if b >= a else 0][rows]

    def picked(source: Any, index: np.ndarray) -> Any:
        return source.take(pa.array(index, mask=index < 0))

    last = {name: picked(events[name], said) for name in ("source", "time", "commit")}
    before, after = (picked(values.dictionary, label[rows]) for label in labels)
    columns = {
        "item": items.take(rows),
        "before": before,
        "after": after,
        **last,
        "event": picked(events["event_id"], said),
    }
    return pa.table(columns)


def _winners(events: pa.Table) -> np.ndarray:
    """(n_items,) rows of the events that count, one per item that has one, in the order in which the items came."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = events["kind"]
    counts = np.ones(events.num_rows, dtype=bool)
    retracting = pc.equal(kind, "retraction").to_numpy()
    if retracting.any():
        gone = [json.loads(text) for text in events["value"].filter(pa.array(retracting)).to_pylist()]
        counts = pc.invert(pc.is_in(events["event_id"], value_set=pa.array(gone, pa.string()))).to_numpy()
    review = pc.equal(kind, "review").to_numpy()
    unsure = pc.fill_null(pc.equal(events["value"], json.dumps(CANT_TELL)), False).to_numpy()
    code = events["item"].combine_chunks().dictionary_encode().indices.to_numpy()
    winner = np.full(code.max(initial=-1) + 1, -1, dtype=np.int64)
    for rows in (counts & ~retracting & ~review, counts & review & ~unsure):  # reviews go over what they reviewed
        index = np.flatnonzero(rows)
        winner[code[index]] = index  # of equal codes the last one stays
    return winner[winner >= 0]


def _begun(start: str, table: pa.Table) -> list[str]:
    """Up to five item keys that begin with `start`."""
    import pyarrow.compute as pc

    keys = table["item"].filter(pc.starts_with(table["item"], start))
    return sorted(pc.unique(keys).to_pylist())[:5]


def _nearest_items(item: str, table: pa.Table) -> list[str]:
    """Up to five item keys like `item`; of many, only those that stand near it in order or hold it are compared."""
    import pyarrow.compute as pc

    keys = sorted(pc.unique(table["item"]).to_pylist())
    place = bisect_left(keys, item)
    close = keys[max(0, place - 200) : place + 200]
    return nearest(item, {*close, *[key for key in keys if item.lower() in key.lower()][:200]})[:5]
