"""The evidence about labels in the arrays of an .npz file."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from labelwright.advising import _words as w
from labelwright.advising._survey_matrices import many_dimensional
from labelwright.advising._survey_table import SMALL, _list
from labelwright.advising.evidence import Survey, codes, matched

Arrays = dict[str, np.ndarray]


def survey_arrays(arrays: Arrays, survey: Survey, *, label: str | None) -> None:
    """Add every piece of evidence in named arrays; parts named x_train, x_test are put together first."""
    free, parts = joined(arrays)
    free = {name: a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for name, a in free.items()}
    names = class_names(free)
    if parts is not None:
        how = f"the arrays come in parts: {', '.join(dict.fromkeys(parts))}"
        survey.add("split", "names of the arrays", how, len(parts), parts)
    _split(free, survey)
    sparse(free, survey, names)
    votes(free, survey, names)
    n = _length(free, survey)
    for name in [*([label] if label in free else []), *free]:
        if name in free and free[name].ndim == 1:
            one_dimensional(free, survey, name, names, n, chosen=name == label)
    numbered(survey)
    for name in list(free):
        many_dimensional(free, survey, name, names)
    if free:
        survey.notes.append(f"not label evidence, or not recognised: {_list(free)}")


# --------------------------------------------------------------------------------------------------- putting together
def joined(arrays: Arrays) -> tuple[Arrays, np.ndarray | None]:
    """Arrays whose names differ in one word for the part (x_train, x_test) as one; and the part of each item, (N,) of str,
    None where there are no parts."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        words = w.plain(name).split("_")
        part = next((x for x in words if x in w.SPLITS), "") if len(words) > 1 else ""
        base = "_".join(x for x in words if x != part) if part else name
        groups.setdefault(base, {})[part] = array
    out: Arrays = {}
    sizes: set[tuple[tuple[str, int], ...]] = set()
    for base, found in groups.items():
        if len(found) == 1 or "" in found or not _alike(found):
            out |= {base if len(found) == 1 else f"{base}_{p}".rstrip("_"): a for p, a in found.items()}
        elif base == "shape":
            out[base] = next(iter(found.values()))
        elif base.endswith("_indptr"):
            starts = np.cumsum([0, *[int(a[-1]) for a in found.values()]])
            out[base] = np.concatenate([[0], *[a[1:].astype(np.int64) + s for a, s in zip(found.values(), starts)]])
            sizes.add(tuple((p, len(a) - 1) for p, a in found.items()))
        else:
            out[base] = np.concatenate(list(found.values()))
            if not base.endswith(("_indices", "_data")):
                sizes.add(tuple((p, len(a)) for p, a in found.items()))
    if len(sizes) != 1:
        return out, None
    return out, np.concatenate([np.full(n, part) for part, n in sizes.pop()])


def _alike(found: Arrays) -> bool:
    first = next(iter(found.values()))
    return all(a.ndim == first.ndim and a.ndim and a.shape[1:] == first.shape[1:] for a in found.values())


def class_names(free: Arrays) -> dict[int, tuple[str, ...]]:
    """Number of classes -> their names, from arrays of text that hold nothing else; -1 -> the names of answers."""
    out: dict[int, tuple[str, ...]] = {}
    for name in [n for n in free if w.plain(n) in w.CLASS_NAMES or w.plain(n).endswith("_names")]:
        array = free[name]
        if array.ndim == 1 and array.dtype.kind in "US":
            del free[name]
            if w.plain(name) not in ("feature_names", "column_names"):
                out[-1 if w.plain(name) == "vote_names" else len(array)] = tuple(array.astype(str).tolist())
        elif not array.size:
            del free[name]
    if "class_name" in free or "class_index" in free:
        index, listed = free.pop("class_index", None), free.pop("class_name", None)
        if index is not None and listed is not None and len(index) == len(listed):
            known = dict(zip(index.tolist(), listed.astype(str).tolist()))
            size = max(known) + 1  # classes that are not listed keep their number
            out[size] = tuple(known.get(i, str(i)) for i in range(size))
    return out


def _split(free: Arrays, survey: Survey) -> None:
    for name in list(free):
        array = free[name]
        if (
            w.plain(name) in w.SPLIT
            and array.ndim == 1
            and array.dtype.kind in "US"
            and 1 < len(np.unique(array)) <= 20
        ):
            survey.add("split", name, f"array {name!r} names parts", len(array), free.pop(name).astype(str))
        elif w.plain(name) in w.SPLITS and array.dtype.kind in "iu":
            survey.notes.append(f"{name!r} lists {array.shape[-1]:,} items of that part")
            del free[name]


# -------------------------------------------------------------------------------------------------------------- sparse
def sparse(free: Arrays, survey: Survey, names: dict[int, tuple[str, ...]]) -> None:
    """name_indices and name_indptr (and name_data) are a table by rows: features, label sets, or hyperedges."""
    shape = free.pop("shape", None)
    for base in [n.removesuffix("_indices") for n in list(free) if n.endswith("_indices")]:
        if f"{base}_indptr" not in free or not _is_csr(free[f"{base}_indices"], free[f"{base}_indptr"]):
            continue
        table = _csr(free, base, shape)
        n, k = table.shape
        how = f"{base}_indices and {base}_indptr are {n:,} rows of a sparse table with {k:,} columns"
        words = set(base.split("_"))
        if words & {"he", "hyperedge", "hyperedges", "edges", "adj"}:
            how = f"{base}_indices and {base}_indptr are {n:,} hyperedges over {k:,} nodes"
            survey.add("graph", base, how, k, table, detail={"hyper": True})
        elif words & {"x", "features", "feat", "data"}:
            survey.add("features", base, how, n, table)
        else:
            table.data[:] = 1
            classes = names.get(k, tuple(range(k)))
            role = (
                "predicted" if w.role(base) == "predicted" else "true" if words & {"real", "true", "gold"} else "given"
            )
            survey.add("multi-labels", base, how + ", one per class", n, table, classes=classes, role=role)


def _is_csr(indices: np.ndarray, indptr: np.ndarray) -> bool:
    whole = all(a.ndim == 1 and a.dtype.kind in "iu" for a in (indices, indptr))
    if not whole or len(indptr) < 2:
        return False
    steps = np.diff(indptr.astype(np.int64))
    return bool(indptr[0] == 0 and (steps >= 0).all() and indptr[-1] == len(indices) and (indices >= 0).all())


def _csr(free: Arrays, base: str, shape: np.ndarray | None) -> Any:
    from scipy.sparse import csr_array

    indices, indptr = free.pop(f"{base}_indices"), free.pop(f"{base}_indptr")
    data = free.pop(f"{base}_data", np.ones(len(indices), dtype=np.float32))
    own = free.pop(f"{base}_shape", None)
    k = int(indices.max()) + 1 if len(indices) else 1
    if own is not None and len(own) == 2:
        k = max(k, int(own[1]))
    elif shape is not None and len(shape) == 3:  # items, features, labels
        k = max(k, int(shape[1] if base.split("_")[0] in ("x", "features") else shape[2]))
    return csr_array((data, indices.astype(np.int64), indptr.astype(np.int64)), shape=(len(indptr) - 1, k))


# --------------------------------------------------------------------------------------------------------------- votes
def votes(free: Arrays, survey: Survey, names: dict[int, tuple[str, ...]]) -> None:
    """item, annotator and label arrays of one length; a common first word tells several such tables apart."""
    groups: dict[tuple[str, int], dict[str, str]] = {}
    for name, array in free.items():
        if array.ndim == 1 and len(array):
            words = w.plain(name).split("_")
            groups.setdefault(("_".join(words[:-1]), len(array)), {})[words[-1]] = name
    for (prefix, _), found in groups.items():
        on = next((found[x] for x in found if x in w.ITEM), None)
        who = next((found[x] for x in found if x in w.ANNOTATOR or (x == "id" and prefix in w.ANNOTATOR)), None)
        what = next((found[x] for x in found if x in w.ANSWER and found[x] not in (on, who)), None)
        if on and who and what and free[on].dtype.kind in "iu" and free[who].dtype.kind in "iuUS":
            _one_vote_table(free, survey, names, on, who, what)


def _one_vote_table(
    free: Arrays, survey: Survey, names: dict[int, tuple[str, ...]], on: str, who: str, what: str
) -> None:
    item, (annotator, keys) = free.pop(on).astype(np.int64), codes(free.pop(who))
    label, classes, values = _answers(free.pop(what), names)
    known = np.ones(len(item), dtype=bool) if values is None else np.isfinite(values)
    numbered = int(item.min()) >= 0 and int(item.max()) < 1000 + 4 * len(np.unique(item))
    if not numbered:
        item = codes(item)[0]  # keys, not places
    n = int(item.max()) + 1
    detail: dict[str, Any] = {"annotators": len(keys), "keys": keys}
    if values is not None:
        detail["values"] = values[known]
    truth = next((t for t in ("truth", "gold", "true", "expert") if t in free and len(free[t]) >= n and numbered), None)
    if truth is not None and free[truth].ndim == 1 and free[truth].dtype.kind in "iuf":
        detail["truth"] = free.pop(truth)
        n = len(detail["truth"])
    how = f"arrays {on!r}, {who!r}, {what!r}: {len(item):,} answers, item, annotator and answer of each"
    how += f"; {truth!r} holds the truth of {_known(detail['truth']):,} items" if "truth" in detail else ""
    data = item[known], annotator[known], label[known]
    survey.add("votes", what, how, n, data, classes=classes, detail=detail)
    about = w.plain(on).split("_")[-1]
    described = [
        d for d in free if d.startswith(f"{about}_") and free[d].ndim == 1 and len(free[d]) == int(item.max()) + 1
    ]
    if described:
        survey.notes.append(f"{_list(described)} describe the items of {on!r}, by their names")
    for name in described:
        del free[name]


def _answers(
    answer: np.ndarray, names: dict[int, tuple[str, ...]]
) -> tuple[np.ndarray, tuple[Any, ...], np.ndarray | None]:
    """(class ids, class names, the numbers where the answers are fractions)."""
    if answer.dtype.kind == "f" and not _classes_as_floats(answer):
        return *codes(np.round(answer, 6)), answer.astype(np.float64)
    if answer.dtype.kind in "iu" and answer.min() >= -1 and answer.max() < 1000:
        k = int(answer.max()) + 1
        size = min((s for s in names if s >= k), default=k)
        return answer.astype(np.int64), names.get(size, tuple(range(k))), None
    return *codes(answer), None


def _known(truth: np.ndarray) -> int:
    return int((~np.isnan(truth)).sum() if truth.dtype.kind == "f" else (truth >= 0).sum())


# ---------------------------------------------------------------------------------------------------------- by shape
def _length(free: Arrays, survey: Survey) -> int:
    """How many items the labels are of: the length that most arrays have."""
    lengths = [len(a) for a in free.values() if a.ndim] + [
        e.n for e in survey.of("features", "multi-labels", "votes", "graph")
    ]
    return max(set(lengths), key=lambda x: (lengths.count(x), x)) if lengths else 0


def one_dimensional(
    free: Arrays, survey: Survey, name: str, names: dict[int, tuple[str, ...]], n: int, *, chosen: bool
) -> None:
    array = free[name]
    words = w.plain(name)
    is_text = array.dtype.kind in "US"
    if array.dtype.kind == "f" and not _classes_as_floats(array) and (chosen or words in w.SCORE | w.LABEL | w.TRUE):
        low, high = (float(np.nanmin(array)), float(np.nanmax(array))) if np.isfinite(array).any() else (np.nan, np.nan)
        how = f"array {name!r}, numbers from {low:g} to {high:g}"
        survey.add("scores", name, how, len(array), free.pop(name).astype(np.float64), role=w.role(name))
    elif is_text and np.char.str_len(array[:1000]).mean() > 20:
        survey.add("text", name, f"array {name!r}, words of people", len(array), free.pop(name).astype(str).tolist())
    elif (
        chosen
        or w.labelish(name)
        or words in w.PREDICTED | w.SCORE
        or re.fullmatch(r"(random|label|annotator|rater|vote)_?\d+", words)
    ):
        _labels(free, survey, name, names, chosen=chosen)
    elif words in w.INDEX or (not is_text and len(np.unique(array)) == len(array)):
        survey.notes.append(f"{name!r} counts or names items: no labels")
        del free[name]
    elif (is_text or array.dtype.kind in "iub") and len(array) == n and 2 <= len(np.unique(array)) <= 1000:
        ids, classes = codes(array)
        how = f"array {name!r}, {len(classes)} values; what it means is not said"
        survey.add("hard labels", name, how, len(array), ids, classes=classes, role="other")
        del free[name]


def _classes_as_floats(array: np.ndarray) -> bool:
    """Whole numbers of few values, NaN where missing."""
    known = array[np.isfinite(array)]
    return bool(len(known)) and bool((known == np.round(known)).all()) and len(np.unique(known)) <= SMALL


def _labels(free: Arrays, survey: Survey, name: str, names: dict[int, tuple[str, ...]], *, chosen: bool) -> None:
    """One class per item; -1 is missing."""
    array = free.pop(name)
    if array.dtype.kind in "iu":
        ids = array.astype(np.int64)
        found = np.unique(ids[ids >= 0])
        k = int(found.max()) + 1 if len(found) else 0
        if k > 10 * max(len(found), 1) or (len(array) and ids.min() < -1):
            ids, classes = codes(array)
        else:
            size = next((s for s in sorted(names) if s >= k), k)
            classes = names.get(size, tuple(range(k)))
    else:
        ids, classes = codes(array)
    how = f"array {name!r}" + (", as you said" if chosen else ", by its name")
    detail = {"numbers": array.dtype.kind in "iuf", "chosen": chosen}
    survey.add("hard labels", name, how, len(array), ids, classes=classes, role="given" if chosen else w.role(name),
               detail=detail)  # fmt: skip


def numbered(survey: Survey) -> None:
    """label1, label2, label3 are answers of so many annotators, not so many label sets."""
    groups: dict[tuple[str, int], list[Any]] = {}
    for e in survey.of("hard labels"):
        match = re.fullmatch(r"(.*?)_?\d+", w.plain(e.name))
        if match and match[1] in w.RATINGS and not e.detail.get("chosen"):
            groups.setdefault((match[1], e.n), []).append(e)
    for (_, n), found in groups.items():
        if len(found) < 2:
            continue
        k = max(len(e.classes) for e in found)
        classes = next(e.classes for e in found if len(e.classes) == k)
        labels, a = [e.name for e in found], len(found)
        matrix = np.column_stack([matched(e, classes) for e in found])
        data = np.repeat(np.arange(n), a), np.tile(np.arange(a), n), matrix.reshape(-1)
        how = f"arrays {_list(labels)}: one answer per item of each of {a} annotators"
        detail = {"annotators": a, "matrix": matrix}
        survey.add("votes", _list(labels), how, n, data, classes=classes, detail=detail)
        survey.evidence = [e for e in survey.evidence if e not in found]
