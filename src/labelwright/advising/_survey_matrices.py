"""What an array of two or more dimensions holds: pictures, vectors, probabilities, counts, votes, edges."""

from __future__ import annotations

import numpy as np

from labelwright.advising import _words as w
from labelwright.advising.evidence import Survey

MOST = 1000  # classes of a table of votes

Arrays = dict[str, np.ndarray]


def many_dimensional(free: Arrays, survey: Survey, name: str, names: dict[int, tuple[str, ...]]) -> None:
    array, words = free[name], set(w.plain(name).split("_"))
    n = len(array) if array.ndim else 0
    if array.ndim >= 3:
        if array.ndim in (3, 4) and array.dtype == np.uint8:
            shape = " x ".join(map(str, array.shape[1:]))
            survey.add("images", name, f"array {name!r}: {n:,} pictures of {shape} bytes", n, free.pop(name))
        return
    if array.ndim != 2 or not array.size:
        return
    if words & {"edges", "edge", "index"} and len(array) == 2 and array.dtype.kind in "iu":
        how = f"array {name!r}: {array.shape[1]:,} edges between numbered nodes"
        known = [e.n for e in survey.evidence if e.kind in ("hard labels", "features")]
        survey.add("graph", name, how, max([int(array.max()) + 1, *known]), free.pop(name).astype(np.int64))
    elif array.dtype.kind == "f":
        _floats(free, survey, name, names)
    elif array.dtype.kind in "iub":
        _whole_numbers(free, survey, name, names, words)


def _floats(free: Arrays, survey: Survey, name: str, names: dict[int, tuple[str, ...]]) -> None:
    array = free.pop(name)
    n, k = array.shape
    head = array[:10_000].astype(np.float64)
    near = 2e-3  # half precision rounds that far
    if k > 1 and head.min() >= -near and head.max() <= 1 + near and (np.abs(head.sum(1) - 1) < near).mean() > 0.99:
        how = f"array {name!r}: rows of {k} numbers that sum to 1"
        survey.add("pred_probs", name, how, n, array, classes=names.get(k, tuple(range(k))), role="predicted")
    else:
        survey.add("features", name, f"array {name!r}: {k} numbers per item", n, array)


def _whole_numbers(free: Arrays, survey: Survey, name: str, names: dict[int, tuple[str, ...]], words: set[str]) -> None:
    array = free[name].astype(np.int64)
    n, k = array.shape
    binary = array.min() >= 0 and array.max() <= 1
    known = tuple(names.get(k, tuple(range(k))))
    if words & {"x", "features", "feat", "data", "pixels"}:
        survey.add("features", name, f"array {name!r}: {k} whole numbers per item", n, free.pop(name))
    elif binary and words & {"y", "label", "labels", "target", "targets", "tags"}:
        from scipy.sparse import csr_array

        if (array.sum(1) == 1).all() and k > 1:
            how = f"array {name!r}: one 1 in each row of {k} (one-hot)"
            survey.add("hard labels", name, how, n, free.pop(name).argmax(1), classes=known, role=w.role(name))
            return
        how = f"array {name!r}: 0 or 1 for each of {k} classes"
        survey.add("multi-labels", name, how, n, csr_array(free.pop(name)), classes=known)
    elif binary:
        return
    elif array.min() >= 0 and words & w.COUNTS and (words & {"count", "counts"} or _even(array.sum(1))):
        reviewed = "votes" in words and any(e.n > n for e in survey.of("hard labels"))
        how = f"array {name!r}: how many people gave each of {k} answers, about {np.median(array.sum(1)):.0f} per item"
        called = names.get(-1, ())
        known = called if len(called) == k else known
        how += "; of the reviewed items only" if reviewed else ""
        survey.add("soft labels", name, how, n, array, classes=known)
        del free[name]
    else:
        _class_ids(free, survey, name, names, words)


def _class_ids(free: Arrays, survey: Survey, name: str, names: dict[int, tuple[str, ...]], words: set[str]) -> None:
    """Rows of class ids: ranked guesses, votes of rules, or votes of annotators."""
    array = free[name].astype(np.int64)
    (n, k), least = array.shape, int(array.min())
    size = int(array.max()) + 1
    classes = names.get(min((s for s in names if s >= size), default=size), tuple(range(size)))
    if least < -1:
        return
    if words & w.RULES and least == -1:
        how = f"array {name!r}: votes of {k} rules, -1 where a rule does not fire"
        survey.add("rules", name, how, n, array, classes=classes)
    elif _ranked(array) or words & w.PREDICTED:
        how = f"array {name!r}: up to {k} classes per item, best first: a model's ranked guesses"
        survey.add("pred_probs", name, how, n, array, classes=classes, role="predicted", detail={"ranked": True})
    elif size <= MOST and words & (w.RATINGS | {"votes", "answers", "labels", "annotations", "crowd", "workers"}):
        how = f"array {name!r}: a column per annotator ({k})" + (", -1 where one gave no answer" if least < 0 else "")
        data = np.repeat(np.arange(n), k), np.tile(np.arange(k), n), array.reshape(-1)
        survey.add("votes", name, how, n, data, classes=classes, detail={"annotators": k})
    else:
        return
    del free[name]


def _even(sums: np.ndarray) -> bool:
    """Whether about as many people answered on every item, as in a table of counts; class ids have no such sums."""
    return bool(np.median(sums) >= 2 and sums.std() < 0.35 * sums.mean())


def _ranked(array: np.ndarray) -> bool:
    """Whether every row names different classes, gaps (-1) last."""
    head = array[:10_000]
    if array.shape[1] < 2 or head.min() < -1:
        return False
    ordered = np.sort(head, axis=1)
    repeats = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    gaps_last = (np.diff((head < 0).astype(int), axis=1) >= 0).all()
    return bool(not repeats.any() and gaps_last and len(head) >= 10)
