"""`audit_values`: which given numbers are wrong, how likely that is, and what they should rather be."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from labelwright.auditing._inputs import item_keys
from labelwright.auditing.flags import expected_f1_cut
from labelwright.auditing.parts import PartAudit
from labelwright.auditing.values.inputs import (
    check_together,
    describe,
    fenced,
    read_predictions,
    read_values,
    together,
    units_of,
)
from labelwright.auditing.values.model import ValueFit, judge
from labelwright.auditing.values.predictions import out_of_fold_values
from labelwright.errors import LabelwrightWarning, check_whole

PERFECT, WEAK = 0.01, 0.75  # median residual over median deviation below / above which the user is told


def audit_values(
    values: Any,
    predictions: Any = None,
    features: Any = None,
    *,
    items: Any = None,
    groups: Any = None,
    estimator: Any = None,
    n_folds: int = 5,
    n_neighbours: int = 20,
    random_state: int = 0,
    progress: Any = None,
) -> PartAudit:
    """Audit given numbers: how likely each is right, which to look at, and what they should rather be.

    Args:
        values: N numbers in any column type; missing ones (None, NaN) are predicted and never flagged.
        predictions: (N,) or (N, M) predictions of M models that have not seen the item's value. None: made here.
        features: what the items look like (vectors, texts, a table, images), as in `audit`. At least one of the two.
        items: N distinct keys; default: positions.
        groups: (N,) items of one group are held out together and are no neighbours of each other.
        estimator: a scikit-learn regressor for the predictions made here. Default: ridge, and for tables of few columns
            gradient boosting beside it.
        n_folds, n_neighbours, random_state: folds, size of a neighbourhood, seed.
        progress: called as progress(step, done, total).

    Returns:
        PartAudit with what="values", one part per item: item, row, given, suggested, residual (given - predicted), spread
        (scale of the noise of such an item, NaN where missing), factor (the unit mistake that explains
        the value, else NaN), quality, problem ("unit?"; "outlier": further out than nearly all values; "mismatch":
        an ordinary value, but not for this item; "" where not flagged), is_issue (best expected F1).

    Raises:
        LabelError: values that are no finite numbers, all equal, or fewer than 10.
        DataError: predictions, features or groups that do not fit.   OptionError: options that exclude each other.

    Warns:
        LabelwrightWarning: predictions too good to be out of sample, or that know nothing.

    >>> x = np.linspace(0, 1, 200).reshape(-1, 1)
    >>> y = 5 * x.ravel() + np.sin(50 * x.ravel()) / 9
    >>> y[[20, 90]] = 4.0, 0.1
    >>> audit_values(y, features=x).issues["row"].to_pylist()
    [20, 90]
    """
    check_whole("random_state", random_state, 0)
    check_whole("n_folds", n_folds, 2)
    check_whole("n_neighbours", n_neighbours, 1)
    y = read_values(values)
    keys, given = item_keys(items, len(y)), read_predictions(predictions, len(y))
    check_together(y, given, features, groups, estimator)
    progress = progress or _silent
    vectors, neighbours = describe(features, len(y), n_neighbours, groups, random_state, progress)
    units = units_of(y[~np.isnan(y)])
    if given is None:
        options = {"groups": together(groups, vectors.search), "estimator": estimator, "n_folds": n_folds}
        options |= {"random_state": random_state, "progress": progress}
        z = (y - units[0]) / units[1]
        good, factor, _ = judge(y, units, out_of_fold_values(vectors.model, fenced(z), **options), neighbours)
        believed = np.where(np.isnan(factor), np.where(good >= 0.5, z, np.nan), (y / factor - units[0]) / units[1])
        predicted = out_of_fold_values(vectors.model, believed, fold_by=z, **options)
        how = f"out of fold, {n_folds} folds, {'default' if estimator is None else repr(estimator)}"
    else:
        predicted, how = (given - units[0]) / units[1], "given"
    good, factor, fit = judge(y, units, predicted, neighbours)
    parts = _table(y, keys, units, good, factor, fit)
    settings = {
        "predictions": how, "features": None if vectors is None else f"{vectors.kind}, {vectors.model.shape[1]} columns",
        "n_neighbours": n_neighbours, "n_folds": n_folds, "random_state": random_state, "goal": "expected F1",
        "bad_share": fit.bad_share, "degrees_of_freedom": fit.tail,
    }  # fmt: skip
    return PartAudit(
        "values", keys, good, parts, _notes(y, given, fit.prediction * units[1] + units[0], parts), settings
    )


def _table(
    y: np.ndarray, keys: np.ndarray, units: tuple[float, float], good: np.ndarray, factor: np.ndarray, fit: ValueFit
) -> Any:
    """The parts: one row per item."""
    import pyarrow as pa

    centre, scale = units
    is_issue, prediction = expected_f1_cut(1 - good), fit.prediction * scale + centre
    factor = np.where(is_issue, factor, np.nan)
    off = np.abs(y - centre) / scale
    far = off > 3 * max(
        1.0, np.nanpercentile(off, 90) / 1.645
    )  # three deviations of a normal with that 90th percentile
    problem = np.where(~is_issue, "", np.where(~np.isnan(factor), "unit?", np.where(far, "outlier", "mismatch")))
    columns = {
        "item": keys, "row": np.arange(len(y)), "given": y, "suggested": np.where(np.isnan(factor), prediction, y / factor),
        "residual": y - prediction, "spread": fit.scale * fit.skew.mean() * scale, "factor": factor, "quality": good,
        "problem": problem, "is_issue": is_issue,
    }  # fmt: skip
    return pa.table({name: pa.array(column) for name, column in columns.items()})


def _notes(y: np.ndarray, given: np.ndarray | None, prediction: np.ndarray, parts: Any) -> list[str]:
    """What the user should know; also as warnings: predictions that are too good, or that know nothing."""
    known = ~np.isnan(y)
    typical, loud = float(np.median(np.abs(y[known] - np.median(y[known])))) or float(y[known].std()), []
    best = np.inf if given is None else np.median(np.abs(y[known, None] - given[known]), axis=0).min() / typical
    if best < PERFECT:
        loud.append(
            f"half of the predictions are within {best:.2%} of the values' typical deviation, which is implausibly perfect: a "
            "model must not have seen an item's value when it predicts it. Use out-of-fold predictions"
        )
    left = float(np.median(np.abs(y[known] - prediction[known]))) / typical
    if left > WEAK:
        loud.append(
            f"the predictions leave {left:.0%} of the values' deviation from their median unexplained: under so weak a model a "
            "wrong value looks like a right one. Take the flags as an order to look in, and do not trust their number"
        )
    for note in loud:
        warnings.warn(note, LabelwrightWarning, stacklevel=3)
    factor = parts["factor"].to_numpy()
    found, count = np.unique(factor[~np.isnan(factor)], return_counts=True)
    quiet = [f"{k} values look like right ones times {c:g}: was a unit mixed up?" for c, k in zip(found, count)]
    if not known.all():
        quiet.append(f"{int((~known).sum())} items have no value; they are predicted but never flagged")
    return loud + quiet


def _silent(step: str, done: int, total: int) -> None:
    """No progress wanted."""
