"""From a file of votes to labels in a label repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds.aggregation import Aggregation
from labelwright.crowds.verb import aggregate
from labelwright.errors import ColumnError, nearest
from labelwright.labels import Votes

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.store import Repository


@dataclass(frozen=True)
class FileAggregation:
    """aggregation: the result.   repository, folder: where it was written."""

    aggregation: Aggregation
    repository: Repository
    folder: Path


def aggregate_file(
    votes: str | os.PathLike[str],
    *,
    item: str = "item",
    annotator: str = "annotator",
    label: str = "label",
    method: str = "auto",
    gold: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> FileAggregation:
    """Aggregate a table of votes on disk, and write the result into a label repository.

    The votes go into its events, each once, and so do the labels, with their probability: `labelwright show` tells of an item
    who voted what.

    Args:
        votes: any table that `store.read_items` reads, a vote per row.   item, annotator, label: its columns.
        method, seed, progress, options: as in `aggregate`.   gold: a table with the columns item and label.
        out: repository; default: the name of the file with ".labels", here.

    Raises:
        LabelwrightError: what is wrong with the votes or the repository, before any work starts.
    """
    from labelwright.store import Repository, fingerprint, read_items

    table = read_items(votes)
    _check_columns(table, {"item": item, "annotator": annotator, "label": label}, Path(votes).name)
    names = [item, annotator, label]
    cast = table.select(names).rename_columns(["item", "annotator", "label"])
    read = Votes.from_table(cast)
    truth = None if gold is None else read_items(gold)
    if truth is not None:
        _check_columns(truth, {"item": "item", "label": "label"}, Path(gold or "").name)
    found = aggregate(read, method=method, gold=truth, random_state=seed, progress=progress, **options)
    name = Path(votes).resolve().name
    repo = Repository.open_or_create(
        out or Path((name.split(".")[0] or name) + ".labels"), fingerprint=fingerprint(table), source=name,
        space={"classes": [str(c) if not isinstance(c, int) else c for c in found.space.classes], "votes": names},
    )  # fmt: skip
    folder = repo.write_audit(found.files())
    repo.append(
        _events(found, read, folder.name), message=_message(found, folder.name), source=f"aggregate {folder.name}"
    )
    return FileAggregation(found, repo, folder)


def _message(found: Aggregation, number: str) -> str:
    return f"aggregation {number}: {found.items.num_rows:,} labels by {found.method} from {found.settings['votes']:,} votes"


def _events(found: Aggregation, votes: Votes, number: str) -> pa.Table:
    """The votes, the same ids whenever they come again, and the labels of this aggregation."""
    import pyarrow as pa

    from labelwright.store.events import event_ids, json_values

    says = np.flatnonzero(votes.label >= 0)
    keys, names = pa.array(votes.items).cast(pa.string()), pa.array(votes.annotators).cast(pa.string())
    classes = json_values(votes.space.classes)
    item, who = keys.take(pa.array(votes.item[says])), names.take(pa.array(votes.annotator[says]))
    value = classes.take(pa.array(votes.label[says]))
    n = len(keys)
    source = f"aggregate {number}"
    label = json_values(found.items["label"].to_pylist())
    said = {
        "event_id": event_ids("vote", item, who, value),
        "item": item,
        "source": who,
        "kind": pa.repeat("vote", len(says)),
        "value": value,
        "probability": pa.nulls(len(says), pa.float64()),
    }
    made = {
        "event_id": event_ids(source, keys),
        "item": keys,
        "source": pa.repeat(source, n),
        "kind": pa.repeat("import", n),
        "value": label,
        "probability": pa.array(np.asarray(found.items["probability"], dtype=np.float64)),
    }
    return pa.concat_tables([pa.table(said), pa.table(made)])


def _check_columns(table: pa.Table, names: dict[str, str], file: str) -> None:
    for role, name in names.items():
        if name not in table.column_names:
            close = nearest(name, table.column_names)
            raise ColumnError(
                found=f"no column {name!r} in {file}",
                expected=f"the column of the {role}; there are {', '.join(map(repr, table.column_names[:10]))}",
                fix=f"name it with --{role}" + (f", such as --{role} {close[0]!r}" if close else ""),
            )
