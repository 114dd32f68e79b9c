"""Routes of a team: people, conflicts, export, accounts, tokens."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from labelwright.webapp.api import models
from labelwright.webapp.api.access import Adjudicator, Caller, Owner, TheDesk
from labelwright.webapp.api.errors import ApiRoute, a_file, responses
from labelwright.webapp.views import Person, Receipt

routes = APIRouter(route_class=ApiRoute, tags=["team"])
MEDIA = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


@routes.get("/people", operation_id="people", summary="Reviewers, agreement and gold items")
def people(desk: TheDesk, user: Caller) -> list[Person]:
    """Annotators see themselves alone."""
    return [person for person in desk.people() if user.may("adjudicator") or person.name == user.name]


@routes.get(
    "/conflicts", operation_id="conflicts", summary="Items on which reviewers disagree", responses=responses(403, 422)
)
def conflicts(
    desk: TheDesk, user: Adjudicator, page: Annotated[int, Query(ge=1, le=1_000_000)] = 1
) -> models.Conflicts:
    rows, total = desk.conflicts(page)
    return models.Conflicts(conflicts=rows, total=total, page=page)


@routes.post(
    "/adjudicate",
    operation_id="adjudicate",
    summary="Settle a conflict",
    responses=responses(403, 404, 409, 413, 422, 507),
)
def adjudicate(desk: TheDesk, user: Adjudicator, body: models.ItemAnswer) -> Receipt:
    return desk.adjudicate(user, body.item, body.answer.answer(desk.space.classes), client_id=body.client_id)


@routes.get(
    "/export",
    operation_id="export",
    summary="All answers as a file, streamed",
    response_class=Response,
    responses=a_file(*MEDIA.values()) | responses(403, 422),
)
def export(
    desk: TheDesk,
    user: Adjudicator,
    format: Literal["csv", "jsonl", "parquet"] = "csv",
    what: Literal["answers", "comparisons"] = "answers",
) -> Response:
    """Cells of the CSV that a spreadsheet would run as formulas begin with an apostrophe."""
    chunks = iter(desk.export(format, what))
    first = next(chunks, b"")  # an error comes now, while there is still a status code to give
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", desk.name).strip("-")[:60] or "answers"
    return StreamingResponse(
        itertools.chain([first], chunks),
        media_type=MEDIA[format],
        headers={"Content-Disposition": f'attachment; filename="{name}-{what}.{format}"'},
    )


@routes.post(
    "/flush", operation_id="flush", summary="Write waiting answers to the repository", responses=responses(403, 507)
)
def flush(desk: TheDesk, user: Owner) -> models.Flushed:
    """It happens by itself every few seconds."""
    return models.Flushed(flushed=desk.flush())
