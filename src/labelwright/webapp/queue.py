"""An audit's items become rows of the database, once; and the filters by which they are handed out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, exists, func, insert, select, update

from labelwright.errors import DataError, RepositoryError
from labelwright.store.events import json_values
from labelwright.webapp.content import Contents
from labelwright.webapp.tables import answers, cells, items, queues, strata

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.store import Repository

_AT_A_TIME = 5_000  # rows that are inserted together
_LEAST = 1e-6  # error probabilities are drawn in to [1e-6, 1 - 1e-6] before their log-odds
UNLABELLED = -100.0  # log-odds of an item without a label: it comes last
_VOTES = 50  # earlier votes that are kept per item


@dataclass(frozen=True)
class Filters:
    """Which items to be given: of this given label, of this likelier one, of this kind of issue. None: any."""

    label: Any = None
    suggested: Any = None
    kind: str | None = None

    def conditions(self) -> list[Any]:
        """As conditions on the table `items`."""
        out = []
        if self.label is not None:
            out.append(items.c.given == as_json(self.label))
        if self.suggested is not None:
            out.append(items.c.top == as_json(self.suggested))
        if self.kind is not None:
            out.append(items.c.kind == self.kind)
        return out


def as_json(label: Any) -> str | None:
    """One label as the JSON text of an event."""
    text: str | None = json_values([label])[0].as_py()
    return text


def repository_name(repo: Repository) -> str:
    """Names a repository wherever its folder is moved."""
    return f"{repo.head['fingerprint']} {repo.head.get('created', '')}"[:300]


def audit_folder(repo: Repository, audit: str | None) -> Path:
    """The folder of an audit, the newest one that can be reviewed when None.

    Raises:
        RepositoryError: there is none.
    """
    found = [folder for folder in repo.audits() if _source(folder) and (audit is None or folder.name == audit)]
    if not found:
        raise RepositoryError(
            found=f"no audit{f' {audit!r}' if audit else ''} with items to review in {repo.path}",
            expected="an audit of labels, one or several classes per item",
            fix=f"run: labelwright audit DATA --out {repo.path}",
        )
    return found[-1]


def open_queue(conn: Connection, repo: Repository, folder: Path, contents: Contents, *, overlap: int) -> int:
    """The number of the audit's queue, imported first where it is not there yet. Part of the caller's transaction."""
    name = repository_name(repo)
    found = select(queues.c.id).where(queues.c.repository == name, queues.c.audit == folder.name)
    number = conn.execute(found).scalar()
    if number is None:
        number = _import(conn, repo, folder, contents, name, overlap)
    return int(number)


def facts(conn: Connection, queue: int) -> tuple[float, bool]:
    """When the queue was made, to tell it from another of the same audit; and whether its items have sets of classes."""
    made = conn.execute(select(queues.c.created).where(queues.c.id == queue)).scalar_one()
    top = conn.execute(select(items.c.top).where(items.c.queue_id == queue).limit(1)).scalar()
    return float(made), (top or "").startswith("[")


def set_wanted(conn: Connection, queue: int, overlap: int) -> None:
    """Ask for another number of answers per item; items that have enough are closed, others open again."""
    mine = items.c.queue_id == queue
    if conn.execute(select(items.c.id).where(mine, items.c.wanted != overlap).limit(1)).scalar() is None:
        return
    judged = exists().where(answers.c.item_id == items.c.id, answers.c.active, answers.c.stream == "adjudication")
    closed = (items.c.answers >= overlap) | judged
    conn.execute(update(items).where(mine).values(wanted=overlap, open=~closed))
    heads = select(func.max(items.c.logit)).where(items.c.cell_id == cells.c.id, items.c.open).scalar_subquery()
    conn.execute(update(cells).where(cells.c.queue_id == queue).values(head=heads, priority=heads + cells.c.shift))


def set_gold(conn: Connection, queue: int, gold: Mapping[str, Any]) -> None:
    """Which items have a known label.

    Raises:
        DataError: keys that the queue does not have.
    """
    mine = items.c.queue_id == queue
    conn.execute(update(items).where(mine, items.c.gold.is_not(None)).values(gold=None))
    lost = []
    for key, label in gold.items():
        done = conn.execute(update(items).where(mine, items.c.key == str(key)).values(gold=as_json(label)))
        lost += [key] if done.rowcount == 0 else []
    if lost:
        raise DataError(
            found=f"{len(lost)} gold items that are not in the audit; first is {str(lost[0])[:100]!r}",
            expected="keys of audited items",
            fix="take them from items.parquet of the audit",
        )


def _source(folder: Path) -> Path | None:
    for name in ("review.parquet", "items.parquet"):
        if (folder / name).is_file():
            import pyarrow.parquet as pq

            names = pq.read_schema(folder / name).names
            return folder / name if {"item", "given", "error_prob"} <= set(names) else None
    return None


def _import(conn: Connection, repo: Repository, folder: Path, contents: Contents, name: str, overlap: int) -> int:
    """All items in one transaction, some thousands per statement."""
    import pyarrow.parquet as pq

    table = pq.read_table(_source(folder))
    if "place" not in table.column_names:
        table = _old(table, folder)
    done = conn.execute(
        insert(queues).values(repository=name, audit=folder.name, total=table.num_rows, created=time.time())
    )
    queue: int = done.inserted_primary_key[0]  # type: ignore[index]
    snippets, votes = contents.snippets(), _votes(repo)
    for row in _strata(table):
        conn.execute(insert(strata), {"queue_id": queue, **row})
    cell_of = _cells(conn, queue, table)
    order = _stratum_places(table)
    batch: list[dict[str, Any]] = []
    for at, row in enumerate(_rows(table)):
        key = str(row["item"])
        snippet = _storable(snippets[at] if at < len(snippets) else "")
        batch.append(
            {
                "queue_id": queue, "cell_id": cell_of[at], "key": key, "row": row["row"],
                "given": row["given"], "suggested": row["suggested"], "top": row["top"], "error_prob": row["error_prob"],
                "logit": logit(row["error_prob"]), "kind": row["kind"], "is_issue": bool(row["is_issue"]),
                "stratum": row["stratum"], "place": row["place"], "stratum_place": order.get(at),
                "neighbours": json.dumps(list(zip(row["near"] or [], row["similarity"] or [])), ensure_ascii=False),
                "votes": json.dumps(votes.get(key, []), ensure_ascii=False), "snippet": snippet,
                "words": f"{key} {snippet}".casefold(), "wanted": overlap, "answers": 0, "open": True, "conflict": False,
                "flagged": False,
            }
        )  # fmt: skip
        if len(batch) == _AT_A_TIME:
            conn.execute(insert(items), batch)
            batch = []
    if batch:
        conn.execute(insert(items), batch)
    return queue


def logit(error_prob: float | None) -> float:
    """Log-odds of an error probability, far below all others where there is no label."""
    if error_prob is None:
        return UNLABELLED
    p = min(max(error_prob, _LEAST), 1 - _LEAST)
    return math.log(p / (1 - p))


def _storable(text: str) -> str:
    """Without the one character that PostgreSQL's texts cannot hold."""
    return text.replace("\0", "\ufffd")


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_AT_A_TIME):
        yield from batch.to_pylist()


def _cells(conn: Connection, queue: int, table: pa.Table) -> list[int]:
    """The cell of each row. Items whose labels may be wrong in the same way share one: the same pair (given, suggested), of sets
    of classes the same class that is doubted."""
    doubts = _doubts(table)
    heads: dict[tuple[str | None, str | None], float] = {}
    for doubt, p in zip(doubts, table["error_prob"].to_pylist()):
        heads[doubt] = max(heads.get(doubt, -math.inf), logit(p))
    numbers = {doubt: _cell(conn, queue, *doubt, head) for doubt, head in heads.items()}
    return [numbers[doubt] for doubt in doubts]


def _doubts(table: pa.Table) -> list[tuple[str | None, str | None]]:
    pairs = list(zip(table["given"].to_pylist(), table["top"].to_pylist()))
    if not any((top or "").startswith("[") for _, top in pairs):
        return pairs
    if "doubted" not in table.column_names:  # an older audit
        return [(None, None)] * len(pairs)
    told = [(None, None) if text is None else json.loads(text) for text in table["doubted"].to_pylist()]
    return [(as_json(given), as_json(suggested)) for given, suggested in told]


def _cell(conn: Connection, queue: int, given: str | None, suggested: str | None, head: float) -> int:
    row = {"queue_id": queue, "given": given, "suggested": suggested, "head": head, "priority": head}
    number: int = conn.execute(insert(cells).values(row)).inserted_primary_key[0]  # type: ignore[index]
    return number


def _strata(table: pa.Table) -> list[dict[str, Any]]:
    import numpy as np

    told = np.array([s is not None for s in table["stratum"].to_pylist()], dtype=bool)
    if not told.any():
        return []
    stratum = np.array(table["stratum"].to_pylist(), dtype=object)[told].astype(np.int64)
    size = np.bincount(stratum)
    if "size" in table.column_names:  # an old audit knows the places of its sample only
        size = np.zeros(len(size), dtype=np.int64)
        size[stratum] = np.array(table["size"].to_pylist(), dtype=object)[told].astype(np.int64)
    mean = np.bincount(stratum, np.array(table["suspicion"].to_pylist(), dtype=float)[told]) / np.bincount(stratum)
    return [{"stratum": h, "size": int(n), "mean": float(m)} for h, (n, m) in enumerate(zip(size, mean)) if n]


def _stratum_places(table: pa.Table) -> dict[int, int]:
    """Row of the table -> place in the order of its stratum, from 0."""
    place, stratum = table["place"].to_pylist(), table["stratum"].to_pylist()
    taken: dict[int, int] = {}
    out = {}
    for row in sorted((p, row) for row, p in enumerate(place) if p is not None):
        h = stratum[row[1]]
        out[row[1]] = taken.get(h, 0)
        taken[h] = out[row[1]] + 1
    return out


def _votes(repo: Repository) -> dict[str, list[list[Any]]]:
    """Votes and suggestions of others than this audit, by item."""
    found = repo.events(kinds=("vote",)).select(["item", "source", "kind", "value", "time"])
    out: dict[str, list[list[Any]]] = {}
    for batch in found.to_batches(max_chunksize=10_000):
        for event in batch.to_pylist():
            mine = out.setdefault(event["item"], [])
            if len(mine) < _VOTES:
                mine.append([event["source"], event["kind"], event["value"], event["time"].timestamp()])
    return out


def _old(table: pa.Table, folder: Path) -> pa.Table:
    """items.parquet of an audit from before review.parquet, in its columns: the places of the review sample, no neighbours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = table.num_rows
    order = sorted(range(n), key=table["row"].to_pylist().__getitem__)
    table = table.take(order)
    stratum: list[int | None] = [None] * n
    place, size = stratum.copy(), stratum.copy()
    if (folder / "review_sample.parquet").is_file():
        at = {row: i for i, row in enumerate(table["row"].to_pylist())}
        sample = pq.read_table(folder / "review_sample.parquet").to_pylist()
        taken: dict[int, int] = {}
        for row in sample:
            taken[row["stratum"]] = taken.get(row["stratum"], 0) + 1
        for number, row in enumerate(sample):
            i = at[row["row"]]
            stratum[i], place[i] = row["stratum"], number
            size[i] = round(taken[row["stratum"]] / row["probability"])
    pairs = [
        json.dumps([[c["label"], round(c["probability"], 4)] for c in row or []], ensure_ascii=False)
        for row in table["distribution"].to_pylist()
    ]
    p = [None if v is None or v != v else v for v in table["error_prob"].to_pylist()]
    columns = {
        "item": table["item"].cast(pa.string()), "row": table["row"], "given": json_values(table["given"]),
        "suggested": pairs, "top": json_values(table["suggested"]), "error_prob": pa.array(p, pa.float64()),
        "kind": table["kind"], "is_issue": table["is_issue"], "stratum": pa.array(stratum, pa.int64()),
        "place": pa.array(place, pa.int64()), "size": pa.array(size, pa.int64()), "suspicion": pa.array(p, pa.float64()),
        "near": pa.array([[]] * n, pa.list_(pa.string())), "similarity": pa.array([[]] * n, pa.list_(pa.float32())),
    }  # fmt: skip
    return pa.table(columns)
