"""The evidence about labels in one table."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.advising import _words as w
from labelwright.advising._columns import Free
from labelwright.advising._survey_parts import parts
from labelwright.advising.evidence import Survey, codes

SMALL = 25  # a set of answers with more values than this is no scale


def survey_table(
    table: Any, survey: Survey, root: Path | None, *, label: str | None, text: str | None, image: str | None
) -> None:
    """Add every piece of evidence in a table: parts of items first, then columns that belong together, then single columns.

    Raises:
        ColumnError, DataError: a column that the caller named is not there, or cannot be what it was named.
    """
    from labelwright.store import guess_columns

    free = Free(table)
    named = [n for n in (label, text, image) if n]
    there = [n for n in dict.fromkeys(named) if n in table.column_names]
    chosen = table.select(there if len(there) == len(set(named)) else table.column_names)
    if named:
        guess_columns(chosen, label=label, text=text, image=image)  # refuses what the caller named wrongly
    reserved = Free(table)
    reserved.take(named)
    free.names = reserved.names
    split = next((n for n in free.called(w.SPLIT) if not free.is_list(n) and 2 <= free.distinct(n) <= 20), None)
    if split is not None:
        values = np.array([str(v) for v in table[split].to_pylist()])
        survey.add("split", split, f"column {split!r} names {free.distinct(split)} parts", table.num_rows, values)
        free.take([split])
    parts(free, survey)
    answers(free, survey)
    free.names = [n for n in table.column_names if n in free.names or n in named]
    singles(free, survey, root, label=label, text=text, image=image)


# ------------------------------------------------------------------------------------------- columns that belong together
def answers(free: Free, survey: Survey) -> None:
    """Votes, ratings, counts, rules, comparisons and proportions."""
    vote_rows(free, survey)
    class_pairs(free, survey)
    counts(free, survey)
    rules(free, survey)
    ratings(free, survey)
    comparisons(free, survey)
    proportions(free, survey)


def vote_rows(free: Free, survey: Survey) -> None:
    """One answer per row: item, annotator, label."""
    who = next((n for n in free.called(w.ANNOTATOR) if free.is_text(n) or free.is_number(n)), None)
    what = next((n for n in free.called(w.ANSWER) if n != who and (free.is_text(n) or free.is_number(n))), None)
    items = [n for n in free.called(w.ITEM | {"id", "text"}) if n not in (who, what) and not free.is_list(n)]
    on = next((n for n in items if free.distinct(n) < 0.8 * free.table.num_rows), None)
    if who is None or what is None or on is None:
        return
    item, (annotator, keys) = codes(free.array(on))[0], codes(free.array(who))
    known = (item >= 0) & (annotator >= 0)
    label, classes = codes(free.array(what))
    detail: dict[str, Any] = {"annotators": len(keys), "keys": keys}
    if free.is_number(what) and (len(classes) > SMALL or not free.whole(what)):
        known &= np.isfinite(free.array(what))
        detail["values"] = free.array(what)[known]
    how = f"one answer per row: item {on!r}, annotator {who!r}, answer {what!r}"
    survey.add(
        "votes",
        what,
        how,
        int(item.max()) + 1,
        (item[known], annotator[known], label[known]),
        classes=classes,
        detail=detail,
    )
    free.take([on, who, what])


def class_pairs(free: Free, survey: Survey) -> None:
    """Rows about pairs of classes, as of a class tree or a list of confusions: no items."""
    for names in (("child", "parent"), ("class_a", "class_b"), ("class", "parent"), ("label_a", "label_b")):
        found = [n for n in free.names if w.plain(n) in names]
        if len(found) == 2:
            survey.notes.append(
                f"each row is a pair of classes ({found[0]!r}, {found[1]!r}), not an item: nothing to label"
            )
            free.names = []


def counts(free: Free, survey: Survey) -> None:
    """Several columns of whole numbers: how many people gave each answer."""
    for names in free.numbered(w.COUNTS):
        if not all(free.whole(n) for n in names):
            continue
        table = np.column_stack([free.array(n) for n in names])
        total = np.nansum(table, axis=1)
        if np.isnan(table).any() or table.min() < 0 or np.median(total) < 2:
            continue
        how = f"columns {_list(names)} count answers, about {np.median(total):.0f} per item"
        classes = tuple(w.plain(n).split("_", 1)[-1] if "_" in w.plain(n) else n for n in names)
        numbered = all(n[-1].isdigit() for n in names)
        survey.add("soft labels", _list(names), how, len(table), table, classes=classes, detail={"numbered": numbered})
        free.take(names)
    lists = [n for n in free.names if free.is_list(n) and w.plain(n) in ("vote_count", "vote_counts")]
    survey.notes.extend(
        f"column {n!r} holds lists of vote counts, of another length per item: not measured" for n in lists
    )
    free.take([*lists, *[n for n in free.names if free.is_list(n) and w.plain(n) in ("vote_label", "vote_labels")]])


def rules(free: Free, survey: Survey) -> None:
    for names in free.numbered(w.RULES):
        if not all(free.whole(n) for n in names):
            continue
        table = np.nan_to_num(np.column_stack([free.array(n) for n in names]), nan=-1).astype(np.int64)
        if table.min() != -1 or table.max() > 1000:
            continue
        how = f"columns {_list(names)} are votes of {len(names)} rules, -1 where a rule does not fire"
        survey.add("rules", _list(names), how, len(table), table, classes=tuple(range(int(table.max()) + 1)))
        free.take(names)


def ratings(free: Free, survey: Survey) -> None:
    """One column per annotator, with answers from one small set."""
    for names in free.numbered(w.RATINGS):
        same = len({free.is_number(n) for n in names}) == 1
        if not same or any(free.distinct(n) > SMALL for n in names):
            continue
        table = np.column_stack([free.array(n) for n in names]).astype(object)
        label, classes = codes(table.reshape(-1).tolist())
        if not 2 <= len(classes) <= SMALL or (free.is_number(names[0]) and not all(free.whole(n) for n in names)):
            continue
        n, a = table.shape
        how = f"columns {_list(names)} hold answers of {a} annotators from one set of {len(classes)} values"
        data = np.repeat(np.arange(n), a), np.tile(np.arange(a), n), label
        detail = {"annotators": a, "matrix": label.reshape(n, a)}
        survey.add("votes", _list(names), how, n, data, classes=classes, detail=detail)
        free.take(names)


def comparisons(free: Free, survey: Survey) -> None:
    sides = [n for n in free.names if w.plain(n) in ("chosen", "rejected")]
    if len(sides) == 2:
        how = "columns 'chosen' and 'rejected': in each row one answer was preferred to another"
        survey.add("comparisons", "chosen, rejected", how, free.table.num_rows, None)
        free.take(sides)
        return
    preferred = next((n for n in free.names if w.plain(n) in w.PREFERRED), None)
    pair = [n for n in free.names if w.plain(n).endswith(("_a", "_b")) or w.plain(n) in ("a", "b")]
    if preferred is not None and len(pair) >= 2 and free.distinct(preferred) <= 5:
        how = f"column {preferred!r} says which of {pair[0]!r} and {pair[1]!r} was preferred"
        survey.add("comparisons", preferred, how, free.table.num_rows, codes(free.array(preferred))[0])
        free.take([preferred])


def proportions(free: Free, survey: Survey) -> None:
    bag = next((n for n in free.names if w.plain(n) in w.BAG), None)
    shares = [n for n in free.names if free.is_number(n) and set(w.plain(n).split("_")) & w.PROPORTIONS]
    if bag is None or not shares:
        return
    table = np.column_stack([free.array(n) for n in shares])
    if np.nanmin(table) < 0 or np.nanmax(table) > 1:
        return
    n = free.distinct(bag)
    how = f"columns {_list(shares)} are shares in [0, 1] of {n:,} bags ({bag!r})"
    survey.add("label proportions", _list(shares), how, n, table, classes=tuple(shares))
    free.take([bag, *shares])


# ------------------------------------------------------------------------------------------------------- single columns
def singles(
    free: Free, survey: Survey, root: Path | None, *, label: str | None, text: str | None, image: str | None
) -> None:
    """What one column tells: labels of every role, then what the items look like."""
    labels = [label] if label else []
    labels += [n for n in free.names if n != label and _could_be_label(free, n)]
    for name in labels:
        one_label(free, survey, name, chosen=name == label)
    if not label and survey.main is None:
        few_values(free, survey)
    content(free, survey, root, text=text, image=image)


def _could_be_label(free: Free, name: str) -> bool:
    if free.is_picture(name) or not (
        free.is_list(name) or free.is_text(name) or free.is_number(name) or _is_bool(free, name)
    ):
        return False
    known = w.labelish(name) or w.plain(name) in w.SCORE | w.PREDICTED | w.CANDIDATES
    long = free.is_text(name) and free.distinct(name) > max(50, free.table.num_rows // 4)
    there = bool(np.isfinite(free.array(name)).any()) if free.is_number(name) else free.distinct(name) > 0
    return known and not long and there


def _is_bool(free: Free, name: str) -> bool:
    return str(free.table.schema.field(name).type) == "bool"


def one_label(free: Free, survey: Survey, name: str, *, chosen: bool) -> None:
    how = f"column {name!r}" + (", as you said" if chosen else ", by its name")
    n, role = free.table.num_rows, "given" if chosen else w.role(name)
    if free.is_list(name):
        import pyarrow.compute as pc

        ids, classes = codes(free.flat(name))
        rows = np.repeat(np.arange(n), free.lengths(name))
        from labelwright.advising._survey_parts import _sets

        kind = "candidate labels" if w.plain(name) in w.CANDIDATES else "multi-labels"
        detail = {"missing": pc.is_null(free.table[name]).to_numpy(), "chosen": chosen}
        survey.add(
            kind,
            name,
            f"{how}, lists of classes",
            n,
            _sets(rows, ids, n, len(classes)),
            classes=classes,
            role=role,
            detail=detail,
        )
    elif role != "predicted" and is_score(free, name):
        values = free.array(name)
        survey.add(
            "scores", name, f"{how}, numbers from {np.nanmin(values):g} to {np.nanmax(values):g}", n, values, role=role
        )
    else:
        ids, classes = codes(free.array(name))
        survey.add(
            "hard labels",
            name,
            how,
            n,
            ids,
            classes=classes,
            role=role,
            detail={"numbers": free.is_number(name), "chosen": chosen},
        )
    free.take([name])


def is_score(free: Free, name: str) -> bool:
    """Fractions, or whole numbers of which there are many and not every one from the least to the largest."""
    if not free.is_number(name):
        return False
    if not free.whole(name):
        return True
    values = free.array(name)
    known = values[~np.isnan(values)]
    complete = known.min() in (0, 1) and len(np.unique(known)) == known.max() - known.min() + 1
    return free.distinct(name) > SMALL and (w.plain(name) in w.SCORE or not complete)


def few_values(free: Free, survey: Survey) -> None:
    """A column that looks like a label by its values alone, where it is the only one."""
    n = free.table.num_rows
    found = [
        name
        for name in free.names
        if (free.is_text(name) or free.whole(name) or _is_bool(free, name))
        and 2 <= free.distinct(name) <= min(1000, n // 4)
        and not (_names_something(name) or w.plain(name) in w.CONTENT)
        and not w.plain(name)[-1:].isdigit()
    ]
    if len(found) == 1 and not survey.of(*("boxes", "spans", "masks", "votes", "soft labels")):
        one_label(free, survey, found[0], chosen=False)
        last = survey.evidence[-1]
        survey.evidence[-1] = type(last)(
            **{**last.__dict__, "how": f"column {found[0]!r}, the only one with few values"}
        )
    elif found:
        survey.unclear = tuple(found)


def content(free: Free, survey: Survey, root: Path | None, *, text: str | None, image: str | None) -> None:
    """What the items look like."""
    from labelwright.store import guess_columns

    kept = [n for n in free.names if not free.is_list(n) or free.is_vector(n)]
    if not kept:
        return
    rest, n = free.table.select(kept), free.table.num_rows
    ours = "label " + "\0".join(free.names)  # no name of theirs; without a label a content column would be taken for it
    found = guess_columns(rest.append_column(ours, [[0] * n]), label=ours, text=text, image=image)
    if found.pred_probs:
        p = matrix(rest, found.pred_probs)
        survey.add("pred_probs", _list(found.pred_probs), f"{_list(found.pred_probs)}: rows sum to 1", n, p)
    if found.features:
        survey.add(
            "features",
            _list(found.features),
            f"{_list(found.features)}: numbers per item",
            n,
            matrix(rest, found.features),
        )
    if found.image:
        pictures(free, survey, found.image, root)
    if found.text:
        cells = [rest[name].to_pylist() for name in found.text]
        texts = ["\n".join(part or "" for part in row) for row in zip(*cells)]
        survey.add("text", _list(found.text), f"column {_list(found.text)}, words of people", n, texts)
    numbers = [c for c in found.tabular if not _names_something(c)]
    if numbers and not (found.text or found.features):
        survey.add(
            "table",
            _list(numbers),
            f"columns {_list(numbers)}: numbers and categories per item",
            n,
            rest.select(numbers),
        )


def _names_something(name: str) -> bool:
    """Whether a column is named like a key, a person, a moment or the spread of answers: no content, and no label."""
    return bool(
        {re.sub(r"\d+$", "", x) for x in w.plain(name).split("_")} & (w.INDEX | w.ANNOTATOR | w.ITEM | w.SPREAD)
    )


def pictures(free: Free, survey: Survey, name: str, root: Path | None) -> None:
    """Images as open files, or as paths where the files are there."""
    column, n = free.table[name], free.table.num_rows
    if not free.is_text(name):
        survey.add("images", name, f"column {name!r} holds the pictures", n, column)
        return
    paths = column.to_pylist()
    there = root is not None and all(p and _inside(root, p) for p in paths[:20])
    how = f"column {name!r} names pictures" + ("" if there else "; the files themselves are not beside it")
    files = [root / p if root and p and _inside(root, p) else None for p in paths] if there else None
    survey.add("images", name, how, n, files)


def _inside(root: Path, name: str) -> bool:
    """Whether there is such a file, and below the folder of the data."""
    path = (root / name[:4096]).resolve()
    return path.is_relative_to(root.resolve()) and path.is_file()


def matrix(table: Any, names: tuple[str, ...]) -> np.ndarray:
    """Number columns, or one list column, as (N, D)."""
    if len(names) == 1 and "list" in str(table[names[0]].type):
        return np.array(table[names[0]].to_pylist(), dtype=np.float32)
    return np.column_stack([np.asarray(table[n].to_numpy(), dtype=np.float64) for n in names])


def readable(cell: Any) -> Any:
    """A cell of an image column as `item_vectors` takes it."""
    value = cell.as_py() if hasattr(cell, "as_py") else cell
    if isinstance(value, dict):
        value = value["bytes"]
    return io.BytesIO(value) if isinstance(value, bytes) else value


def _list(names: Any) -> str:
    names = list(names)
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]} ({len(names)})"
