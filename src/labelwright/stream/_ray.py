"""Tasks on Ray: read where the worker is, done again where a worker dies."""

from __future__ import annotations

from typing import Any

import labelwright.errors as errors
from labelwright.errors import DataError, LabelwrightError, MissingExtra
from labelwright.stream.engines import Part, Task, Work, partial
from labelwright.stream.rows import Rows
from labelwright.stream.statistic import Stateful

_RETRIES = 5  # after a worker died; errors of the data are not tried again


class RayTasks:
    """Tasks on a Ray cluster: the one at `address`, the one that this process joined, or a new one on this machine."""

    def __init__(self, address: str | None, workers: int | None, rows: Rows):
        if rows.shape[0] is None:
            raise DataError(
                found=f"{rows.name} with engine='ray'",
                expected="rows that a worker can read for itself, from any row on",
                fix="write the chunks to .npy or Parquet shards, or use engine='threads'",
            )
        try:
            import ray  # type: ignore[import-not-found,unused-ignore]
        except ImportError as err:
            raise MissingExtra(
                found="no package ray",
                expected="it for engine='ray'",
                fix='pip install "labelwright[ray]", or use engine="threads"',
            ) from err
        self._ray = ray
        self._deaths = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
        )
        self._started = not ray.is_initialized()
        if self._started:
            local = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
            ray.init(log_to_driver=False, logging_level="ERROR", **local)
        self.window = (workers or int(ray.cluster_resources().get("CPU", 1))) + 2
        self._task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_do)
        self._sent: Any = None
        self._running: set[Any] = set()

    def start(self, work: Work, task: Task) -> Any:
        if self._sent is None:
            self._sent = self._ray.put(work)  # arrays in memory travel once
        self._running.add(handle := self._task.remote(self._sent, task))
        self._count = work.rows.count
        return handle

    def wait(self, running: list[Any]) -> list[Any]:
        finished, _ = self._ray.wait(running, num_returns=1)
        return list(finished)

    def take(self, handle: Any) -> Part:
        try:
            outcome = self._ray.get(handle)
        except self._deaths as err:
            raise DataError(
                found=f"a Ray task whose worker died {_RETRIES + 1} times",
                expected="workers that live through a chunk",
                fix="look for a lack of memory in Ray's log; pass fewer workers or a smaller chunk_entries; with a "
                "checkpoint, finished parts are kept",
            ) from err
        self._running.discard(handle)
        if isinstance(outcome, LabelwrightErrorParts):
            raise outcome.error()
        self._count(outcome.n_rows)
        return outcome

    def close(self) -> None:
        for handle in self._running:
            self._ray.cancel(handle, force=True)
        if self._started:
            self._ray.shutdown()


class LabelwrightErrorParts:
    """An error of ours on its way from a worker: exceptions with named arguments do not travel by themselves."""

    def __init__(self, err: LabelwrightError):
        self.kind, self.parts = type(err).__name__, (err.found, err.expected, err.fix)

    def error(self) -> LabelwrightError:
        found, expected, fix = self.parts
        return getattr(errors, self.kind, DataError)(found=found, expected=expected, fix=fix)


def _do(work: Work, task: Task) -> Part | LabelwrightErrorParts:
    try:
        part = partial(work, task)
    except LabelwrightError as err:
        return LabelwrightErrorParts(err)
    return Part(part.value.state(), part.n_rows) if isinstance(part.value, Stateful) else part
