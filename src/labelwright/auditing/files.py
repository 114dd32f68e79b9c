"""From a file on disk to an audit in a label repository."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import labelwright
from labelwright.auditing._file_source import probabilities, read_source
from labelwright.auditing._inputs import Inputs, read_inputs
from labelwright.auditing._record import record_audit
from labelwright.auditing._sources import predict
from labelwright.auditing.result import Audit
from labelwright.auditing.streamed import as_rows, in_memory
from labelwright.auditing.streamed.source import match
from labelwright.auditing.verb import audit
from labelwright.errors import LabelwrightWarning, OptionError
from labelwright.features.content import (
    default_repository,
    holds_paths,
    item_content,
    item_vectors_of,
)
from labelwright.labels import HardLabels, LabelSpace
from labelwright.stream import Rows
from labelwright.stream.rows import digest

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.features import ItemVectors
    from labelwright.store import Columns, Repository


@dataclass(frozen=True)
class FileAudit:
    """audit: the result.   repository: where it was written.   folder: this audit's own folder in it.
    columns: which column played which role, with `explanation` for people.
    content: what the items look like, texts, image paths or rows; None where only predictions were given."""

    audit: Audit
    repository: Repository
    folder: Path
    columns: Columns
    content: list[Any] | None = None


def audit_file(
    data: str | os.PathLike[str],
    *,
    label: str | None = None,
    id: str | None = None,
    text: str | None = None,
    image: str | None = None,
    features: str | None = None,
    pred_probs: str | None = None,
    multi: bool = False,
    group: str | None = None,
    reviews: str | os.PathLike[str] | None = None,
    hierarchy: str | os.PathLike[str] | None = None,
    ordered: str | Sequence[Any] | None = None,
    encoder: Any = None,
    train: bool = True,
    split: str | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    review_size: int = 200,
    engine: str | None = None,
    workers: int | None = None,
    explain: Callable[[Columns], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> FileAudit:
    """Audit a data set on disk and write the result into a label repository.

    Args:
        data: CSV, TSV, JSONL, Parquet, Arrow, a Hugging Face data set folder, or an image folder (class per folder).
        label, id, text, image, group: column names; guessed when None.
        features, pred_probs: a column, the prefix of several columns, or a .npy/.npz file with one row per item. pred_probs
            may also be a path or URL of what `stream.open_rows` opens: Parquet, Arrow, Lance, top-k rows, folders of
            shards. Above 67 million entries, also in columns of Parquet or Arrow data, they are read in passes, what is
            finished is kept in the repository's cache until the end, and the items' content counts only where `features` or
            `encoder` ask for it.
        multi: a cell of the label column holds several classes.
        encoder: what turns texts or images into vectors, a name, a path or an `Encoder`; its vectors are kept in the repository.
        train: False leaves the out-of-fold predictions out, so that the neighbours alone speak.
        reviews: file with columns item, label and probability.   hierarchy: file with child and parent classes.
        ordered: the classes from low to high, names or one text with commas, or "sorted" (`LabelSpace.in_order`); columns of
            probabilities that do not end in the names of the classes are in this order. With it, as with a hierarchy, the
            costliest errors come first.
        split: which part of a data set with several.   out: repository; default: DATA's name with ".labels", here.
        seed: of folds and of the review order.   review_size: items in review_sample.parquet.
        engine, workers: as in `audit`.
        explain: called with the columns once they are known.   progress: called as progress(step, done, total).
        options: as in `audit`: budget, precision, recall, rank_by, estimator, n_neighbours, n_folds, level.

    Raises:
        LabelwrightError: what is wrong with the input or the repository, before any work starts.
    """
    from labelwright.store import (
        Repository,
        fingerprint,
        item_keys,
        label_lists,
        read_reviews,
    )

    source = read_source(
        data, label=label, id=id, text=text, image=image, features=features, pred_probs=pred_probs, multi=multi, group=group,
        split=split, wanted=engine is not None or workers is not None,
    )  # fmt: skip
    table, columns, rows = source.table, source.columns, source.rows
    assert columns.label is not None  # read_source says so
    if explain:
        explain(columns)
    root = Path(data) if Path(data).is_dir() else Path(data).parent
    files = {columns.image: root} if columns.image and holds_paths(table, columns.image) else None
    plain = (
        source.in_passes and columns.id is None and not columns.content
    )  # nothing but labels: their places are their keys
    keys: Any = None
    if not plain:
        keys = item_keys(table, columns.id, columns.content or (columns.label, *columns.pred_probs), files=files)
    labels: Any = label_lists(table, columns) if columns.multi else table[columns.label]
    p = probabilities(table, columns.pred_probs) if rows is None else rows if source.in_passes else in_memory(rows)
    space = _space(hierarchy, ordered, labels, columns.multi)
    with warnings.catch_warnings():  # the audit below says it again
        warnings.simplefilter("ignore", LabelwrightWarning)
        if rows is not None and source.in_passes and not columns.multi:
            inputs = Inputs(_keys(keys, table.num_rows), match(labels, as_rows(rows, labels) or rows, space)[0], None)
        else:
            inputs = read_inputs(labels, None if source.in_passes else p, space=space, items=keys, multi=columns.multi)
    answers = None if reviews is None else read_reviews(reviews)
    repo = Repository.open_or_create(
        out or default_repository(data),
        fingerprint=fingerprint(table),
        source=Path(data).name,
        space=json.loads(inputs.space.to_json()),
    )
    vectors = None
    if not source.in_passes or features is not None or encoder is not None:
        vectors = item_vectors_of(table, columns, source.matrix, root, seed, progress, encoder, repo.path / "cache")
    made: dict[str, Any] = {}
    groups = None if columns.group is None else np.asarray(table[columns.group].to_pylist())
    if p is None and vectors is not None and train:
        p = _cached(repo, inputs, vectors, groups, columns, options, seed, progress)
        n_folds, name = options.pop("n_folds", 5), _name(options.pop("estimator", None))
        made = {"n_folds": n_folds, "pred_probs": f"out of fold, {n_folds} folds, {name}"}
    kept = None
    if rows is not None and source.in_passes:
        kept = repo.path / "cache" / f"passes-{_unlike(rows, inputs, vectors, seed)}"
        options |= {"engine": engine or "threads", "workers": workers, "checkpoint": kept}
    rank_by = options.pop("rank_by", "error" if space is None else "cost")
    result = audit(
        inputs.labels, p, vectors, reviews=answers, items=inputs.items, multi=columns.multi, train=train or p is not None,
        rank_by=rank_by, random_state=seed, progress=progress, **options,
    )  # fmt: skip
    result.settings.update(made, columns=list(columns.explanation))
    result.notes.extend(note for note in inputs.notes if note not in result.notes)
    content = item_content(table, columns, root)
    written = result.files(
        content=content, table=_told_table(table, columns), label=columns.label,
        name=Path(data).name, root=root, n_review=review_size, seed=seed,
    )  # fmt: skip
    folder = repo.write_audit(written)
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    record_audit(repo, result, audit=folder.name, reviews=answers)
    return FileAudit(result, repo, folder, columns, content)


def _keys(keys: Any, n: int) -> np.ndarray:
    return np.arange(n) if keys is None else np.asarray(keys)


def _unlike(rows: Rows, inputs: Inputs, vectors: ItemVectors | None, seed: int) -> str:
    """A name for parts of a run, other for all that they depend on."""
    assert isinstance(inputs.labels, HardLabels)
    near = () if vectors is None else (np.ascontiguousarray(vectors.search),)
    version = f"{labelwright.__version__} {seed}"
    return digest(rows.fingerprint(), inputs.space.to_json(), inputs.labels.ids, version, *near)


def _name(estimator: Any) -> str:
    return "logistic regression" if estimator is None else repr(estimator)


def _space(
    hierarchy: str | os.PathLike[str] | None, ordered: str | Sequence[Any] | None, labels: Any, multi: bool
) -> LabelSpace | None:
    """How the classes relate, if anybody said so."""
    if ordered is not None:
        if hierarchy is not None or multi:
            raise OptionError(
                found=f"ordered classes with {'a hierarchy' if hierarchy is not None else 'several labels per item'}",
                expected="one structure of the classes, and one class per item",
                fix="leave one of the two out",
            )
        return LabelSpace.in_order(ordered, labels)
    if hierarchy is None:
        return None
    from labelwright.auditing.hierarchy import read_hierarchy

    classes = LabelSpace.from_labels(labels).classes
    return LabelSpace(classes, structure="hierarchy", parents=read_hierarchy(Path(hierarchy), classes).edges)


def _cached(
    repo: Repository,
    inputs: Inputs,
    vectors: ItemVectors,
    groups: Any,
    columns: Columns,
    options: dict[str, Any],
    seed: int,
    progress: Any,
) -> np.ndarray:
    """Out-of-fold predictions, kept in the repository under a hash of all they depend on."""
    n_folds, estimator = options.get("n_folds", 5), options.get("estimator")
    depends = {
        "version": labelwright.__version__,
        "fingerprint": repo.head["fingerprint"],
        "columns": [columns.label, columns.text, columns.image, columns.features, columns.tabular, columns.group],
        "items": hashlib.blake2b(np.ascontiguousarray(vectors.search).tobytes(), digest_size=16).hexdigest(),
        "n_folds": n_folds,
        "estimator": repr(estimator),
        "seed": seed,
    }
    key = hashlib.blake2b(json.dumps(depends, sort_keys=True).encode(), digest_size=16).hexdigest()

    def make() -> np.ndarray:
        return predict(inputs, vectors, groups, estimator, n_folds, seed, progress or (lambda *_: None))

    return repo.cached(f"pred_probs-{key}", make)


def _told_table(table: pa.Table, columns: Columns) -> pa.Table:
    """What the nutrition label tells of: all columns but probabilities, and of many feature columns none."""
    hidden = {*columns.pred_probs, *(columns.features if len(columns.features) > 50 else ())}
    return table.select([name for name in table.column_names if name not in hidden])
