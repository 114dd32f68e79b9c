"""What there is to read: the audit's report, the labelling instruction, the catalogue of systems, help; and the export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from labelwright.errors import OptionError
from labelwright.webapp.media import opened, within
from labelwright.webapp.refusals import NoSuchItem
from labelwright.webapp.security import FRAME_HEADERS, NoSuchPage
from labelwright.webapp.site import Site
from labelwright.webapp.views import Found

FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
MOST_REPORT = 20 << 20
AT_A_TIME = 10  # classes on a page of the instruction


def router(site: Site) -> APIRouter:
    """site: what the pages stand on."""
    pages = APIRouter(include_in_schema=False)
    desk = site.desk

    @pages.get("/report")
    def report(request: Request) -> Response:
        return site.page("report.html", site.visit(request), here="/report", audit=desk.audit, name=desk.name)

    @pages.get("/report/frame")
    def report_frame(request: Request) -> Response:
        site.visit(request)
        return HTMLResponse(_of_audit(desk, "report.html"), headers=FRAME_HEADERS)

    @pages.get("/instruction")
    def instruction(request: Request, page: int = 1) -> Response:
        visit, page = site.visit(request), min(max(page, 1), 100_000)
        told = _instructions(desk)
        every = told.get("classes", [])
        shown = every[(page - 1) * AT_A_TIME : page * AT_A_TIME]
        return site.page(
            "instruction.html", visit, here="/instruction", classes=shown, notes=told.get("notes", []),
            found=Found((), len(every), page, AT_A_TIME), looks=_looks(desk, visit.user, shown),
        )  # fmt: skip

    @pages.get("/systems")
    def systems(request: Request, q: str = "") -> Response:
        from labelwright.systems import MEANING, catalogue, search

        visit = site.visit(request)
        found = list(search(q[:500], limit=30)) if q.strip() else list(catalogue())
        return site.page("systems.html", visit, here="/systems", systems=found, q=q[:500], meaning=MEANING)

    @pages.get("/systems/{name}")
    def system(request: Request, name: str) -> Response:
        from labelwright.systems import MEANING, find

        visit = site.visit(request)
        try:
            found = find(name)
        except OptionError as error:
            raise NoSuchPage(found=error.found, expected=error.expected, fix=error.fix) from error
        return site.page(
            "system.html", visit, here="/systems", system=found, record=found.record, meaning=MEANING[found.state]
        )

    @pages.get("/export")
    def export(request: Request) -> Response:
        visit = site.visit(request)
        return site.page(
            "export.html",
            visit,
            here="/export",
            progress=desk.progress(),
            formats=FORMATS,
            repo=Path(desk.repo.path).name,
        )

    @pages.get("/export/answers")
    def answers(request: Request, format: str = "csv", what: str = "answers") -> Response:
        site.visit(request, "adjudicator")
        if format not in FORMATS:
            raise OptionError(
                found=f"the format {format[:40]!r}", expected=", ".join(FORMATS), fix="choose one of these"
            )
        chunks: Iterator[bytes] = desk.export(format, what)
        headers = {"content-disposition": f'attachment; filename="{what}.{format}"'}
        return StreamingResponse(chunks, 200, headers, media_type=FORMATS[format])

    @pages.get("/help")
    def help_(request: Request) -> Response:
        return site.page("help.html", site.visit(request), here="/help")

    return pages


def _of_audit(desk: Any, name: str) -> bytes:
    """A file of the audit's folder; links that lead out of the repository are refused."""
    root = Path(desk.repo.path)
    file, size = opened(within(root / "audits" / str(desk.audit) / name, [root]))
    with file:
        if size > MOST_REPORT:
            raise NoSuchPage(
                found=f"{name} of {size:,} bytes", expected=f"at most {MOST_REPORT:,}", fix="open the file itself"
            )
        return file.read()


def _instructions(desk: Any) -> dict[str, Any]:
    """The audit's instructions.json, {} where there is none or it is something else."""
    try:
        told = json.loads(_of_audit(desk, "instructions.json"))
    except (NoSuchPage, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) and isinstance(told.get("classes"), list) else {}


def _looks(desk: Any, user: Any, classes: list[Any]) -> dict[int, Any]:
    """The items that the instructions show, by row."""
    import pyarrow.parquet as pq

    wanted: set[int] = set()
    for c in classes:
        wanted |= {p["row"] for p in c["pairs"]} | set(c["borderline"]) | {p["row"] for p in c["do_not_confuse_with"]}
    keys = pq.read_table(Path(desk.repo.path) / "audits" / desk.audit / "items.parquet", columns=["item"])["item"]
    looks = {}
    for row in sorted(wanted)[:300]:
        if 0 <= row < len(keys):
            with suppress(NoSuchItem):
                looks[row] = desk.item(str(keys[row].as_py()), user)
    return looks
