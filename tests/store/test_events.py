"""The event table: what is committed stays, once, whoever dies and whoever else writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.errors import (
    LabelwrightWarning,
    RepositoryError,
)
from labelwright.store import Repository
from labelwright.store._commits import CommitLog
from labelwright.store._lock import write_lock
from labelwright.store.events import EventTable, json_values, schema

KILLS = Path(__file__).resolve().parents[2] / "benchmarks" / "store_kills.py"


@pytest.fixture
def table(tmp_path):
    return EventTable(tmp_path / "events")


def said(*ids, value="cat", **columns):
    return {
        "event_id": list(ids),
        "item": [f"item of {i}" for i in ids],
        "value": json_values([value] * len(ids)),
        **columns,
    }


def put(table, *ids, **columns):
    return table.append(said(*ids, **columns), message=f"says {', '.join(ids)}", source="anna")


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else "folder" for p in folder.rglob("*")}


def test_commits_are_numbered_and_read_back(table):
    assert table.read().num_rows == 0 and not table.folder.exists()  # reading makes nothing
    assert put(table, "a", "b") == 1
    when = datetime(2024, 2, 29, 12, tzinfo=UTC)
    columns = {"kind": ["review"], "probability": [0.25], "time": [when], "tool": ["web 2"], "source": ["ben"]}
    assert put(table, "c", value=["dog", "cat"], **columns) == 2
    rows = table.read().to_pylist()
    assert table.read().schema == schema()
    assert [r["event_id"] for r in rows] == ["a", "b", "c"] and [r["commit"] for r in rows] == [1, 1, 2]
    assert rows[0]["source"] == "anna" and rows[0]["kind"] == "import" and rows[0]["probability"] is None
    assert (
        rows[0]["tool"].startswith("labelwright ") and abs((datetime.now(UTC) - rows[0]["time"]).total_seconds()) < 60
    )
    assert rows[2] == {
        "event_id": "c", "item": "item of c", "source": "ben", "kind": "review", "value": '["cat", "dog"]',
        "probability": 0.25, "time": when, "tool": "web 2", "commit": 2,
    }  # fmt: skip
    assert table.read(["item"], until=1)["item"].to_pylist() == ["item of a", "item of b"]
    assert table.read(["event_id"], kinds=("review",)).to_pylist() == [{"event_id": "c"}]
    assert EventTable(table.folder).read().equals(table.read()) and table.verify() == 2


@pytest.mark.parametrize(
    "item", ["x'y", "a' OR 1=1 --", "new\nline", "back\\slash", "nul\0x", "%_", "ünï😀", '"q"', " "]
)
def test_items_are_found_by_any_key(table, item):
    for key in ("other", item):
        table.append({"item": [key], "value": json_values(["cat"])}, message="m", source="s")
    assert table.read(["item"], item=item).to_pylist() == [{"item": item}]


def test_folders_with_odd_names(tmp_path):
    folder = tmp_path / "we ird#%20?é" / "s3:x"
    folder.mkdir(parents=True)
    table = EventTable(folder / "events")
    put(table, "a")
    assert EventTable(folder / "events").read().num_rows == 1 and (folder / "events" / "table.lance").is_dir()


def test_an_event_is_added_once(table):
    assert put(table, "a", "b", "a") == 1 and table.read().num_rows == 2
    assert put(table, "b", "a") == 1  # nothing new: no commit
    assert put(table, "b", "o'hara", "c", "c") == 2
    assert table.read(["event_id"])["event_id"].to_pylist() == ["a", "b", "o'hara", "c"]
    many = [f"m{i}" for i in range(1500)]  # past where ids are looked up one by one
    put(table, *many[:1200])
    assert put(table, *many) == 4 and table.log.commits[-1].events == 300
    assert table.read(["event_id"])["event_id"].to_pylist() == ["a", "b", "o'hara", "c", *many]
    assert table.append({"item": [], "value": pa.array([], pa.string())}, message="m", source="s") == 4


def test_the_log_tells_of_commits_without_their_events(table):
    put(table, "a", "b")
    put(table, "c")
    log = CommitLog(table.log.path)
    log.refresh()
    assert [(c.commit, c.message, c.source, c.events) for c in log.commits] == [
        (1, "says a, b", "anna", 2),
        (2, "says c", "anna", 1),
    ]
    assert len({c.head for c in log.commits}) == 2 and log.last == 2


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=5), min_size=1, max_size=6))
def test_any_commits_equal_the_first_saying_of_each_event(tmp_path_factory, commits):
    table = EventTable(tmp_path_factory.mktemp("r") / "events")
    expected: dict[str, int] = {}
    number = 0
    for ids in commits:
        new = [str(i) for i in dict.fromkeys(ids) if str(i) not in expected]
        number += bool(new)
        expected |= dict.fromkeys(new, number)
        assert put(table, *map(str, ids)) == number
    rows = table.read(["event_id", "commit"]).to_pylist()
    assert [(r["event_id"], r["commit"]) for r in rows] == list(expected.items())
    for until in range(number + 1):
        assert table.read(["event_id"], until=until)["event_id"].to_pylist() == [
            e for e, c in expected.items() if c <= until
        ]


def test_merging_files_keeps_every_version(table, monkeypatch):
    monkeypatch.setattr("labelwright.store.events.MERGE_EVERY", 4)
    monkeypatch.setattr("labelwright.store.events.MERGE_ROWS", 20)
    other = EventTable(table.folder)
    for i in range(30):
        put(table if i % 2 else other, *(f"{i} {j}" for j in range(i % 3 + 1)))
    assert len(table.read().column("commit").chunks) < 12  # files, not one per commit
    for until in range(31):
        expected = [f"{i} {j}" for i in range(until) for j in range(i % 3 + 1)]
        assert table.read(["event_id"], until=until)["event_id"].to_pylist() == expected
    assert table.verify() == EventTable(table.folder).verify() == 30


def test_old_lance_versions_go_but_no_commit_does(table, monkeypatch):
    from datetime import timedelta

    monkeypatch.setattr("labelwright.store.events.MERGE_EVERY", 5)
    monkeypatch.setattr("labelwright.store.events._GRACE", timedelta(0))
    monkeypatch.setattr("labelwright.store.events._PRUNE", 10)
    for i in range(40):
        put(table, f"{i}")
    versions = list((table.folder / "table.lance" / "_versions").glob("*.manifest"))
    assert len(versions) < 25
    assert EventTable(table.folder).verify() == 40
    assert table.read(["event_id"], until=7)["event_id"].to_pylist() == [str(i) for i in range(7)]
    put(table, "after")
    assert table.verify() == 41


def test_a_merge_that_fails_does_not_fail_the_commit(table, monkeypatch):
    monkeypatch.setattr("labelwright.store.events.MERGE_EVERY", 2)
    put(table, "a")

    def full(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as m:
        m.setattr(sys.modules["lance.dataset"].DatasetOptimizer, "compact_files", full)
        with pytest.warns(LabelwrightWarning, match="were not merged: No space left"):
            assert put(table, "b") == 2
    assert put(table, "c") == 3 and table.verify() == 3


def test_a_handle_out_of_date_is_refreshed(table):
    other = EventTable(table.folder)
    put(table, "a")
    assert put(other, "a", "b") == 2
    assert put(table, "b", "c") == 3
    assert (
        table.read(["event_id"])["event_id"].to_pylist()
        == ["a", "b", "c"]
        == other.read(["event_id"])["event_id"].to_pylist()
    )


def test_what_a_dead_writer_left_is_passed_over(table):
    import lance

    put(table, "a")
    rows = table.read()
    orphan = rows.set_column(0, "event_id", pa.array(["orphan"])).set_column(8, "commit", pa.array([2]))
    lance.write_dataset(orphan.cast(schema()), str(table.folder / "table.lance"), mode="append")
    with table.log.path.open("ab") as f:
        f.write(b'{"commit": 2, "time": "20')  # it died within its line
    for reader in (table, EventTable(table.folder)):
        assert reader.read(["event_id"])["event_id"].to_pylist() == ["a"] and reader.log.last == 1
    assert put(EventTable(table.folder), "orphan", "b") == 2  # said again, it is new
    assert table.read(["event_id"])["event_id"].to_pylist() == ["a", "orphan", "b"] and table.verify() == 2
    assert all(json.loads(line) for line in table.log.path.read_bytes().splitlines())


def test_a_log_or_table_that_is_damaged_is_told_not_mended(table):
    put(table, "a")
    put(table, "b")
    log = table.log.path
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    for bad, message in [
        (whole.replace(b"says a", b"says b"), "does not follow.*restore the repository from a copy"),
        (lines[0] + lines[2], "does not follow"),
        (lines[0] + b"junk\n" + lines[1], "cannot be read"),
        (b'{"log": "other", "version": 1}\n', "log of something else"),
        (whole.replace(b'events", "version": 1', b'events", "version": 9'), "pip install -U labelwright"),
    ]:
        log.write_bytes(bad)
        for use in (lambda t: t.read(), lambda t: put(t, "c")):
            with pytest.raises(RepositoryError, match=message):
                use(EventTable(table.folder))
        assert log.read_bytes() == bad
    log.unlink()
    before = tree(table.folder)
    with pytest.raises(RepositoryError, match=r"without log.jsonl.*restore log.jsonl from a copy"):
        put(EventTable(table.folder), "c")
    assert tree(table.folder) == before
    log.write_bytes(whole)
    (table.folder / "table.lance").rename(table.folder / "away")
    with pytest.raises(RepositoryError, match="no version 3 of .*restore the repository from a copy"):
        EventTable(table.folder).read()


def test_changed_rows_are_noticed(table):
    put(table, "a", "b")
    rows = table.read()
    original = table.read

    def changed(*_, **__):
        return rows.set_column(4, "value", pa.array(['"cat"', '"dog"']))

    table.read = changed
    with pytest.raises(RepositoryError, match=r"not what was committed.*restore"):
        table.verify()
    table.read = original
    assert table.verify() == 1


def test_a_lock_that_is_held(tmp_path):
    with write_lock(tmp_path / "lock"):  # noqa: SIM117
        with (
            pytest.raises(RepositoryError, match="another writer.*wait for the other process"),
            write_lock(tmp_path / "lock", wait=0.05),
        ):
            pass
    with write_lock(tmp_path / "lock"):
        pass


def test_threads_share_a_handle(table):
    errors = []

    def work(name):
        try:
            for i in range(8):
                put(table, f"{name}{i}", f"shared {i}")
                assert table.read(["event_id"], item=f"item of {name}{i}").num_rows == 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    ids = table.read(["event_id"])["event_id"].to_pylist()
    assert sorted(ids) == sorted([f"{n}{i}" for n in "abc" for i in range(8)] + [f"shared {i}" for i in range(8)])
    assert table.verify() == table.log.last


LIMITED = """
import resource, sys
from pathlib import Path
from labelwright.errors import RepositoryError
from labelwright.store.events import EventTable, json_values
table = EventTable(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    n = int(sys.argv[3])
    events = {"item": [str(i) for i in range(n)], "value": json_values(range(n))}
    table.append(events, message="m" * int(sys.argv[4]), source="s")
except RepositoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(table.append({"item": ["b"], "value": ["1"]}, message="m", source="s"), table.read(["item"]).num_rows, table.verify())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
@pytest.mark.parametrize("limit, rows, message", [(10, 1, 1), (20_000, 5_000, 1), (20_000, 1, 50_000)])
def test_a_full_disk(table, limit, rows, message):
    """At once, among the rows, and within the line of the log."""
    put(table, "a")
    log = table.log.path.read_bytes()
    command = [sys.executable, "-c", LIMITED, str(table.folder), *map(str, (limit, rows, message))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, went_on = done.stdout.splitlines()
    assert "cannot be written" in told and "free some room" in told
    assert went_on == "2 2 2"  # the next commit is the second, of one row
    assert table.log.path.read_bytes().startswith(log) and table.read(["event_id"]).num_rows == 2


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_a_folder_that_cannot_be_written(table, monkeypatch):
    put(table, "a")
    before = tree(table.folder)
    real = os.open

    def refused(path, flags, *rest, **more):
        if flags & (os.O_RDWR | os.O_WRONLY):  # root may write everywhere: refuse in its stead
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(RepositoryError, match=r"cannot be written \(Permission denied\).*mend the permissions"):
        put(EventTable(table.folder), "b")
    assert EventTable(table.folder).read(["event_id"]).num_rows == 1  # readers need no lock
    assert tree(table.folder) == before


def kills(folder, n):
    done = subprocess.run([sys.executable, str(KILLS), str(folder), str(n)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_two_writers_and_twenty_kills(tmp_path):
    found = kills(tmp_path, 20)
    assert found["kills"] >= 20 and found["acknowledged"] > 20 and found["refused_as_double"] > 0
    repo = Repository.open(tmp_path / "r.labels")
    start = time.perf_counter()
    assert repo.append({"item": ["a"], "value": ["1"]}, message="m", source="s") == found["commits"] + 1
    assert time.perf_counter() - start < 5  # nobody holds the lock


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_two_writers_and_a_thousand_kills(tmp_path):
    assert kills(tmp_path, 1000)["kills"] >= 1000
