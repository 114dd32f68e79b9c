"""Run a mergeable statistic over rows: in turn, in threads, or on Ray, with the same result."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from labelwright.errors import LabelwrightError, OptionError, check_option, check_whole
from labelwright.stream._checkpoint import Checkpoint
from labelwright.stream.rows import Chunk, Rows, digest
from labelwright.stream.sources import open_rows
from labelwright.stream.statistic import CHUNK_ENTRIES, Stateful, Statistic

R = TypeVar("R")
Feed = Callable[[Chunk], Any]
Task = tuple[int, int] | Chunk  # rows from, to; or a chunk that a generator made


class Work(NamedTuple):
    """What is done for every task: `make()` a statistic, give it `feed(chunk)` of chunks of at most `step` rows."""

    make: Callable[[], Statistic[Any]]
    feed: Feed
    rows: Rows
    step: int


class Part(NamedTuple):
    """The statistic of one task, as it is or as its state, and how many rows it saw."""

    value: Any
    n_rows: int


class Engine(Protocol):
    """Does tasks somewhere. `window`: tasks that may be begun and not yet merged."""

    window: int

    def start(self, work: Work, task: Task) -> Any: ...
    def wait(self, running: list[Any]) -> list[Any]:
        """Those that are finished, at least one."""

    def take(self, handle: Any) -> Part: ...
    def close(self) -> None: ...


def run(
    make_statistic: Callable[[], Statistic[R]],
    rows: Any,
    *,
    feed: Feed | None = None,
    engine: str = "threads",
    workers: int | None = None,
    chunk_entries: int = CHUNK_ENTRIES,
    tasks: int = 64,
    progress: Callable[[str, int, int], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> R:
    """The result of a statistic over all rows, in one pass.

    The rows are cut into tasks of consecutive chunks; each task has a statistic of its own, and these are merged in the
    order of the rows. Nothing depends on the engine, the number of workers, or which of them was faster: the result is the
    same bit by bit. Where sums are integers it does not depend on `chunk_entries` and `tasks` either; floats, to 1e-6.

    Args:
        make_statistic: makes an empty `Statistic`, for example `functools.partial(ClassThresholds, n_classes)`. It may
            return the same object every time where that object takes several threads at once, and only then.
        rows: `Rows`, or what `open_rows` takes.
        feed: turns a `Chunk` into what `update` takes; default: its data. `with_rows` and `with_dense` are there, and
            any function will do: `lambda chunk: (np.arange(...), label_quality(*chunk.data))`.
        engine: "serial"; "threads"; "ray" (starts Ray on this machine, or joins what is running); "ray://host:port". On
            Ray a worker that dies is replaced and its task done again, and files are read where the worker is.
        workers: tasks at a time; default one per processor (on Ray, of the cluster).
        chunk_entries: numbers per chunk. At most `workers` + 2 chunks and partial statistics are held at a time.
        tasks: into how many tasks the rows are cut at most. A task begins where reading can (see `Rows.pieces`), so a
            Parquet file of one row group is one task. Each chunk of a generator is one.
        progress: called as progress("reading rows", done, total) after each task; total is 0 where it is not known.
        checkpoint: a folder for the results of finished tasks, .npz each. A run that was killed goes on from there;
            a finished one is read from there. Needs a statistic with `state` and `from_state` (`Stateful`). The
            code of `feed` is known by its name only: pass another folder when it changes.

    Returns:
        `statistic.result()` of all rows. `rows.passes` tells how often the data was read.

    Raises:
        LabelwrightError: what `update` says of a chunk, with shard and rows; sources that cannot be read.
        DataError: a checkpoint of other data, another statistic or another cut; a full disk.
        MissingExtra: engine "ray" without Ray. OptionError: options that do not go together.

    >>> import numpy as np
    >>> from labelwright.auditing.thresholds import ClassThresholds
    >>> labels, pred_probs = np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    >>> run(lambda: ClassThresholds(2), (labels, pred_probs))
    array([0.7, 0.8])
    """
    for name, value in (("chunk_entries", chunk_entries), ("tasks", tasks), ("workers", workers or 1)):
        check_whole(name, value, 1)
    rows = rows if isinstance(rows, Rows) else open_rows(rows)
    work = Work(make_statistic, feed or _data, rows, max(1, chunk_entries // rows.width))
    total = make_statistic()
    store = None if checkpoint is None else _store(checkpoint, work, total, tasks)
    plan: Iterable[Task] = rows.chunks(work.step) if rows.shape[0] is None else cut(rows, work.step, tasks)
    n, done = rows.shape[0] or 0, 0
    workshop = _engine(engine, workers, rows)
    try:
        for part in _in_order(workshop, work, plan, store, total):
            if part.value is not total:  # one object for all threads has seen everything already
                total.merge(part.value)
            done += part.n_rows
            del part  # it may be large
            if progress is not None:
                progress("reading rows", done, n)
    finally:
        workshop.close()
    return total.result()


def cut(rows: Rows, step: int, tasks: int = 64) -> list[tuple[int, int]]:
    """Tasks (first row, end) of about equal size, in whole chunks of `step` rows or from piece to piece of the files.

    >>> import numpy as np
    >>> cut(open_rows(np.zeros(10)), step=2, tasks=3)
    [(0, 4), (4, 8), (8, 10)]
    """
    n = len(rows)
    size = max(step, math.ceil(n / tasks / step) * step)
    if rows.pieces is None:
        edges = list(range(0, n, size))
    else:
        edges = []
        for piece in rows.pieces:
            if not edges or piece >= edges[-1] + size:
                edges.append(piece)
    return [(a, b) for a, b in zip(edges, [*edges[1:], n]) if a < b]


def partial(work: Work, task: Task) -> Part:
    """The statistic of one task."""
    statistic = work.make()
    chunks: Iterable[Chunk]
    if isinstance(task, Chunk):
        chunks = [task]
    else:
        chunks = work.rows.chunks(work.step, start=task[0], stop=task[1])
    seen = 0
    for chunk in chunks:
        try:
            statistic.update(work.feed(chunk))
        except LabelwrightError as err:
            last = chunk.first_in_shard + len(chunk) - 1
            place = f"rows {chunk.first_in_shard} to {last} of {chunk.shard}" if chunk.shard else ""
            place = place or f"rows {chunk.first} to {chunk.first + len(chunk) - 1}"
            raise type(err)(found=f"{err.found}, in {place}", expected=err.expected, fix=err.fix) from err
        seen += len(chunk)
    return Part(statistic, seen)


def _in_order(
    engine: Engine, work: Work, plan: Iterable[Task], store: Checkpoint | None, like: Statistic[Any]
) -> Iterator[Part]:
    """The parts in the order of the plan. Finished ones are kept in `store` at once, whatever their turn."""
    todo = enumerate(plan)
    running: dict[Any, int] = {}
    ready: dict[int, Part] = {}
    turn, more = 0, True
    while more or running or ready:
        while more and len(running) + len(ready) < engine.window:
            number, task = next(todo, (-1, None))
            if task is None:
                more = False
                break
            state = None if store is None else store.load(number)
            if state is None:
                running[engine.start(work, task)] = number
            else:
                assert not isinstance(task, Chunk)
                ready[number] = Part(cast(Stateful, like).from_state(state), task[1] - task[0])
        if turn not in ready and running:
            ready.update(_finished(engine, running, store, like))
        while turn in ready:
            yield ready.pop(turn)
            turn += 1


def _finished(
    engine: Engine, running: dict[Any, int], store: Checkpoint | None, like: Statistic[Any]
) -> dict[int, Part]:
    """The parts that are finished now, at least one; they leave `running`."""
    found = {}
    for handle in engine.wait(list(running)):
        number, part = running.pop(handle), engine.take(handle)
        value = type(like).from_state(part.value) if isinstance(part.value, dict) else part.value  # type: ignore[attr-defined]
        if store is not None:
            store.save(number, value.state())
        found[number] = Part(value, part.n_rows)
    return found


def _store(folder: str | os.PathLike[str], work: Work, empty: Statistic[Any], tasks: int) -> Checkpoint:
    if not isinstance(empty, Stateful):
        raise OptionError(
            found=f"checkpoint with {type(empty).__name__}",
            expected="a statistic with `state` and `from_state`",
            fix="leave checkpoint out, or write these two methods (see labelwright.stream.Stateful)",
        )
    source = work.rows.fingerprint()  # first: a generator says here why it has none
    state = empty.state()
    kind, feed = type(empty), work.feed
    plan = {
        "data": source,
        "statistic": f"{kind.__module__}.{kind.__qualname__}",
        "statistic options": digest(*(part for name in sorted(state) for part in (name, state[name]))),
        "feed": f"{feed.__module__}.{getattr(feed, '__qualname__', type(feed).__qualname__)}",
        "chunk_entries or tasks": digest(repr(cut(work.rows, work.step, tasks))),
    }
    return Checkpoint(Path(folder), plan)


def _engine(name: str, workers: int | None, rows: Rows) -> Engine:
    if name.startswith("ray"):
        from labelwright.stream._ray import RayTasks

        if name != "ray" and not name.startswith("ray://"):
            check_option("engine", name, ("serial", "threads", "ray"))
        return RayTasks(None if name == "ray" else name, workers, rows)
    check_option("engine", name, ("serial", "threads", "ray"))
    return Serial() if name == "serial" else Threads(workers or _processors())


class Serial:
    """One task after the other, in the caller's thread."""

    window = 1

    def __init__(self) -> None:
        self._made: Part | None = None

    def start(self, work: Work, task: Task) -> int:
        self._made = partial(work, task)
        return 0

    def wait(self, running: list[Any]) -> list[Any]:
        return running

    def take(self, handle: Any) -> Part:
        assert self._made is not None
        return self._made

    def close(self) -> None:
        self._made = None


class Threads:
    """Tasks in threads of this process: NumPy and file readers let go of the interpreter while they work."""

    def __init__(self, workers: int):
        from concurrent.futures import ThreadPoolExecutor

        self.window = workers + 2
        self._pool = ThreadPoolExecutor(workers)

    def start(self, work: Work, task: Task) -> Any:
        return self._pool.submit(partial, work, task)

    def wait(self, running: list[Any]) -> list[Any]:
        from concurrent.futures import FIRST_COMPLETED, wait

        finished = wait(running, return_when=FIRST_COMPLETED).done
        return [handle for handle in running if handle in finished]

    def take(self, handle: Any) -> Part:
        return handle.result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _data(chunk: Chunk) -> Any:
    return chunk.data
