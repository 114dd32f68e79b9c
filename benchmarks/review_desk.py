"""The review desk: import, next and answer, many reviewers at once, export, opening.

`python benchmarks/review_desk.py` measures on SQLite in a temporary folder, and with `--database postgresql://…` (an empty
database) the case `reviewers` there. It prints what it found and writes results/desk.json; `--only CASE` runs one case.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "desk.json"
N, CLASSES, TIMED, ANSWERS = 100_000, 10, 400, 1_000_000
REVIEWERS, EACH = 20, 500


def repository(folder: Path, n: int) -> Any:
    """An audited repository of n short texts with ten classes, 8 % of the labels wrong, a fair model."""
    import numpy as np

    import labelwright as lw
    from labelwright.store import Repository

    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=n)
    logits = rng.normal(0, 1, (n, CLASSES)) + 4 * np.eye(CLASSES)[truth]
    p = np.exp(logits)
    given = np.where(rng.random(n) < 0.08, rng.integers(CLASSES, size=n), truth)
    names = np.array([f"class {k}" for k in range(CLASSES)])
    keys = [f"item {i:07d}" for i in range(n)]
    audit = lw.audit(names[given], p / p.sum(1, keepdims=True), items=keys)
    repo = Repository.create(
        folder / "r.labels", fingerprint="f", source="x.csv", space=json.loads(audit.space.to_json())
    )
    texts = [f"{i} is a text of some sixty words. " * 10 for i in range(n)]
    from labelwright.auditing.material import review_files

    repo.write_audit(review_files(audit, content=texts))
    return repo


def users(engine: Any, n: int) -> list[Any]:
    """n annotators."""
    from sqlalchemy import insert

    from labelwright.webapp import tables
    from labelwright.webapp.database import writing
    from labelwright.webapp.views import User

    rows = [
        {"id": i + 1, "name": f"r{i}", "password_hash": "!", "role": "annotator", "active": True, "created": 0.0}
        for i in range(n)
    ]
    with writing(engine) as conn:
        conn.execute(insert(tables.users), rows)
    return [User(row["id"], row["name"], "annotator") for row in rows]


def opened(folder: Path, n: int, database: str | None = None) -> tuple[Any, Any, dict[str, float]]:
    """A desk and its engine; the seconds that the import and the second opening took."""
    from labelwright.webapp.database import open_database
    from labelwright.webapp.desk import Desk

    repo = repository(folder, n)
    engine = open_database(database or folder / "review.sqlite")
    start = time.perf_counter()
    Desk.open(repo, engine, flush_every=None)
    imported = time.perf_counter() - start
    engine.dispose()
    start = time.perf_counter()
    engine = open_database(database or folder / "review.sqlite")
    desk = Desk.open(repo, engine, flush_every=None)
    return desk, engine, {"import_s": imported, "open_again_s": time.perf_counter() - start}


def percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * s for s in seconds)
    return {f"p{q}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * q // 100)], 2) for q in (50, 95, 99)}


def import_and_answer(folder: Path) -> dict[str, Any]:
    """100 k items: import, then next (with one leased ahead) and answer, each on the disk; then the figures."""
    from labelwright.webapp.answers import Answer

    desk, engine, out = opened(folder, N)
    anna = users(engine, 1)[0]
    for stream in ("repair", "estimation"):
        taken, nexts, whole = [], [], []
        for i in range(TIMED):
            start = time.perf_counter()
            lease = desk.next(anna, stream)
            middle = time.perf_counter()
            label = lease.item.suggested[0][0]
            said = Answer("keep") if label == lease.item.given else Answer("class", (label,))
            desk.answer(anna, lease.token, said, client_id=f"{stream}{i}", seconds=1.0)
            end = time.perf_counter()
            nexts.append(middle - start)
            taken.append(end - middle)
            whole.append(end - start)
        out[stream] = {"next": percentiles(nexts), "answer": percentiles(taken), "both": percentiles(whole)}
    for name, call in {
        "progress": desk.progress, "people": desk.people, "classes": desk.classes,
        "search": lambda: desk.search("text 77", user=anna), "item": lambda: desk.item("item 0050000", anna),
    }.items():  # fmt: skip
        desk._figures.changed()
        start = time.perf_counter()
        call()
        out[f"{name}_ms"] = round(1000 * (time.perf_counter() - start), 2)
    start = time.perf_counter()
    out["flushed"], out["flush_s"] = desk.flush(), time.perf_counter() - start
    engine.dispose()
    return out


def many_reviewers(folder: Path, database: str | None = None) -> dict[str, Any]:
    """20 reviewers with 500 answers each, at once, in the repair stream of 20 k items."""
    from sqlalchemy import func, select

    from labelwright.webapp import tables
    from labelwright.webapp.answers import Answer
    from labelwright.webapp.database import reading

    desk, engine, out = opened(folder, 2 * REVIEWERS * EACH, database)
    failed: list[str] = []
    times: list[float] = []

    def work(user: Any) -> None:
        for i in range(EACH):
            try:
                start = time.perf_counter()
                lease = desk.next(user)
                desk.answer(user, lease.token, Answer("keep"), client_id=f"{user.id}-{i}")
                times.append(time.perf_counter() - start)
            except Exception as err:
                failed.append(f"{type(err).__name__}: {err}"[:300])

    threads = [threading.Thread(target=work, args=(user,)) for user in users(engine, REVIEWERS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out["seconds"] = time.perf_counter() - start
    with reading(engine) as conn:
        kept = conn.execute(select(func.count()).select_from(tables.answers)).scalar_one()
        different = conn.execute(select(func.count(tables.answers.c.item_id.distinct()))).scalar_one()
    flushed = desk.flush()
    engine.dispose()
    return out | {
        "reviewers": REVIEWERS, "answers": kept, "lost": REVIEWERS * EACH - kept, "given_twice": kept - different,
        "errors": len(failed), "first_error": failed[:1], "events": flushed, "next_and_answer": percentiles(times),
    }  # fmt: skip


def export_million(folder: Path) -> dict[str, Any]:
    """A million answers of ten people, exported in each format; memory beyond that before."""
    import numpy as np
    from sqlalchemy import insert, select

    from labelwright.webapp import tables
    from labelwright.webapp.database import writing

    desk, engine, out = opened(folder, N)
    people = users(engine, ANSWERS // N)
    rng = np.random.default_rng(0)
    with writing(engine) as conn:
        keys = conn.execute(select(tables.items.c.id)).scalars().all()
        for user in people:
            labels = rng.integers(CLASSES, size=N)
            rows = [
                {
                    "queue_id": 1, "item_id": item, "user_id": user.id, "client_id": f"{item}", "stream": "repair",
                    "event_id": f"{user.id:08d}{item:024d}", "kind": "class", "value": f'"class {k}"', "label": f"class {k}",
                    "said": "{}", "comment": "", "severity": "", "why": "", "wrong_low": 0.0, "wrong_high": 0.0,
                    "extra": False, "active": True, "time": 1.7e9 + item, "seconds": 2.5,
                }
                for item, k in zip(keys, labels)
            ]  # fmt: skip
            conn.execute(insert(tables.answers), rows)
    del rows, keys, labels
    for format in ("csv", "jsonl", "parquet"):
        b"".join(desk.export(format).__next__() for _ in range(1))  # imports and pools are not counted
        Path("/proc/self/clear_refs").write_text("5")
        before, start, cpu, size = memory("VmRSS"), time.perf_counter(), time.process_time(), 0
        for piece in desk.export(format):
            size += len(piece)
        out[format] = {
            "seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu, "mib": size / 2**20,
            "extra_mib": memory("VmHWM") - before,
        }  # fmt: skip
    engine.dispose()
    return out


def fresh(folder: Path) -> dict[str, Any]:
    """A fresh repository of 1,000 items: importing the desk's code, making the database, importing the queue."""
    repository(folder, 1000)
    code = (
        "import time; t = time.perf_counter()\n"
        "from labelwright.store import Repository\n"
        "from labelwright.webapp.database import open_database\n"
        "from labelwright.webapp.desk import Desk\n"
        f"repo = Repository.open({str(folder / 'r.labels')!r})\n"
        f"Desk.open(repo, open_database({str(folder / 'n.sqlite')!r}), flush_every=None)\n"
        "print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"open_fresh_s": float(done.stdout)}


def memory(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its highest."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith(field))) / 1024


CASES = {"answer": import_and_answer, "reviewers": many_reviewers, "export": export_million, "fresh": fresh}


def main() -> None:
    """Each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(CASES))
    parser.add_argument("--database", help="an empty PostgreSQL database, for the case `reviewers`")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        with tempfile.TemporaryDirectory() as folder:
            options = {"database": given.database} if given.database else {}
            print(json.dumps(CASES[given.case](Path(folder), **options)))
        return
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    result["machine"] = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    for case in [given.only] if given.only else CASES:
        for database in [given.database if case == "reviewers" else None]:
            name = f"{case} on PostgreSQL" if database else case
            command = [sys.executable, __file__, "--case", case, *(["--database", database] if database else [])]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            result[name] = json.loads(done.stdout.splitlines()[-1])
            print(f"{name}: {json.dumps(result[name], indent=1)}")
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"highest memory of a case: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
