"""`relabel`: what one or several teachers say about the items, calibrated where some labels are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.annotators.teachers import Items, LoadedTeacher, load_teacher, map_classes
from labelwright.errors import DataError, LabelError, OptionError, check_option, check_whole
from labelwright.labels import HardLabels, LabelSpace, SoftLabels
from labelwright.labels.check import check_pred_probs

if TYPE_CHECKING:
    from labelwright.store.crop_label_files import Parts

LEAST_LABELLED = 50  # items below which neither temperatures nor weights are fitted
ENSEMBLES = ("equal", "learned")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Relabelling:
    """What the teachers said.

    labels: soft labels of all items.   teachers: their names.   temperatures: (M,) by which each was softened.
    weights: (M,) share of each in the mean.   accuracy: (M,) on the labelled items, NaN without any.
    items_per_second: of all teachers together, in the batches of this run.   notes: what a reader should know.
    """

    labels: SoftLabels
    teachers: tuple[str, ...]
    temperatures: np.ndarray
    weights: np.ndarray
    accuracy: np.ndarray
    items_per_second: float
    notes: tuple[str, ...] = ()


def relabel(
    items: Items,
    teacher: Any,
    *,
    labels: Any = None,
    classes: Sequence[Any] | LabelSpace | None = None,
    class_map: Mapping[Any, Any] | None = None,
    ensemble: str | Sequence[float] = "equal",
    temperature: float | str = "auto",
    topk: int | None = None,
    batch_size: int = 64,
    kind: str | None = None,
    device: str = "cpu",
    parts: Parts | None = None,
    progress: Progress | None = None,
) -> Relabelling:
    """Soft labels of items by one or several teachers.

    Args:
        items: (N, D) vectors, N texts, N image paths, or a data frame.
        teacher: what `load_teacher` takes, or a list of such.
        labels: `HardLabels` or (N,) class ids, -1 = unknown, by which temperatures and weights are fitted; at least 50. They
            must not be labels that the teachers were trained on.
        classes: of the labels; default: those of `labels`, else of the first teacher.   class_map: see `map_classes`.
        ensemble: "equal", "learned" (weights of the mixture that make the known labels likeliest), or a weight per teacher.
        temperature: "auto" fits one per teacher to the known labels (1 without any), or a number for all.
        topk: classes kept per item, default all.   batch_size: items per call of a teacher.
        kind: of the items, guessed when None.   device: where networks run.
        parts: where finished batches are kept, so that a run that is cut off goes on (`relabel_file` does this).
        progress: called as progress("asking the teachers", done, total).

    Raises:
        LabelError: classes that do not match.   ProbabilityError: answers that are no distributions, with the teacher's name.
        DataError: no items.   OptionError: weights or options that will not do.
    """
    from labelwright.features.items import kind_of

    check_whole("batch_size", batch_size, 1)
    n = items.num_rows if hasattr(items, "num_rows") else len(items)
    if not n:
        raise DataError(found="no items", expected="at least one", fix="pass the items to be labelled")
    kind = kind or kind_of(items)
    teachers = [
        load_teacher(t, kind=kind, device=device) for t in (teacher if isinstance(teacher, list | tuple) else [teacher])
    ]
    space = _space(classes, labels, teachers)
    check_classes(teachers, space, class_map)
    began, asked = time.perf_counter(), 0

    def ask(rows: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal asked
        batch = items.slice(rows[0], len(rows)) if hasattr(items, "slice") else items[rows[0] : rows[-1] + 1]
        out = {f"p{i}": _answer(t, batch, len(rows), space, class_map) for i, t in enumerate(teachers)}
        asked += len(rows)
        if progress:
            progress("asking the teachers", int(rows[-1]) + 1, n)
        return out

    if parts is None:
        found = [ask(np.arange(s, min(s + batch_size, n))) for s in range(0, n, batch_size)]
    else:
        found = list(parts.results(ask))
    seconds = time.perf_counter() - began
    p = np.stack([np.concatenate([f[f"p{i}"] for f in found]) for i in range(len(teachers))])  # (M, N, K)
    ids = _known(labels, n, space)
    temperatures, notes = _temperatures(p, ids, temperature)
    soft = np.stack([_softened(q, t) for q, t in zip(p, temperatures)])
    weights, more = _weights(soft, ids, ensemble)
    mixed = np.einsum("m,mnk->nk", weights, np.nan_to_num(soft))
    total = np.einsum("m,mn->n", weights, ~np.isnan(soft).any(2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = mixed / np.where(total > 0, total, np.nan)[:, None]
    known = ids >= 0
    right = np.array(
        [np.nanmean(q[known].argmax(1) == ids[known]) if known.any() else np.nan for q in np.nan_to_num(p)]
    )
    return Relabelling(
        SoftLabels.from_dense(mixed, space, k=topk), tuple(t.name for t in teachers), temperatures, weights, right,
        asked / seconds if asked else 0.0, (*notes, *more),
    )  # fmt: skip


def learned_weights(
    pred_probs: np.ndarray, labels: np.ndarray, *, max_iter: int = 500, tol: float = 1e-8
) -> np.ndarray:
    """(M,) weights of the mixture of M teachers (M, N, K) that make labels (N,) likeliest, by EM from equal ones.

    The likelihood is concave in the weights, so this is the best mixture on these items. Each teacher counts at least one
    pseudo-item, so that few labels leave none out.
    """
    own = np.maximum(pred_probs[:, np.arange(len(labels)), labels], 1e-12)  # (M, N)
    weights = np.full(len(own), 1 / len(own))
    for _ in range(max_iter):
        share = weights[:, None] * own
        share /= share.sum(0)
        new = (share.sum(1) + 1) / (len(labels) + len(own))
        if np.abs(new - weights).max() < tol:
            break
        weights = new
    return weights


def _space(classes: Any, labels: Any, teachers: list[LoadedTeacher]) -> LabelSpace:
    if classes is not None:
        return classes if isinstance(classes, LabelSpace) else LabelSpace(classes)
    if isinstance(labels, HardLabels):
        return labels.space
    if teachers[0].classes is None:
        raise LabelError(
            found=f"neither classes nor names from the teacher {teachers[0].name!r}",
            expected="the classes of its columns",
            fix="pass classes=[...] in the order of the teacher's columns",
        )
    return LabelSpace(teachers[0].classes)


def check_classes(teachers: Sequence[LoadedTeacher], space: LabelSpace, class_map: Mapping[Any, Any] | None) -> None:
    """Raise `LabelError` unless the classes of every teacher go to those of the labels, before anybody is asked."""
    for teacher in teachers:
        if teacher.classes is not None:
            even = np.full((1, len(teacher.classes)), 1 / len(teacher.classes))
            map_classes(even, teacher.classes, space.classes, mapping=class_map)


def _answer(teacher: LoadedTeacher, batch: Items, n: int, space: LabelSpace, class_map: Any) -> np.ndarray:
    p = np.asarray(teacher.predict(batch))
    if p.ndim != 2 or len(p) != n:
        raise DataError(
            found=f"an answer of shape {p.shape} by {teacher.name!r} for {n} items",
            expected=f"({n}, K) probabilities",
            fix="return one row per item, in their order",
        )
    if teacher.classes is None:
        if p.shape[1] != len(space):
            raise LabelError(
                found=f"{p.shape[1]} columns by {teacher.name!r} for {len(space)} classes",
                expected="a column per class, in the order of the classes",
                fix="give the teacher an attribute `classes`, so that they are matched by name",
            )
        return np.array(check_pred_probs(p), np.float32)  # a copy: a teacher may write its next answer over this one
    return map_classes(p, teacher.classes, space.classes, mapping=class_map)


def _known(labels: Any, n: int, space: LabelSpace) -> np.ndarray:
    """(N,) class ids, -1 = unknown."""
    if labels is None:
        return np.full(n, -1)
    ids = labels.ids if isinstance(labels, HardLabels) else np.asarray(labels, np.int64)
    if len(ids) != n or ids.max(initial=-1) >= len(space):
        raise LabelError(
            found=f"{len(ids)} labels up to {ids.max(initial=-1)} for {n} items of {len(space)} classes",
            expected="a class id per item, -1 where it is unknown",
            fix="match labels and items by their keys",
        )
    return np.asarray(ids, np.int64)


def _temperatures(p: np.ndarray, ids: np.ndarray, temperature: float | str) -> tuple[np.ndarray, list[str]]:
    from labelwright.features.calibration import fit_scaling

    if not isinstance(temperature, str):
        if not temperature > 0:
            raise OptionError(
                found=f"temperature={temperature!r}", expected="a number above 0", fix="pass 1.0 or 'auto'"
            )
        return np.full(len(p), float(temperature)), []
    check_option("temperature", temperature, ("auto",))
    known = np.flatnonzero((ids >= 0) & ~np.isnan(p).any((0, 2)))
    if len(known) < LEAST_LABELLED:
        return np.ones(len(p)), [f"not calibrated: {len(known)} known labels, at least {LEAST_LABELLED} are needed"]
    found = np.array([fit_scaling(q[known], ids[known]).temperature for q in p])
    told = ", ".join(f"{t:.2f}" for t in found)
    return found, [f"calibrated on {len(known):,} known labels (temperature {told}); they must be new to the teachers"]


def _softened(p: np.ndarray, temperature: float) -> np.ndarray:
    from labelwright.features.calibration import Scaling

    return (
        p.astype(np.float64) if temperature == 1 else Scaling(temperature, np.zeros(p.shape[1]))(p).astype(np.float64)
    )


def _weights(p: np.ndarray, ids: np.ndarray, ensemble: str | Sequence[float]) -> tuple[np.ndarray, list[str]]:
    m = len(p)
    if not isinstance(ensemble, str):
        weights = np.asarray(ensemble, float)
        if weights.shape != (m,) or (weights < 0).any() or weights.sum() <= 0:
            raise OptionError(
                found=f"weights {list(ensemble)} for {m} teachers",
                expected="one of at least 0 for each",
                fix="or pass 'equal'",
            )
        return weights / weights.sum(), []
    check_option("ensemble", ensemble, ENSEMBLES)
    known = np.flatnonzero((ids >= 0) & ~np.isnan(p).any((0, 2)))
    if ensemble == "equal" or m == 1:
        return np.full(m, 1 / m), []
    if len(known) < LEAST_LABELLED:
        return np.full(m, 1 / m), [
            f"weights are equal: {len(known)} known labels, at least {LEAST_LABELLED} are needed"
        ]
    return learned_weights(p[:, known], ids[known]), []
