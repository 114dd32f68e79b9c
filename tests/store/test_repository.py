"""A repository killed at any moment holds the old audits or the new one whole, and nothing else is ever touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from labelwright.errors import LabelwrightWarning, RepositoryError
from labelwright.store.repository import Repository

SPACE = {"kind": "nominal", "classes": ["cat", "dog"]}
DATA = {"fingerprint": "f1", "source": "/home/me/reviews.csv", "space": SPACE}
FILES = {"summary.json": b"{}", "report.html": b"<p>", "issues.parquet": b"PAR1"}


def tree(folder: Path) -> dict[str, bytes | str]:
    """Every path below `folder` with its content."""
    return {
        str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else "folder"
        for p in folder.rglob("*")
    }


def test_create_open_and_write(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    assert repo.audits() == [] and repo.latest() is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.labels"]
    head = json.loads((repo.path / "labels.json").read_text())
    assert head["source"] == "reviews.csv" and head["space"] == SPACE and head["fingerprint"] == "f1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", head["created"]) and head["tool"].startswith("labelwright ")
    first = repo.write_audit(FILES)
    second = repo.write_audit({"summary.json": lambda p: p.write_text("2") and None, "extra.txt": b"x"})
    again = Repository.open(repo.path)
    assert again.audits() == [first, second] and again.latest() == second and again.head == repo.head
    assert first.name == "0001" and second.name == "0002"
    assert {p.name: p.read_bytes() for p in first.iterdir()} == FILES
    # the top shows the newest audit alone: a report of the first would be taken for the second's
    assert (repo.path / "summary.json").read_bytes() == b"2"
    assert sorted(p.name for p in repo.path.iterdir()) == ["audits", "cache", "labels.json", "summary.json"]


def test_same_data_is_opened_other_data_refused(tmp_path):
    path = tmp_path / "r.labels"
    Repository.open_or_create(path, **{**DATA, "space": {"classes": ("cat", "dog")}}).write_audit(FILES)
    repo = Repository.open_or_create(path, **{**DATA, "space": {"classes": ["cat", "dog"]}})
    assert len(repo.audits()) == 1
    before = tree(tmp_path)
    with pytest.raises(RepositoryError, match="another data.*fingerprint f2.*choose another --out"):
        Repository.open_or_create(path, **{**DATA, "fingerprint": "f2"})
    with pytest.raises(RepositoryError, match="another label space.*choose another --out"):
        Repository.open_or_create(path, **{**DATA, "space": {"classes": ["cat"]}})
    with pytest.raises(RepositoryError, match="something at .* already"):
        Repository.create(path, **DATA)
    assert tree(tmp_path) == before


def foreign(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("mine")
    elif kind == "dead link":
        path.symlink_to(path.parent / "nowhere")
    else:
        path.mkdir()
        if kind == "full":
            (path / "thesis.txt").write_text("mine")
        elif kind != "empty":
            (path / "audits").mkdir()
            (path / "cache").mkdir()
            (path / "labels.json").write_text(kind)


HEAD = {"format": "labelwright.labels", "version": 1, "fingerprint": "f1", "space": SPACE}


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("file", "cannot be read"),
        ("dead link", "no labels.json"),
        ("empty", "no labels.json"),
        ("full", "no labels.json"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "something else"),
        ('{"format": "coco"}', "something else"),
        (json.dumps({**HEAD, "version": 3}), "upgrade"),
        (json.dumps({**HEAD, "fingerprint": None}), "without fingerprint"),
    ],
)
def test_what_is_no_repository_is_not_touched(tmp_path, kind, reason):
    path = tmp_path / "r.labels"
    foreign(path, kind)
    before = tree(tmp_path)
    for make in (Repository.open_or_create, Repository.create):
        with pytest.raises(RepositoryError):
            make(path, **DATA)
    with pytest.raises(RepositoryError, match=reason):
        Repository.open(path)
    assert tree(tmp_path) == before


def test_folders_that_lead_elsewhere_are_refused(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    for name in ("audits", "cache"):
        (tmp_path / f"my-{name}").mkdir()
        (repo.path / name).rmdir()
        (repo.path / name).symlink_to(tmp_path / f"my-{name}")
        with pytest.raises(RepositoryError, match=f"no folder {name!r} of its own"):
            Repository.open(repo.path)
        (repo.path / name).unlink()
        (repo.path / name).mkdir()


def test_nowhere_to_write(tmp_path):
    with pytest.raises(RepositoryError, match="nothing at.*run an audit first"):
        Repository.open(tmp_path / "r.labels")
    with pytest.raises(RepositoryError, match=r"cannot be made.*make the folder .*gone"):
        Repository.open_or_create(tmp_path / "gone" / "r.labels", **DATA)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/b", "..", ".hidden", "", "a\\b", "a\0", "C:x", "ü" * 3, "x" * 300]
)
def test_names_that_are_no_plain_names(tmp_path, name):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    before = tree(tmp_path)
    with pytest.raises(RepositoryError, match="expected a plain name"):
        repo.write_audit({"summary.json": b"", name: b"x"})
    with pytest.raises(RepositoryError, match="expected a plain name"):
        repo.cached(name, lambda: np.zeros(1))
    assert tree(tmp_path) == before


def test_links_at_the_top_are_replaced_not_followed(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    (tmp_path / "mine.html").write_text("mine")
    (repo.path / "report.html").symlink_to(tmp_path / "mine.html")
    repo.write_audit(FILES)
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert (repo.path / "report.html").read_bytes() == b"<p>" and not (repo.path / "report.html").is_symlink()


def test_a_copy_that_fails_does_not_fail_the_audit(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    (repo.path / "report.html").mkdir()
    with pytest.warns(LabelwrightWarning, match="0001 is written, but not copied"):
        repo.write_audit(FILES)
    assert len(repo.audits()) == 1 and not list(repo.path.glob(".new-*"))


def test_writers_that_fail_add_nothing(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    repo.write_audit(FILES)
    before = tree(tmp_path)

    def stray(path: Path) -> None:
        path.write_text("x")
        path.with_name("stray.txt").write_text("x")

    for files, error, message in [
        ({"a.txt": b"1", "b.txt": lambda p: 1 / 0}, ZeroDivisionError, "division"),
        ({"a.txt": lambda p: None}, RepositoryError, "no file a.txt.*write it at the path given"),
        ({"a.txt": lambda p: p.symlink_to(tmp_path)}, RepositoryError, "no file a.txt"),
        ({"a.txt": stray}, RepositoryError, r"nobody announced: \['stray.txt'\].*its own entry"),
        ({}, RepositoryError, "one or more"),
        ({"a.txt": b"", "A.txt": b""}, RepositoryError, "different on every disk.*rename"),
    ]:
        with pytest.raises(error, match=message):
            repo.write_audit(files)
        assert tree(tmp_path) == before


def test_odd_things_among_the_audits(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    (repo.path / "audits" / "notes").mkdir()
    (repo.path / "audits" / "0001").write_text("a file")
    (repo.path / "audits" / "0002").symlink_to(tmp_path)
    (repo.path / "audits" / "0003").mkdir()
    (repo.path / "audits" / "9999").mkdir()
    assert repo.write_audit(FILES).name == "10000"
    assert [p.name for p in repo.audits()] == ["0003", "9999", "10000"]


NEW = {"summary.json": b"new" * 1000, "report.html": b"new" * 9, "issues.parquet": b"new"}
STEPS = [(os, name) for name in ("rename", "replace", "fsync", "mkdir", "unlink")] + [(shutil, "copyfile")]


def write_and_die(path: Path, die_at: int) -> int:
    """The exit code of a process that opens or makes a repository, adds NEW, and dies at the die_at-th moment.

    Each call that changes the disk is a moment before and a moment after. 0: it lived to the end.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    moments = 0

    def watch(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def call(*args: object, **kwargs: object) -> object:
            nonlocal moments
            for after in (False, True):
                moments += 1
                if moments == die_at:
                    os._exit(9)
                out = out if after else real(*args, **kwargs)  # noqa: F821
            return out

        setattr(module, name, call)

    try:
        for module, name in STEPS:
            watch(module, name)
        repo = Repository.open_or_create(path, **DATA)
        report = NEW["report.html"]
        repo.write_audit({**NEW, "report.html": lambda p: p.write_bytes(report) and None})
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("existing", [True, False])
def test_killed_at_every_step(tmp_path, existing):
    old = [FILES] if existing else []
    seen = []
    for die_at in range(1, 1000):
        path = tmp_path / f"{die_at}.labels"
        if existing:
            Repository.create(path, **DATA).write_audit(FILES)
        code = write_and_die(path, die_at)
        if code == 0:
            break
        assert code == 9
        if not os.path.lexists(path):
            assert not existing
            seen.append("no repository")
            continue
        repo = Repository.open(path)
        audits = contents(repo)
        assert audits in (old, [*old, NEW])
        seen.append("old" if audits == old else "new")
        for name in FILES:  # each copy at the top is whole
            top = path / name
            assert not top.exists() or top.read_bytes() in (FILES[name], NEW[name])
        repo.write_audit(FILES)  # and life goes on
        assert contents(repo) == [*audits, FILES]
        assert all((path / name).read_bytes() == content for name, content in FILES.items())
    assert len(seen) > 20 and seen == sorted(seen, key=["no repository", "old", "new"].index)  # one commit point each
    assert set(seen) == ({"old", "new"} if existing else {"no repository", "old", "new"})


def contents(repo: Repository) -> list[dict[str, bytes]]:
    return [{p.name: p.read_bytes() for p in audit.iterdir()} for audit in repo.audits()]


WRITER = """
import sys
from labelwright.store.repository import Repository
repo = Repository.open_or_create(sys.argv[1], fingerprint="f1", source="x.csv", space={})
print("ready", flush=True)
for i in range(int(sys.argv[3])):
    name = f"{sys.argv[2]} {i}".encode()
    repo.write_audit({"summary.json": name, "report.html": name * 9999})
"""


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def check_whole(repo: Repository) -> list[str]:
    """The names in all audits, after making sure that each audit is whole and has the next number."""
    audits = repo.audits()
    assert [int(a.name) for a in audits] == list(range(1, len(audits) + 1))
    names = []
    for files in contents(repo):
        assert files.keys() == {"summary.json", "report.html"}
        assert files["report.html"] == files["summary.json"] * 9999
        names.append(files["summary.json"].decode())
    return names


def test_kill_minus_nine(tmp_path):
    path = tmp_path / "r.labels"
    rng = np.random.default_rng(0)
    count = 0
    for round_ in range(3):
        writer = start_writer(path, f"round{round_}", 10**6)
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        time.sleep(0.05 + 0.2 * rng.random())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        names = check_whole(Repository.open(path))
        assert len(names) >= count
        count = len(names)
    assert count > 0
    for left in path.glob(".new-*"):  # whatever the dead left is removed once it is a day old
        for p in [*(left.iterdir() if left.is_dir() else []), left]:
            os.utime(p, (1, 1))
    Repository.open(path).write_audit({"summary.json": b"x", "report.html": b"x" * 9999})
    assert not list(path.glob(".new-*"))


def test_two_writers_lose_nothing(tmp_path):
    path = tmp_path / "r.labels"
    writers = [start_writer(path, name, 30) for name in "ab"]  # they also race to make the repository
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    repo = Repository.open(path)
    names = check_whole(repo)
    assert sorted(names) == sorted(f"{w} {i}" for w in "ab" for i in range(30))
    assert (path / "summary.json").read_bytes().decode() == names[-1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.labels"]


def test_only_old_leftovers_are_removed(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    for name in (".new-old", ".new-alive", ".new-young", ".mine"):
        (repo.path / name).mkdir()
        (repo.path / name / "part").write_text("x")
        if name != ".new-young":
            os.utime(repo.path / name / "part", (1, 1))
            os.utime(repo.path / name, (1, 1))
    (repo.path / ".new-alive" / "part").write_text("still writing")  # the folder is old, the file in it is not
    (repo.path / ".new-link").symlink_to(tmp_path)
    repo.write_audit(FILES)
    assert {p.name for p in repo.path.glob(".*")} == {".new-alive", ".new-young", ".new-link", ".mine"}


def test_cache(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.eye(3, dtype=np.float16)

    for _ in range(2):
        got = repo.cached("pred_probs-1f", make)
        assert got.dtype == np.float16 and isinstance(got, np.memmap) and not got.flags.writeable
        np.testing.assert_array_equal(got, np.eye(3))
    assert len(calls) == 1
    assert [p.name for p in (repo.path / "cache").iterdir()] == ["pred_probs-1f.npy"]
    path = repo.path / "cache" / "pred_probs-1f.npy"
    whole = path.read_bytes()
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], object), allow_pickle=True)
    for bad in (b"", b"junk", whole[:-1], whole[:40], objects.read_bytes()):
        path.unlink()
        path.write_bytes(bad)
        with pytest.warns(LabelwrightWarning, match=r"pred_probs-1f.npy is damaged and made again"):
            np.testing.assert_array_equal(repo.cached("pred_probs-1f", make), np.eye(3))
        assert path.read_bytes() == whole
    assert len(calls) == 6
    np.testing.assert_array_equal(repo.cached("empty", lambda: np.empty((0, 2))), np.empty((0, 2)))
    with pytest.raises(TypeError, match="Python objects for 'o'"):
        repo.cached("o", lambda: np.array([{}], object))
    with pytest.raises(ZeroDivisionError):
        repo.cached("z", lambda: 1 / 0)
    assert sorted(p.name for p in (repo.path / "cache").iterdir()) == ["empty.npy", "pred_probs-1f.npy"]
