"""From a file with a column of numbers to an audit of them in a label repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing.parts import PartAudit
from labelwright.auditing.values.verb import audit_values
from labelwright.errors import ColumnError, LabelError
from labelwright.features.content import column_names, default_repository, item_content, item_vectors_of, matrix_file
from labelwright.features.content import holds_paths as _holds_paths

if TYPE_CHECKING:
    from labelwright.store import Columns, Repository


@dataclass(frozen=True)
class ValueFileAudit:
    """audit: the result.   repository, folder: where it was written.   columns: which column played which role.
    content: what the items look like, None where nothing tells."""

    audit: PartAudit
    repository: Repository
    folder: Path
    columns: Columns
    content: list[Any] | None = None


def audit_value_file(
    data: str | os.PathLike[str],
    *,
    label: str,
    id: str | None = None,
    text: str | None = None,
    image: str | None = None,
    features: str | None = None,
    predictions: str | None = None,
    group: str | None = None,
    encoder: Any = None,
    split: str | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    explain: Callable[[Columns], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> ValueFileAudit:
    """Audit a column of numbers of a data set on disk, and write the result into a label repository.

    Args:
        data: as in `audit_file`.   label: the column of numbers.
        id, text, image, group: column names; guessed when None.   features: a column, a prefix, or an .npy file.
        predictions: a column, the prefix of several, or an .npy file, of models that have not seen the item's number.
        encoder, split, out, seed, explain, progress: as in `audit_file`.
        options: as in `audit_values`: estimator, n_folds, n_neighbours.

    Raises:
        LabelwrightError: what is wrong with the input or the repository, before any work starts.
    """
    from labelwright.store import Repository, fingerprint, guess_columns, item_keys, read_items

    table = read_items(data, split=split)
    if label not in table.column_names:
        raise ColumnError(
            found=f"no column {label!r} in {Path(data).name}",
            expected=f"one of {', '.join(table.column_names[:12])}",
            fix="name the column of numbers",
        )
    made, matrix = matrix_file(predictions), matrix_file(features)
    names = [] if predictions is None or made is not None else _there(table, column_names(table, predictions))
    if names:
        made = np.column_stack([_numbers(table, name) for name in names])
    whole, table = table, table.drop_columns(names)  # what a model says is no description of the item
    columns = guess_columns(
        table, label=label, id=id, text=text, image=image, group=group,
        features=None if matrix is not None else column_names(table, features),
    )  # fmt: skip
    if explain:
        explain(columns)
    values = _numbers(table, label)
    root = Path(data) if Path(data).is_dir() else Path(data).parent
    files = {columns.image: root} if columns.image and _holds_paths(table, columns.image) else None
    keys = item_keys(table, columns.id, columns.content or (label,), files=files)
    repo = Repository.open_or_create(
        out or default_repository(data),
        fingerprint=fingerprint(whole),
        source=Path(data).name,
        space={"numbers": label},
    )
    vectors = None
    if made is None or features or encoder or columns.content:
        vectors = item_vectors_of(table, columns, matrix, root, seed, progress, encoder, repo.path / "cache")
    groups = None if columns.group is None else np.asarray(table[columns.group].to_pylist())
    result = audit_values(
        values, made, vectors, items=keys, groups=groups, random_state=seed, progress=progress, **options
    )  # fmt: skip
    result.settings["columns"] = list(columns.explanation)
    return ValueFileAudit(result, repo, repo.write_audit(result.files()), columns, item_content(table, columns, root))


def _there(table: Any, names: Any) -> list[str]:
    names = [names] if isinstance(names, str) else list(names)
    if names[0] not in table.column_names:
        raise ColumnError(
            found=f"no column that is called {names[0]!r} or begins so",
            expected="the predictions",
            fix="name a column, the prefix of several, or an .npy file",
        )
    return names


def _numbers(table: Any, name: str) -> np.ndarray:
    """A column as float64, missing ones NaN."""
    import pyarrow as pa

    kind = table[name].type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise LabelError(
            found=f"column {name!r} of type {kind}",
            expected="numbers",
            fix="leave --numbers out for classes, or write the column as numbers",
        )
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)
