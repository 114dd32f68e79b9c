"""From a file of votes to labels in a label repository."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds.aggregation import Aggregation
from labelwright.crowds.multi_label import MultiAggregation, aggregate_multi
from labelwright.crowds.streamed import StreamedAggregation, aggregate_rows
from labelwright.crowds.verb import aggregate
from labelwright.errors import ColumnError, DataError, LabelwrightError, OptionError, nearest
from labelwright.labels import LabelSpace, Votes

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.store import Repository


LARGE = 20_000_000
"""Votes above which a Parquet or Arrow file is read in passes."""


@dataclass(frozen=True)
class FileAggregation:
    """aggregation: the result.   repository, folder: where it was written."""

    aggregation: Aggregation | MultiAggregation | StreamedAggregation
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
    pred_probs: str | os.PathLike[str] | None = None,
    features: str | os.PathLike[str] | None = None,
    history: str | os.PathLike[str] | None = None,
    multi: bool = False,
    ordered: str | Sequence[Any] | None = None,
    engine: str | None = None,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> FileAggregation:
    """Aggregate a table of votes on disk, and write the result into a label repository.

    The votes go into its events, each once, and so do the labels, with their probability: `labelwright show` tells of an item
    who voted what. Votes that are read in passes stay in their file; the labels go into the events.

    Args:
        votes: any table that `store.read_items` reads, a vote per row; in passes, what `stream.open_rows` reads.
        item, annotator, label: its columns.   method, seed, progress, options: as in `aggregate`.
        gold: a table with the columns item and label.   history: a table with annotator, votes and skill.
        pred_probs, features: a table with a column item and numbers in the others (probabilities: a column per class, called
            like it), or an .npy file with a row per item, in the order in which the items first occur among the votes.
        multi: an annotator may see several classes in an item: in one cell, "a|b", or one per row.
        ordered: the classes from low to high, names or one text with commas, or "sorted" (`LabelSpace.in_order`); "auto" then
            mixes the ordinal model in.
        engine, workers: read the votes in passes, as in `aggregate_rows`; also where there are more than 20 million.
        out: repository; default: the name of the file with ".labels", here.

    Raises:
        LabelwrightError: what is wrong with the votes or the repository, before any work starts.
    """
    from labelwright.store import Repository, fingerprint, read_items

    _check_together(multi, engine, ordered, pred_probs, features, gold, history)
    names = [item, annotator, label]
    name = Path(votes).resolve().name
    where = out or Path((name.split(".")[0] or name) + ".labels")
    if engine is not None or workers is not None or _many(Path(votes)):
        _check_together(multi, "threads", ordered, pred_probs, features, gold, history)
        return _in_passes(votes, names, method, gold, engine, workers, Path(where), seed, progress, options)
    table = read_items(votes)
    _check_columns(table, {"item": item, "annotator": annotator, "label": label}, Path(votes).name)
    cast = table.select(names).rename_columns(["item", "annotator", "label"])
    found: Aggregation | MultiAggregation
    if multi:
        found = aggregate_multi(one_per_row(cast), random_state=seed, **options)
        labels = found.items["classes"].to_pylist()
        read = None
    else:
        read = Votes.from_table(cast, None if ordered is None else LabelSpace.in_order(ordered, cast["label"]))
        truth = None if gold is None else read_items(gold)
        if truth is not None:
            _check_columns(truth, {"item": "item", "label": "label"}, Path(gold or "").name)
        options |= {} if history is None else {"history": read_items(history)}
        options |= {} if pred_probs is None else {"pred_probs": beside(pred_probs, read, read.space)}
        options |= {} if features is None else {"features": beside(features, read, None)}
        found = aggregate(read, method=method, gold=truth, random_state=seed, progress=progress, **options)
        labels = found.items["label"].to_pylist()
    repo = Repository.open_or_create(
        where, fingerprint=fingerprint(table), source=name,
        space={"classes": [str(c) if not isinstance(c, int) else c for c in found.space.classes], "votes": names},
    )  # fmt: skip
    folder = repo.write_audit(found.files())
    parts = [] if read is None else [_votes_said(read)]
    probability = None if multi else np.asarray(found.items["probability"], dtype=np.float64)
    parts.append(_labels_made(found.items["item"], labels, probability, folder.name))
    repo.append(_joined(parts), message=_message(found, folder.name), source=f"aggregate {folder.name}")
    return FileAggregation(found, repo, folder)


def _check_together(multi: bool, engine: str | None, *others: Any) -> None:
    """What several classes per item, and passes, do not go with."""
    named = dict(zip(("ordered", "pred_probs", "features", "gold", "history"), others))
    given = [name for name, value in named.items() if value is not None]
    if multi and given:
        raise OptionError(
            found=f"{' and '.join(given)} with several classes per item",
            expected="the votes alone",
            fix="leave them out",
        )
    given = [name for name in given if name != "gold"]
    if engine is not None and (multi or given):
        raise OptionError(
            found=f"an engine with {' and '.join(given or ['multi'])}",
            expected="votes of one class each, and gold if there is any",
            fix="leave engine and workers out: what fits into memory needs none; of more votes aggregate parts of the items",
        )


def _many(votes: Path) -> bool:
    """Whether a file says, without being read, that it has more votes than memory should hold."""
    from labelwright.stream import open_rows

    suffixes = (".parquet", ".pq", ".arrow", ".feather", ".lance")
    if not votes.exists() or (votes.is_file() and votes.suffix.lower() not in suffixes):
        return False
    try:
        return len(open_rows(votes)) > LARGE
    except LabelwrightError:
        return False  # the reader of tables says what is wrong


def _in_passes(
    votes: str | os.PathLike[str], names: list[str], method: str, gold: Any, engine: str | None, workers: int | None,
    where: Path, seed: int, progress: Any, options: dict[str, Any],
) -> FileAggregation:  # fmt: skip
    import pyarrow.parquet as pq

    from labelwright.store import Repository, read_items
    from labelwright.stream import open_rows

    rows = open_rows(votes)
    repo = Repository.open_or_create(
        where, fingerprint=rows.fingerprint(), source=Path(votes).name, space={"votes": names}
    )
    truth = None if gold is None else read_items(gold)
    if truth is not None:
        _check_columns(truth, {"item": "item", "label": "label"}, Path(gold).name)
    known = None if truth is None else dict(zip(truth["item"].to_pylist(), truth["label"].to_pylist()))
    kept = repo.path / "cache" / f"votes-{rows.fingerprint()[:16]}-{method}-{seed}"
    found = aggregate_rows(
        rows, kept, item=names[0], annotator=names[1], label=names[2], method=method, gold=known, random_state=seed,
        engine=engine or "threads", workers=workers, progress=progress, **options,
    )  # fmt: skip
    folder = repo.write_audit(found.files())
    for part in pq.ParquetFile(folder / "items.parquet").iter_batches(
        1 << 20, columns=["item", "label", "probability"]
    ):
        made = _labels_made(part["item"], part["label"].to_pylist(), np.asarray(part["probability"]), folder.name)
        repo.append(made, message=_message(found, folder.name), source=f"aggregate {folder.name}")
    shutil.rmtree(kept)
    return FileAggregation(replace(found, folder=folder), repo, folder)


def _message(found: Aggregation | MultiAggregation | StreamedAggregation, number: str) -> str:
    told = found.summary()
    return (
        f"aggregation {number}: {told['items']:,} labels by {told['method']} from {told['settings']['votes']:,} votes"
    )


def _votes_said(votes: Votes) -> pa.Table:
    """The votes as events, the same ids whenever they come again."""
    import pyarrow as pa

    from labelwright.store.events import event_ids, json_values

    says = np.flatnonzero(votes.label >= 0)
    keys, names = pa.array(votes.items).cast(pa.string()), pa.array(votes.annotators).cast(pa.string())
    item, who = keys.take(pa.array(votes.item[says])), names.take(pa.array(votes.annotator[says]))
    value = json_values(votes.space.classes).take(pa.array(votes.label[says]))
    return pa.table(
        {
            "event_id": event_ids("vote", item, who, value),
            "item": item,
            "source": who,
            "kind": pa.repeat("vote", len(says)),
            "value": value,
            "probability": pa.nulls(len(says), pa.float64()),
        }
    )


def _labels_made(items: Any, labels: list[Any], probability: np.ndarray | None, number: str) -> pa.Table:
    """The labels of this aggregation as events."""
    import pyarrow as pa

    from labelwright.store.events import event_ids, json_values

    keys, source = items.cast(pa.string()), f"aggregate {number}"
    keys = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    return pa.table(
        {
            "event_id": event_ids(source, keys),
            "item": keys,
            "source": pa.repeat(source, len(keys)),
            "kind": pa.repeat("import", len(keys)),
            "value": json_values(labels),
            "probability": pa.nulls(len(keys), pa.float64()) if probability is None else pa.array(probability),
        }
    )


def _joined(parts: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(parts)


def one_per_row(votes: pa.Table) -> pa.Table:
    """Votes with several classes in a cell ("a|b", or lists) as rows with one class each; an empty cell stays one row."""
    import pyarrow as pa

    column = votes["label"]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        cells = [
            None if cell is None else [p.strip() for p in cell.split("|") if p.strip()] for cell in column.to_pylist()
        ]
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        cells = column.to_pylist()
    else:
        return votes
    place = np.repeat(np.arange(len(cells)), [max(len(cell or ()), 1) for cell in cells])
    label = [name for cell in cells for name in (cell or [None])]
    return votes.take(pa.array(place)).set_column(2, "label", pa.array(label))


def beside(path: str | os.PathLike[str], votes: Votes, space: LabelSpace | None) -> np.ndarray:
    """(N, D) numbers of the items of the votes, from a table with a column item, or an .npy file in their order.

    space: the columns are its classes, by name. An item that the table lacks gets a row of NaN.

    Raises:
        ColumnError: no column item, or a class without a column.   DataError: another number of rows, no item of the votes.
    """
    from labelwright.store import read_items, read_matrix

    name = Path(path).name
    if Path(path).suffix.lower() in (".npy", ".npz"):
        matrix = read_matrix(path)
        if len(matrix) != votes.n_items:
            raise DataError(
                found=f"{len(matrix):,} rows in {name} for {votes.n_items:,} items with votes",
                expected="a row per item, in the order in which the items first occur among the votes",
                fix="write a table with a column item instead",
            )
        return matrix
    table = read_items(path)
    _check_columns(table, {"item": "item"}, name)
    columns = [column for column in table.column_names if column != "item"]
    if space is not None:
        by_name = {column: column for column in columns} | {column.removeprefix("p_"): column for column in columns}
        lacking = [str(c) for c in space.classes if str(c) not in by_name]
        if lacking:
            raise ColumnError(
                found=f"no column for the class {lacking[0]!r} in {name}",
                expected=f"a column per class; there are {', '.join(map(repr, columns[:10]))}",
                fix="call the columns like the classes",
            )
        columns = [by_name[str(c)] for c in space.classes]
    numbers = np.column_stack(
        [np.asarray(table[column].to_numpy(zero_copy_only=False), np.float64) for column in columns]
    )
    place = {str(key): i for i, key in enumerate(table["item"].to_pylist())}
    rows = np.array([place.get(str(key), -1) for key in votes.items.tolist()])
    if (rows < 0).all():
        raise DataError(
            found=f"no item of the votes in {name}", expected="the same keys in both", fix="check the column item"
        )
    return np.where(rows[:, None] >= 0, numbers[rows], np.nan)


def _check_columns(table: pa.Table, names: dict[str, str], file: str) -> None:
    for role, name in names.items():
        if name not in table.column_names:
            close = nearest(name, table.column_names)
            raise ColumnError(
                found=f"no column {name!r} in {file}",
                expected=f"the column of the {role}; there are {', '.join(map(repr, table.column_names[:10]))}",
                fix=f"name it with --{role}" + (f", such as --{role} {close[0]!r}" if close else ""),
            )
