"""Two writers of one label repository, killed with signal 9 at random moments and replaced, again and again.

`python benchmarks/store_kills.py FOLDER KILLS [SEED]` prints what it found as JSON, and stops at the first thing that is wrong.
Writers are forked from a process that has imported everything but used nothing, so that a kill costs milliseconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import lance  # noqa: F401  imported once, before the forks
import pyarrow  # noqa: F401

from labelwright.store import Repository
from labelwright.store.events import json_values

EVENTS = 4  # per commit, and one more that the other writer tries to add too


def write(folder: Path, name: str) -> None:
    """Commit until killed; each acknowledged commit is noted in a file, one line in one write."""
    repo = Repository.open(folder / "r.labels")
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for i in range(10**9):
        shared = f"shared {int(time.monotonic() * 10)}"  # what both writers say in the same tenth of a second
        ids = [f"{name} {i} {j}" for j in range(EVENTS)] + [shared]
        items = {"event_id": ids, "item": [f"item {j % 50}" for j in range(len(ids))], "value": json_values(ids)}
        commit = repo.append(items, message=f"{name} {i}", source=name)
        os.write(acks, f"{name}\t{i}\t{commit}\n".encode())


def check(folder: Path) -> dict[str, Any]:
    """Everything that must hold, whatever was killed."""
    lines = (folder / "acks").read_bytes().decode().splitlines()  # before the repository: what it says must be there
    repo = Repository.open(folder / "r.labels")
    log, events = repo.log().to_pylist(), repo.events()
    last = len(log)
    assert [c["commit"] for c in log] == list(range(1, last + 1))
    rows = [e for e in events.select(["event_id", "commit"]).to_pylist() if e["commit"] <= last]
    ids = Counter(e["event_id"] for e in rows)
    assert max(ids.values()) == 1, "an event stands there twice"
    sizes = Counter(e["commit"] for e in rows)
    assert all(sizes[c["commit"]] == c["events"] for c in log), "a commit is half there"
    assert [e["commit"] for e in rows] == sorted(e["commit"] for e in rows)
    for line in lines:
        name, i, commit = line.split("\t")
        assert log[int(commit) - 1]["message"] == f"{name} {i}", f"acknowledged commit {commit} is lost"
        assert all(f"{name} {i} {j}" in ids for j in range(EVENTS)), f"events of acknowledged commit {commit} are lost"
    assert repo.event_table.verify() >= last
    left = repo.event_table.log.table - len(repo.event_table.log.tables)  # Lance versions that never came to count
    found = {"commits": last, "acknowledged": len(lines), "events": len(rows)}
    return found | {"refused_as_double": (EVENTS + 1) * last - len(rows), "versions_left_behind": left}


def forked(work: Any, *arguments: Any) -> int:
    """The process id of a child that does the work and exits."""
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)
            os._exit(0)
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
            os._exit(1)
    return child


def tell(folder: Path) -> None:
    (folder / "found.json").write_text(json.dumps(check(folder)))


def run(folder: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill `kills` writers, checking everything after every 50th and at the end."""
    warnings.filterwarnings("ignore", message="lance is not fork-safe")  # nothing of it runs in this process
    rng, start = random.Random(seed), time.perf_counter()
    Repository.create(folder / "r.labels", fingerprint="f", source="x.csv", space={})
    (folder / "acks").touch()
    writers = {name: forked(write, folder, name) for name in ("a0", "b0")}
    for kill in range(1, kills + 1):
        time.sleep(0.03 + 0.15 * rng.random())
        victim = rng.choice(sorted(writers))
        child = writers.pop(victim)
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status == -signal.SIGKILL, f"writer {victim} had ended by itself"
        name = f"{victim[0]}{kill}"
        writers[name] = forked(write, folder, name)
        if kill % 50 == 0 or kill == kills:
            assert os.waitstatus_to_exitcode(os.waitpid(forked(tell, folder), 0)[1]) == 0, "see the line above"
    for child in writers.values():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(os.waitpid(forked(tell, folder), 0)[1]) == 0, "see the line above"
    found = json.loads((folder / "found.json").read_text())
    return {"kills": kills + 2, "lost": 0, "half": 0, "twice": 0, "seconds": time.perf_counter() - start} | found


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int((sys.argv + ["0"])[3]))))
