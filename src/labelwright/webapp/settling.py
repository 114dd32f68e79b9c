"""What the answers to an item come to: its label, whether it is settled or contested, and what that says about others like it.

An item that wants one answer is settled by it, and its review goes to the repository as it is. Where several are wanted, each
goes as a vote, and a review says what more than half of them agree on. An adjudicator's answer goes before all of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from labelwright.labels import LabelSpace
from labelwright.store.events import CANT_TELL, NONE_FITS, json_values
from labelwright.webapp.answers import Answer
from labelwright.webapp.tables import answers, cells, items, outbox

STRENGTH = 4.0
"""How many answers the audit's own expectation of a pair (given, suggested) is worth."""


def reading(answer: Answer, given: Any, *, missed: bool = False) -> tuple[float, float]:
    """The probability that the given label is wrong, read low and high; they differ where the reviewer could not tell.

    missed: the item is an object that no label speaks of; its label is wrong where the object is there.

    >>> reading(Answer("distribution", ("cat", "dog"), (0.6, 0.4)), "cat"), reading(Answer("unsure"), "cat")
    ((0.4, 0.4), (0.0, 1.0))
    """
    if missed and answer.kind in ("class", "none"):
        return (1.0, 1.0) if answer.kind == "class" else (0.0, 0.0)
    if answer.kind == "unsure" or given is None:
        return 0.0, 1.0
    if answer.kind == "distribution":
        wrong = 1.0 - dict(zip(answer.classes, answer.shares)).get(given, 0.0)
    elif answer.kind == "classes":
        wrong = float(set(answer.classes) != set(given))
    else:
        wrong = float(answer.kind in ("none", "move") or (answer.kind == "class" and answer.classes[0] != given))
    return wrong, wrong


def text_of(value: Any) -> str:
    """The value of an answer as `labelwright audit --reviews` reads it: a class, several joined by "|", or the words for neither.

    >>> text_of(["a", "b"]), text_of({"a": 0.6, "b": 0.4, "c": 0.0}), text_of([])
    ('a|b', 'a|b', 'none of these')
    """
    if isinstance(value, dict):
        if "box" in value:
            return str(value["label"])
        if value in (CANT_TELL, NONE_FITS):
            return str(value["answer"])
        value = [name for name, share in value.items() if share > 0]
    if isinstance(value, list):
        return "|".join(map(str, value)) or str(NONE_FITS["answer"])  # an empty cell would be read as no answer
    return str(value)


def decoded(said: str, space: LabelSpace) -> Answer:
    """The answer that `encoded` wrote; class names as the space has them."""
    found = json.loads(said)
    return Answer(**found | {"classes": tuple(found["classes"]), "shares": tuple(found["shares"])})


def encoded(answer: Answer) -> str:
    """A whole answer as JSON text."""
    return json.dumps(
        vars(answer) | {"classes": list(answer.classes), "shares": list(answer.shares)}, ensure_ascii=False
    )


def as_text(value: Any) -> str | None:
    """The value of an answer as JSON text, equal for equal values; a moved box is none that an event of the repository holds."""
    if isinstance(value, dict) and "box" in value:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    text: str | None = json_values([value])[0].as_py()
    return text


def event_id(*parts: Any) -> str:
    """32 hexadecimal digits; the same parts give the same ones, so that an answer sent twice is one event."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def post(conn: Connection, queue: int, *, event: str, item: str, source: str, kind: str, value: str | None) -> None:
    """Put an event into the outbox."""
    row = {"queue_id": queue, "event_id": event, "item": item, "source": source, "kind": kind, "value": value}
    conn.execute(insert(outbox), row | {"time": time.time()})


def settle(conn: Connection, item: Row[Any]) -> None:
    """Bring an item, which the caller has locked, and its cell in line with its active answers."""
    columns = (
        answers.c.value,
        answers.c.kind,
        answers.c.stream,
        answers.c.wrong_low,
        answers.c.wrong_high,
        answers.c.event_id,
    )
    found = (
        select(*columns).where(answers.c.item_id == item.id, answers.c.active, ~answers.c.extra).order_by(answers.c.id)
    )
    said = conn.execute(found).all()
    final = next((a for a in reversed(said) if a.stream == "adjudication"), None)
    votes = [a for a in said if a.stream != "adjudication"]
    clear = [a for a in votes if a.kind != "unsure"]
    count = Counter(a.value for a in clear)
    value, agreed = count.most_common(1)[0] if count else (None, 0)
    decided = agreed * 2 > len(clear)
    complete = len(votes) >= item.wanted
    conflict = final is None and complete and len(count) > 1 and not decided
    winner = final.value if final is not None else None
    if final is None and clear and complete:
        winner = clear[-1].value if item.wanted == 1 else value if decided else None
    low, high = _reading(final, votes, clear)
    event = item.settled_event
    if item.wanted > 1 and final is None and (winner != item.settled or (winner is None) != (event is None)):
        event = _told(conn, item, winner, [a.event_id for a in clear])
    conn.execute(
        update(items)
        .where(items.c.id == item.id)
        .values(
            answers=len(votes), open=not complete and final is None, conflict=conflict, wrong_low=low, wrong_high=high,
            settled=winner, settled_event=event,
        )
    )  # fmt: skip
    _learn(conn, item, low, high)


def _reading(final: Any, votes: list[Any], clear: list[Any]) -> tuple[float | None, float | None]:
    if final is not None:
        return final.wrong_low, final.wrong_high
    if not votes:
        return None, None
    if not clear:
        return 0.0, 1.0
    mean = sum(a.wrong_low for a in clear) / len(clear)
    return mean, mean


def _told(conn: Connection, item: Row[Any], winner: str | None, events: list[str]) -> str | None:
    """Tell the repository what several reviewers agree on, or that they no longer do; the new event's id."""
    if winner is None:
        if item.settled_event is not None:
            gone = json.dumps(item.settled_event)
            undone = event_id("undecided", item.settled_event, events, time.time())
            post(conn, item.queue_id, event=undone, item=item.key, source="reviewers", kind="retraction", value=gone)
        return None
    made = event_id("agreed", item.key, winner, events, item.settled_event)
    post(conn, item.queue_id, event=made, item=item.key, source="reviewers", kind="review", value=winner)
    return made


def _learn(conn: Connection, item: Row[Any], low: float | None, high: float | None) -> None:
    """Move the cell of the item by what has changed: its answers, and the most suspicious item that is left in it."""
    lock = select(cells).where(cells.c.id == item.cell_id)
    cell = conn.execute(lock if conn.dialect.name == "sqlite" else lock.with_for_update()).one()
    before, after = _clear(item.wrong_low, item.wrong_high), _clear(low, high)
    expected = item.error_prob if item.error_prob is not None else 0.5
    answered = cell.answered + (after is not None) - (before is not None)
    wrong = cell.wrong + (after or 0.0) - (before or 0.0)
    total = cell.expected + expected * ((after is not None) - (before is not None))
    moved = shift(answered, wrong, total)
    head = conn.execute(select(func.max(items.c.logit)).where(items.c.cell_id == cell.id, items.c.open)).scalar()
    conn.execute(
        update(cells)
        .where(cells.c.id == cell.id)
        .values(
            answered=answered, wrong=wrong, expected=total, shift=moved, head=head,
            priority=None if head is None else head + moved,
        )
    )  # fmt: skip


def _clear(low: float | None, high: float | None) -> float | None:
    return low if low is not None and low == high else None


def shift(answered: int, wrong: float, expected: float) -> float:
    """What the answers of a pair (given, suggested) add to the log-odds of its other items.

    A beta prior with the audit's expectation as its mean and the weight of `STRENGTH` answers meets the answers; the odds move
    by the ratio of the posterior mean to the prior mean.

    Args:
        answered: clear answers.   wrong: wrong labels among them.   expected: how many the audit expected.

    >>> shift(0, 0, 0.0), shift(10, 10, 5.0) > 0 > shift(10, 0, 5.0)
    (0.0, True)
    """
    if answered <= 0:
        return 0.0
    prior = min(max(expected / answered, 1e-3), 1 - 1e-3)
    posterior = (STRENGTH * prior + min(max(wrong, 0.0), answered)) / (STRENGTH + answered)
    posterior = min(max(posterior, 1e-3), 1 - 1e-3)
    return math.log(posterior / (1 - posterior)) - math.log(prior / (1 - prior))
