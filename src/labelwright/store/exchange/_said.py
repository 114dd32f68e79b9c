"""What a file of labels says, whatever its format: one `Said` per label, and their table of events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from labelwright.errors import DataError, LabelError, LabelwrightError, LabelwrightWarning
from labelwright.labels.space import LabelSpace
from labelwright.store._rows import event_ids
from labelwright.store._values import CANT_TELL, NONE_FITS, json_values
from labelwright.store.exchange._parts import Part, close, part_key, split_key

if TYPE_CHECKING:
    import pyarrow as pa

CARRIED = ("given", "import", "review", "suggestion", "vote")  # kinds that a file may hold; it retracts nothing
LONGEST = 4096  # characters of an item's key or a class; longer ones are damage


class Said(NamedTuple):
    """One label of an item or of a part of it; `value` as in `store.events.json_values`, plain Python."""

    item: str
    value: Any
    part: Part | None = None
    kind: str = "import"
    source: str | None = None
    probability: float | None = None
    time: datetime | None = None
    event: str | None = None

    @property
    def key(self) -> str:
        return part_key(self.item, self.part)


def is_answer(value: Any) -> bool:
    return value in (CANT_TELL, NONE_FITS)


def is_soft(value: Any) -> bool:
    """Whether a value is a distribution."""
    return isinstance(value, dict) and not is_answer(value)


def names(value: Any) -> list[str]:
    """The classes by which a value is written where a format has only classes: of a distribution, the likeliest.

    >>> names({"cat": 0.9, "dog": 0.1}), names(["b", "a"]), names(3)
    (['cat'], ['a', 'b'], ['3'])
    """
    if value is None or is_answer(value):
        return []
    if isinstance(value, dict):
        return [max(sorted(value), key=lambda name: value[name])]
    return sorted(map(str, value)) if isinstance(value, list) else [str(value)]


def score(said: Said) -> float | None:
    """The probability of what `names` gives, where there is one; that of a review is another thing, see the events."""
    if is_soft(said.value):
        return float(max(said.value.values()))
    return said.probability if said.kind == "suggestion" else None


def origin(said: Said) -> dict[str, Any]:
    """Where a label comes from and its exact value, as JSON values, for the place that a format has for such things."""
    time = None if said.time is None else said.time.isoformat()
    out = {"item": said.key, "value": said.value, "kind": said.kind, "source": said.source, "time": time}
    out |= {"probability": said.probability, "event": said.event}
    return {name: value for name, value in out.items() if value is not None}


def settled(native: Said, origins: list[Any], where: str) -> Said:
    """The label as it was when this product wrote it, if the file still says so; else as the file says it now.

    The first of `origins` that agrees with `native` in item, place (but for rounding), classes and score is taken out of
    the list. A label that somebody has changed in the file is thus a new one, with a new id.
    """
    for i, entry in enumerate(origins):
        said = read_origin(entry, where)
        same = said.item == native.item and close(said.part, native.part) and names(said.value) == names(native.value)
        answered = is_answer(said.value) or is_answer(native.value)
        if same and (said.value == native.value if answered else _agree(score(said), native.probability)):
            del origins[i]
            return said
    return native


def read_origin(entry: Any, where: str) -> Said:
    """What `origin` wrote.

    Raises:
        DataError: something else, or a retraction: an imported file takes nothing back.
    """
    try:
        kind, probability = entry.get("kind", "import"), entry.get("probability")
        value = json.loads(str(json_values([entry["value"]])[0]))
        texts = [entry.get(name) for name in ("source", "event")]
        if kind not in CARRIED or not isinstance(entry["item"], str):
            raise ValueError(f"kind {kind!r}")
        if not all(text is None or (isinstance(text, str) and 0 < len(text) <= LONGEST) for text in texts):
            raise ValueError("source or event that is no text")
        item, part = split_key(entry["item"])
        said = Said(item, value, part, kind, texts[0], probability and float(probability), None, texts[1])
        return said._replace(time=when(entry.get("time")))
    except (AttributeError, KeyError, TypeError, ValueError, LabelwrightError) as err:
        raise DataError(
            found=f"a `labelwright` entry in {where} that this product did not write ({err!r:.200})",
            expected=f"item, value, source, time, event and a kind of {', '.join(CARRIED)}",
            fix="remove the entry; the label beside it is then imported as new",
        ) from err


def when(text: Any) -> datetime | None:
    """A time that another tool wrote: ISO text (UTC where it names no zone) or seconds since 1970; else None."""
    try:
        if isinstance(text, int | float) and not isinstance(text, bool):
            return datetime.fromtimestamp(text, UTC)
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def several_sources(said: Iterable[Said]) -> Iterator[Said]:
    """Imported labels, as votes where several people labelled the same item: then none of them alone is its label."""
    said = list(said)
    speakers: dict[str, set[str | None]] = {}
    for s in said:
        if s.kind == "import" and s.event is None:
            speakers.setdefault(s.item, set()).add(s.source)
    for s in said:
        many = s.kind == "import" and s.event is None and len(speakers[s.item]) > 1
        yield s._replace(kind="vote") if many else s


def space_of(said: Iterable[Said], first: Iterable[Any] = ()) -> LabelSpace | None:
    """The classes of `first`, then those that occur and are not among them, sorted; None where there are none."""
    listed = list(dict.fromkeys(first))
    found: set[Any] = set()
    keys: set[str] = set()
    sets = False
    for s in said:
        if isinstance(s.value, list):
            found.update(s.value)
            sets = True
        elif is_soft(s.value):
            keys.update(s.value)
        elif s.value is not None and not is_answer(s.value):
            found.add(s.value)
    every = {*listed, *found}
    numbers = all(isinstance(n, int) and not isinstance(n, bool) for n in every) and all(map(_whole, keys))
    if numbers:
        found |= {int(k) for k in keys}
    else:
        listed, found = [str(n) for n in listed], {*map(str, found), *keys}
    more = found - set(listed)
    if more:
        listed += LabelSpace.from_labels(list(more)).classes
    return LabelSpace(listed, structure="multi" if sets else "nominal") if listed else None


def events_table(said: list[Said], source: str) -> pa.Table:
    """The events for `Repository.append`: item, source, kind, value, probability, time, event_id.

    Ids that the file carries are kept. Others are made of source, item, value, probability and, where the file tells
    it, time: reading the file again gives the same ids. What has no time is said now; `source` speaks for what has none.
    """
    import pyarrow as pa

    said = [s._replace(source=s.source or source) for s in said if s.value is not None]
    values = json_values(s.value for s in said)
    columns = [[s.source for s in said], [s.key for s in said], values, [s.probability for s in said]]
    times = [None if s.time is None else s.time.isoformat() for s in said]
    made = event_ids(*columns, times).to_pylist()
    now = datetime.now(UTC)
    ids = dict.fromkeys(s.event or made[i] for i, s in enumerate(said))
    first = dict(zip(reversed([s.event or made[i] for i, s in enumerate(said)]), range(len(said) - 1, -1, -1)))
    table = pa.table(
        {
            "item": pa.array(columns[1], pa.string()),
            "source": pa.array(columns[0], pa.string()),
            "kind": pa.array([s.kind for s in said], pa.string()),
            "value": values,
            "probability": pa.array(columns[3], pa.float64()),
            "time": pa.array([s.time or now for s in said], pa.timestamp("us", "UTC")),
            "event_id": pa.array([s.event or made[i] for i, s in enumerate(said)], pa.string()),
        }
    )
    return table if len(ids) == len(said) else table.take(pa.array([first[i] for i in ids], pa.int64()))


def fitting(said: list[Said], why_not: Callable[[Said], str], format: str, lossy: bool) -> list[Said]:
    """The labels for which `why_not` gives "".

    Raises:
        LabelError: there are others, unless `lossy`; then they are left out with a warning.
    """
    import warnings

    problems: dict[str, int] = {}
    kept = []
    for s in said:
        if problem := why_not(s):
            problems[problem] = problems.get(problem, 0) + 1
        else:
            kept.append(s)
    if problems:
        told = "; ".join(f"{n:,} with {problem}" for problem, n in problems.items())
        if not lossy:
            raise LabelError(
                found=f"labels that {format} has no place for: {told}",
                expected="labels that go over whole",
                fix="choose another format (parquet holds everything), or pass lossy=True (--lossy) to leave these out",
            )
        warnings.warn(f"left out, since {format} has no place for them: {told}", LabelwrightWarning, stacklevel=4)
    return kept


def checked_said(said: list[Said], path_name: str) -> list[Said]:
    """`said`, in which every key and class has a sensible length and every probability is one.

    Raises:
        DataError: otherwise.
    """
    for s in said:
        longest = max([len(s.item), *map(len, names(s.value))])
        if not s.item or longest > LONGEST:
            what = "an empty key" if not s.item else f"a key or a class of {longest:,} characters"
            raise DataError(
                found=f"{what} in {path_name}",
                expected=f"keys and classes of 1 to {LONGEST:,} characters",
                fix="name the field that holds the item's key: item=...",
            )
        if s.probability is not None and not 0 <= s.probability <= 1:
            raise DataError(
                found=f"a score of {s.probability} of item {s.item[:80]!r} in {path_name}",
                expected="scores in [0, 1]",
                fix="divide percentages by 100, or remove the scores",
            )
    return said


def _agree(a: float | None, b: float | None) -> bool:
    return a is None or b is None or abs(a - b) < 1e-6


def _whole(text: str) -> bool:
    return text.isdecimal() and str(int(text)) == text if len(text) < 19 else False
