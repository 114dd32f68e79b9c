"""An audit as events of its repository: the labels it was given, the answers of reviewers, and what it suggests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing._answers import NONE_FITS, UNSURE, _blank, _whole
from labelwright.labels import HardLabels, as_columns, need

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.auditing.result import Audit
    from labelwright.store import Repository


def record_audit(repo: Repository, result: Audit, *, audit: str, reviews: Any = None) -> int:
    """Commit what an audit was told and what it suggests, as one commit; the commit's number.

    Args:
        repo: where the audit was written.   result: the audit.   audit: its folder's name, such as "0003".
        reviews: the answers it was given (item, label, and probability, reviewer or annotator, time if there).

    The events are
        "given": the label of each item, once; an item that has one keeps it.
        "review": each answer that is not what the same reviewer last said of the item. The same file twice adds nothing, and
            who goes back to an earlier answer is heard.
        "suggestion": the likelier label of each flagged item, its source "audit NNNN".
    An audit recorded twice adds nothing the second time.
    """
    import pyarrow as pa

    parts = {"labels given": _given(repo, result), "suggestions": _suggestions(result, audit)}
    if reviews is not None:
        parts["answers"] = _reviews(repo, reviews, result)
    counts = ", ".join(f"{part.num_rows:,} {name}" for name, part in parts.items() if part.num_rows)
    return repo.append(
        pa.concat_tables(parts.values()),
        message=f"audit {audit}: {counts or 'nothing to say'}",
        source=f"audit {audit}",
    )


def _events(item: Any, source: Any, kind: str, value: Any, probability: Any, ids: Any) -> pa.Table:
    import pyarrow as pa

    n = len(item)
    return pa.table(
        {
            "event_id": ids,
            "item": item if isinstance(item, pa.Array) else pa.array(item, pa.string()),
            "source": pa.repeat(source, n) if isinstance(source, str) else pa.array(source, pa.string()),
            "kind": pa.repeat(kind, n),
            "value": value,
            "probability": pa.array(probability, pa.float64(), from_pandas=True),
        }
    )


def _given(repo: Repository, result: Audit) -> pa.Table:
    """The labels of items that have none yet."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from labelwright.store.events import event_ids, json_values

    labels, item = result.labels, pa.array(result.items).cast(pa.string())
    if isinstance(labels, HardLabels):
        value = json_values(labels.space.classes).take(pa.array(labels.ids, mask=labels.ids < 0))
    else:
        known = np.asarray((labels.dense() >= 0).any(1)).tolist()
        value = json_values([v if there else None for v, there in zip(labels.sets(), known)])
    events = _events(item, "given", "given", value, np.full(len(item), np.nan), event_ids("given", item))
    there = repo.event_table.read(["item"], kinds=("given",))["item"]
    return events if len(there) == 0 else events.filter(pc.invert(pc.is_in(item, value_set=there)))


def _suggestions(result: Audit, audit: str) -> pa.Table:
    from labelwright.store.events import event_ids, json_values

    issues, source = result.issues, f"audit {audit}"
    item = [str(key) for key in issues["item"].to_pylist()]
    suggested = issues["suggested"].to_pylist()
    probability = np.full(len(item), np.nan)  # of a set of classes we have none
    if not result.multi:
        probability = result.likeliest(np.asarray(issues["row"]), 1)[1][:, 0].astype(np.float64)
    return _events(item, source, "suggestion", json_values(suggested), probability, event_ids(source, item))


def _reviews(repo: Repository, reviews: Any, result: Audit) -> pa.Table:
    """Answers that are new. An id names the answer and the one before it by the same reviewer, so that two processes that
    bring the same file add it once."""
    import pyarrow as pa

    from labelwright.store.events import event_ids, json_values

    columns = as_columns(reviews)
    answers = list(need(columns, "label"))
    whole = result.items.dtype.kind in "iu"  # such keys may come back from a spreadsheet as 12.0
    item = [str(_whole(key) if whole else key) for key in need(columns, "item")]
    who = [str(name or "review") for name in columns.get("reviewer", columns.get("annotator", ["review"] * len(item)))]
    probability = [
        None if p is None or p == "" or p != p else float(p) for p in columns.get("probability", [None] * len(item))
    ]
    answered = [row for row, answer in enumerate(answers) if not _blank(answer)]
    names: dict[Any, Any] = {name: name for name in result.space.classes}
    names |= {str(name): name for name in result.space.classes}
    value = dict(zip(answered, json_values(_answer(answers[row], names) for row in answered).to_pylist()))
    before = repo.events(kinds=("review",)).select(["item", "source", "value", "probability", "event_id"]).to_pylist()
    last = {(e["item"], e["source"]): (e["value"], e["probability"], e["event_id"]) for e in before}
    rows, ids = [], []
    for row in answered:
        key, said = (item[row], who[row]), (value[row], probability[row])
        previous = last.get(key, (None, None, ""))
        if key in last and previous[:2] == said:
            continue
        made = event_ids("review", [item[row]], who[row], [said], previous[2])[0].as_py()
        last[key] = (*said, made)
        rows.append(row)
        ids.append(made)

    def picked(column: Any) -> list[Any]:
        return [column[row] for row in rows]

    values = pa.array(picked(value), pa.string())
    return _events(picked(item), picked(who), "review", values, picked(probability), pa.array(ids, pa.string()))


def _answer(answer: Any, names: dict[Any, Any]) -> Any:
    """What a reviewer wrote, as the value of an event."""
    from labelwright.store import events

    if isinstance(answer, np.generic):
        answer = answer.item()
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)  # integers with gaps come as floats
    if isinstance(answer, list | tuple | set | np.ndarray):
        return [names.get(part, part) for part in answer]
    if answer in names:
        return names[answer]
    word = str(answer).strip().lower()
    if word in UNSURE:
        return events.CANT_TELL
    if word in NONE_FITS:
        return events.NONE_FITS
    parts = [names.get(part.strip(), part.strip()) for part in str(answer).split("|")]
    return parts[0] if len(parts) == 1 else parts
