"""Rows of the database as what a reviewer sees."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select

from labelwright.errors import OptionError, check_option
from labelwright.labels import LabelSpace
from labelwright.webapp.content import Contents
from labelwright.webapp.queue import as_json
from labelwright.webapp.refusals import no_item
from labelwright.webapp.settling import decoded
from labelwright.webapp.tables import answers, cells, flags, items, users
from labelwright.webapp.views import Content, Found, Item, Neighbour, Part, Said, User

STATES = ("open", "answered", "conflict", "skipped")
FAULTS = {
    "spurious box": "The detector finds no object in this box.",
    "bad location": "The detector puts this box elsewhere: the dashed place.",
    "duplicate box": "Another box of the same class lies on the same place.",
    "bad boundary": "The model draws the outline elsewhere: this band belongs to the other class.",
    "missed region": "Inside the label the model sees something of the other class.",
}
"""What seems wrong with a box or a region, apart from its class."""
_SHORT = 300  # characters of a neighbour's text


def find(conn: Connection, queue: int, key: str) -> Row[Any]:
    """The row of an item by its key. Raises NoSuchItem."""
    row = conn.execute(select(items).where(items.c.queue_id == queue, items.c.key == str(key))).one_or_none()
    if row is None:
        raise no_item(str(key))
    return row


def view(conn: Connection, row: Row[Any], user: User, contents: Contents, space: LabelSpace) -> Item:
    """An item with its evidence, as far as this user may see it now.

    What other reviewers said is shown to adjudicators once the item has its answers, and to others once they have answered, too.
    """
    said = _answers(conn, row.id)
    mine = next((a for a in reversed(said) if a.user_id == user.id), None)
    votes = json.loads(row.votes or "[]")
    told = [Said(v[0], v[1], _loaded(v[2]), _time(v[3])) for v in votes]
    if not row.open and (mine is not None or user.may("adjudicator")):
        told += [_said(a) for a in said if not a.extra]
    flagged = select(flags.c.item_id).where(flags.c.item_id == row.id)
    cell = conn.execute(select(cells).where(cells.c.id == row.cell_id)).one()
    neighbours, content = _neighbours(conn, row, contents), contents[row.row]
    return Item(
        item=row.key,
        row=row.row,
        content=content,
        given=_loaded(row.given),
        suggested=tuple((name, float(p)) for name, p in json.loads(row.suggested)),
        error_prob=row.error_prob,
        kind=row.kind,
        why=_why(row, neighbours, cell, content.part),
        neighbours=neighbours,
        said=tuple(told),
        mine=None if mine is None else decoded(mine.said, space),
        flagged=conn.execute(flagged.limit(1)).scalar() is not None,
        gold=row.gold is not None if user.may("owner") else None,
    )


def answers_of(conn: Connection, item: int) -> tuple[Said, ...]:
    """What reviewers said of an item, oldest first."""
    return tuple(_said(a) for a in _answers(conn, item) if not a.extra)


def search(
    conn: Connection,
    queue: int,
    text: str = "",
    *,
    label: Any = None,
    suggested: Any = None,
    kind: str | None = None,
    state: str | None = None,
    flagged: bool | None = None,
    user: User,
    page: int = 1,
    per_page: int = 50,
) -> Found:
    """A page of the items that fit, the most suspicious first. Rows: item, row, given, suggested, error_prob, kind, text,
    answers, state, flagged, settled."""
    if not (isinstance(page, int) and isinstance(per_page, int) and page >= 1 and 1 <= per_page <= 1000):
        raise OptionError(found=f"page {page!r} of {per_page!r}", expected="whole numbers from 1", fix="pass page=1")
    tests = [items.c.queue_id == queue]
    for word in text.replace("\0", "").casefold().split()[:20]:
        tests.append(items.c.words.contains(word, autoescape=True))
    for column, value in ((items.c.given, label), (items.c.top, suggested)):
        if value is not None:
            tests.append(column == as_json(value))
    if kind is not None:
        tests.append(items.c.kind == kind)
    if flagged is not None:
        tests.append(items.c.flagged == flagged)
    if state is not None:
        tests.append(_state(state, user))
    order = (items.c.logit.desc(), items.c.id)
    found = select(items.c.id, func.count().over().label("total")).where(*tests).order_by(*order)
    picked = conn.execute(found.limit(per_page).offset((page - 1) * per_page)).all()  # numbers first: the rows are wide
    if picked or page == 1:
        total = picked[0].total if picked else 0
    else:
        total = conn.execute(select(func.count()).select_from(items).where(*tests)).scalar_one()
    rows = conn.execute(select(items).where(items.c.id.in_([row.id for row in picked])).order_by(*order))
    seen = None if user.may("adjudicator") else _answered_by(conn, user, [row.id for row in picked])
    return Found(tuple(_short(row, seen is None or row.id in seen) for row in rows), total, page, per_page)


def _answered_by(conn: Connection, user: User, ids: list[int]) -> set[int]:
    """Those of the items that the user has answered."""
    mine = (answers.c.user_id == user.id) & answers.c.active & answers.c.item_id.in_(ids)
    return set(conn.execute(select(answers.c.item_id).where(mine)).scalars())


def _state(state: str, user: User) -> Any:
    from labelwright.webapp.tables import skips

    check_option("state", state, STATES)
    if state == "skipped":
        return items.c.id.in_(select(skips.c.item_id).where(skips.c.user_id == user.id))
    if state == "conflict":
        return items.c.conflict
    return and_(items.c.open) if state == "open" else or_(~items.c.open)


def _short(row: Row[Any], told: bool) -> dict[str, Any]:
    """told: whether the user may know what the others said."""
    state = "conflict" if row.conflict else "open" if row.open else "answered"
    return {
        "item": row.key, "row": row.row, "given": _loaded(row.given), "suggested": _loaded(row.top),
        "error_prob": row.error_prob, "kind": row.kind, "text": row.snippet, "answers": row.answers, "state": state,
        "flagged": row.flagged, "settled": _loaded(row.settled) if told else None,
    }  # fmt: skip


def _answers(conn: Connection, item: int) -> list[Row[Any]]:
    query = select(answers, users.c.name).join(users, users.c.id == answers.c.user_id)
    return list(conn.execute(query.where(answers.c.item_id == item, answers.c.active).order_by(answers.c.id)))


def _said(row: Row[Any]) -> Said:
    kind = "adjudication" if row.stream == "adjudication" else "review"
    return Said(row.name, kind, _loaded(row.value), _time(row.time), row.comment, row.severity, row.why)


def _neighbours(conn: Connection, row: Row[Any], contents: Contents) -> tuple[Neighbour, ...]:
    near = json.loads(row.neighbours or "[]")
    if not near:
        return ()
    columns = (items.c.key, items.c.given, items.c.snippet)
    found = select(*columns).where(items.c.queue_id == row.queue_id, items.c.key.in_([key for key, _ in near]))
    rows = {n.key: n for n in conn.execute(found)}
    kept = [(rows[key], alike) for key, alike in near if key in rows]
    return tuple(Neighbour(n.key, _loaded(n.given), float(alike), _glance(n, contents)) for n, alike in kept)


def _glance(row: Any, contents: Contents) -> Content:
    if contents.kind == "image":
        return Content("image", media=True)
    return Content("text", text=row.snippet[:_SHORT]) if row.snippet else Content("none")


def _why(row: Row[Any], neighbours: tuple[Neighbour, ...], cell: Any, part: Part | None) -> tuple[str, ...]:
    """Sentences on why the item is shown."""
    out = []
    given, top = _loaded(row.given), _loaded(row.top)
    if part is not None and part.missed:
        return (f"The detector finds an object that no box marks, with probability {row.error_prob:.0%}.",)
    if row.error_prob is not None:
        out.append(f"The label is wrong with probability {row.error_prob:.0%}, by all the evidence of the audit.")
    shares = {json.dumps(name): p for name, p in json.loads(row.suggested)}
    if given is None:
        out.append("It has no label yet.")
    elif part is not None and part.problem in FAULTS:
        out.append(FAULTS[part.problem])
    elif isinstance(given, list):
        gone, more = (", ".join(map(str, names)) for names in (_less(given, top), _less(top, given)))
        out += [f"By the evidence it should not have: {gone}."] if gone else []
        out += [f"By the evidence it lacks: {more}."] if more else []
    elif top not in (None, given):
        own = shares.get(json.dumps(given))
        out.append(
            f"The model finds {top!s} ({shares.get(json.dumps(top), 0):.0%}) likelier than {given!s}"
            + (f" ({own:.0%})." if own is not None else ".")
        )
    if neighbours:
        others = sum(n.label != given for n in neighbours)
        out.append(f"{others} of its {len(neighbours)} nearest items carry another label.")
    if row.kind in ("ambiguous", "novel"):
        out.append("Several classes may fit." if row.kind == "ambiguous" else "Perhaps no class fits.")
    if cell.answered >= 3 and cell.given is not None:
        alike = "with the same two labels"
        if isinstance(given, list):
            less, more = _loaded(cell.given), _loaded(cell.suggested)
            alike = f"that have {less[0]!s} in doubt" if less else f"that perhaps lack {more[0]!s}"
        out.append(f"Of {cell.answered} answered items {alike}, {cell.wrong:.0f} were wrong.")
    return tuple(out)


def _less(a: list[Any], b: list[Any]) -> list[Any]:
    """`a` without what is in `b`."""
    return [name for name in a if name not in b]


def _loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
