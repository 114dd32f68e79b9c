"""Routes of reviewing: get an item, answer it, skip, flag, undo, search, compare."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator

from labelwright.webapp import media as files
from labelwright.webapp.answers import KINDS, SEVERITIES, WHYS
from labelwright.webapp.api import models
from labelwright.webapp.api.access import Caller, TheDesk
from labelwright.webapp.api.errors import ApiRoute, a_file, responses
from labelwright.webapp.desk import Desk
from labelwright.webapp.queue import Filters
from labelwright.webapp.views import STREAMS, Item, Lease, Pair, Progress, Receipt

routes = APIRouter(route_class=ApiRoute, tags=["review"])
NONE: dict[int | str, dict[str, Any]] = {204: {"description": "There is none"}}
Plain = AfterValidator(models.no_nul)
ItemKey = Annotated[str, Query(alias="item", min_length=1, max_length=2000, description="key of the item"), Plain]


@routes.get("/task", operation_id="task", summary="Who I am, and what there is to review")
def task(desk: TheDesk, user: Caller) -> models.Task:
    return models.Task(
        user=user.name, role=user.role, name=desk.name, audit=str(desk.audit), classes=list(desk.space.classes),
        multi=desk.multi, streams=list(STREAMS), kinds=list(KINDS), severities=list(SEVERITIES), whys=list(WHYS),
        links={"report": "/report", "instruction": "/instruction", "description": "/api/v1/openapi.json"},
    )  # fmt: skip


@routes.post(
    "/next", operation_id="next", summary="Lease the next item", response_model=Lease, responses=NONE | responses(422)
)
def following(desk: TheDesk, user: Caller, body: models.NextBody) -> Any:
    """The item is yours until `until`. An item that you hold already comes first; 204 when the stream has none for you."""
    asked = body.filters or models.FiltersBody()
    filters = Filters(named(desk, asked.label), named(desk, asked.suggested), asked.kind)
    return desk.next(user, body.stream, ahead=body.ahead, filters=filters) or Response(status_code=204)


@routes.get("/item", operation_id="item", summary="One item with its evidence", responses=responses(404, 422))
def item(desk: TheDesk, user: Caller, key: ItemKey) -> Item:
    """What others said of it is told once you have answered, or to adjudicators."""
    return desk.item(key, user)


@routes.get(
    "/media",
    operation_id="media",
    summary="The picture or sound of an item",
    response_class=Response,
    responses=a_file("application/octet-stream") | responses(404, 422),
)
def media(request: Request, desk: TheDesk, user: Caller, key: ItemKey) -> Response:
    """A file of the data's folder, as it is; recordings may be asked for in parts (header Range)."""
    found, _ = desk.media(key)
    return files.response(found, request.headers.get("range"))


@routes.post("/answer", operation_id="answer", summary="Answer a leased item", responses=responses(409, 413, 422, 507))
def answer(desk: TheDesk, user: Caller, body: models.LeasedAnswer) -> Receipt:
    """It is on the disk when this returns. Sent again with the same `client_id`, nothing is added and `again` is true."""
    said = body.answer.answer(desk.space.classes)
    return desk.answer(user, body.token, said, client_id=body.client_id, seconds=body.seconds)


@routes.post(
    "/item/answer",
    operation_id="answer_item",
    summary="Answer an item by its key, with no lease",
    responses=responses(404, 409, 413, 422, 507),
)
def answer_item(desk: TheDesk, user: Caller, body: models.ItemAnswer) -> Receipt:
    return desk.answer_item(user, body.item, body.answer.answer(desk.space.classes), client_id=body.client_id)


@routes.post("/skip", operation_id="skip", summary="Give a leased item back", responses=responses(409, 422))
def skip(desk: TheDesk, user: Caller, body: models.Token) -> models.Done:
    desk.skip(user, body.token)
    return models.Done()


@routes.post("/flag", operation_id="flag", summary="Mark an item for others to look at", responses=responses(404, 422))
def flag(desk: TheDesk, user: Caller, body: models.FlagBody) -> models.Done:
    desk.flag(user, body.item, body.comment, body.on)
    return models.Done()


@routes.post(
    "/undo",
    operation_id="undo",
    summary="Take my last answer back",
    response_model=Item,
    responses=NONE | responses(507),
)
def undo(desk: TheDesk, user: Caller) -> Any:
    """The item whose answer was taken back; 204 when there is nothing to undo."""
    return desk.undo(user) or Response(status_code=204)


@routes.get("/search", operation_id="search", summary="Find items", responses=responses(422))
def search(
    desk: TheDesk,
    user: Caller,
    text: Annotated[str, Query(max_length=200), Plain] = "",
    label: Annotated[str | None, Query(max_length=200, description="given label"), Plain] = None,
    suggested: Annotated[str | None, Query(max_length=200, description="likeliest class"), Plain] = None,
    kind: Annotated[str | None, Query(max_length=40, description="kind of issue"), Plain] = None,
    state: Annotated[str | None, Query(max_length=40, description="open, answered, conflict or skipped"), Plain] = None,
    flagged: bool | None = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> models.Hits:
    found = desk.search(
        text, label=named(desk, label), suggested=named(desk, suggested), kind=kind, state=state,
        flagged=flagged, user=user, page=page, per_page=per_page,
    )  # fmt: skip
    return models.Hits(rows=list(found.rows), total=found.total, page=found.page, per_page=found.per_page)


@routes.get("/progress", operation_id="progress", summary="How far we are, and the share of wrong labels")
def progress(desk: TheDesk, user: Caller) -> Progress:
    return desk.progress()


@routes.get(
    "/classes", operation_id="classes", summary="Per class: items, answers, wrong labels found, and transitions"
)
def classes(desk: TheDesk, user: Caller) -> list[dict[str, Any]]:
    return desk.classes()


@routes.post("/pair", operation_id="pair", summary="Lease two labels to compare", response_model=Pair, responses=NONE)
def pair(desk: TheDesk, user: Caller) -> Any:
    return desk.pair(user) or Response(status_code=204)


@routes.post(
    "/compare", operation_id="compare", summary="Say which label is better", responses=responses(409, 413, 422, 507)
)
def compare(desk: TheDesk, user: Caller, body: models.CompareBody) -> Receipt:
    return desk.compare(user, body.token, body.better, client_id=body.client_id)


def named(desk: Desk, text: str | None) -> Any:
    """The class that is written so; texts of other classes fit no item."""
    return None if text is None else next((name for name in desk.space.classes if str(name) == text), text)
