"""Run rules over a table: in batches, in threads or processes, and on past every failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from labelwright.annotators.rule_votes import RuleFailure, RuleVotes
from labelwright.annotators.rules import Rule, rule
from labelwright.auditing._inputs import item_keys
from labelwright.errors import DataError, OptionError, check_whole
from labelwright.labels import LabelSpace, as_columns, need

Progress = Callable[[int, int], None]
BATCH = 2_000  # rows


class _Said(NamedTuple):
    """One rule on one batch: class names, (n,) positions in them (-1 = silent), failed rows, the first of them and its error."""

    names: list[Any]
    code: np.ndarray
    failed: int
    row: int
    error: str


def apply_rules(
    rules: Sequence[Rule | Callable[..., Any]],
    table: Any,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    space: LabelSpace | None = None,
    item: str | None = None,
) -> RuleVotes:
    """What each rule says of each row.

    A rule that raises is silent on that row; the run goes on, and `failures` names the rule, counts the rows and keeps the first
    error. So is a rule that votes for a class outside `space`.

    Args:
        rules: `Rule`s, or functions of a row.
        table: N rows: pandas, polars, pyarrow, a Hugging Face data set, a dict of columns, or a list of dicts.
        workers: None or 1: in this process. From 2: rules that can be sent to other processes run in so many, the others
            (lambdas, functions made inside functions or typed at a prompt) in threads, which run one Python function at a
            time. A script that asks for processes needs `if __name__ == "__main__":`.
        progress: called with (rows done, N) after every batch.
        space: the classes; default: those that the rules name or vote for, sorted.
        item: column of the items' keys; default: their positions.

    Raises:
        OptionError: no rules; two of one name; workers below 1.
        ColumnError: a column that a rule reads, or `item`, is not there.
        DataError: what is no table; keys that are missing or repeat.
    """
    named = [r if isinstance(r, Rule) else rule(r) for r in rules]
    _check_rules(named)
    if workers is not None:
        check_whole("workers", workers, 1)
    columns = _columns(table)
    for name in [c for r in named for c in r.columns] + ([item] if item is not None else []):
        need(columns, name)
    n = len(next(iter(columns.values()))) if columns else 0
    items = item_keys(None if item is None else columns[item], n)
    parts = list(_batches(named, columns, n, int(workers or 1), progress))
    if space is None:
        seen = [name for part in parts for said in part for name in said.names]
        every = [*seen, *(c for r in named for c in r.classes)]
        if not every:
            raise OptionError(
                found="rules that never voted and name no class",
                expected="at least one class",
                fix="pass space=LabelSpace([...]), or rule(label=...)",
            )
        space = LabelSpace.from_labels(every)
    return _merge(parts, items, tuple(r.name for r in named), space)


def _check_rules(rules: Sequence[Rule]) -> None:
    names = [r.name for r in rules]
    if not names:
        raise OptionError(found="no rules", expected="at least one", fix="pass a list of rules")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(
            found=f"two rules named {twice!r}", expected="a name of its own for every rule", fix="pass name=... to one of them"
        )  # fmt: skip


def _columns(table: Any) -> dict[str, Any]:
    if isinstance(table, list | tuple):
        if not all(isinstance(row, Mapping) for row in table):
            raise DataError(
                found="a list whose entries are no rows", expected="a list of dicts", fix="pass [{'text': ...}, ...]"
            )
        names = dict.fromkeys(str(name) for row in table for name in row)
        return {name: [row.get(name) for row in table] for name in names}
    columns = as_columns(table)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            found=f"columns of different lengths: {lengths}", expected="one entry per row", fix="take them from one table"
        )  # fmt: skip
    return {name: values.tolist() for name, values in columns.items()}


# -- running ----------------------------------------------------------------------------------------------------------
def _batches(
    rules: list[Rule], columns: dict[str, Any], n: int, workers: int, progress: Progress | None
) -> Iterator[list[_Said]]:
    """Per batch, in order, what each rule said. Few batches are under way at a time, so that memory stays small."""
    away = [i for i, r in enumerate(rules) if workers > 1 and _can_travel(r)]
    here = [i for i in range(len(rules)) if i not in set(away)]
    with ExitStack() as stack:
        pools: list[tuple[Executor | None, list[Rule]]] = []
        for chosen, far in ((away, True), (here, False)):
            if chosen:
                mine = [rules[i] for i in chosen]
                pools.append((stack.enter_context(_pool(mine, workers, far)) if workers > 1 else None, mine))
        order = np.argsort([*away, *here])
        running: deque[tuple[int, list[Future[list[_Said]] | list[_Said]]]] = deque()

        def finish() -> list[_Said]:
            stop, answers = running.popleft()
            said = [one for answer in answers for one in _taken(answer)]
            if progress:
                progress(stop, n)
            return [said[i] for i in order]

        for start in range(0, n, BATCH):
            stop = min(start + BATCH, n)
            batch = {name: values[start:stop] for name, values in columns.items()}
            running.append((stop, [_ask(pool, mine, batch, start) for pool, mine in pools]))
            if len(running) > 2 * workers or workers == 1:
                yield finish()
        while running:
            yield finish()


def _taken(answer: Future[list[_Said]] | list[_Said]) -> list[_Said]:
    try:
        return answer.result() if isinstance(answer, Future) else answer
    except BrokenProcessPool:
        raise OptionError(
            found="a worker process that died",
            expected="rules that other processes can import and run",
            fix='put the call under `if __name__ == "__main__":`, or pass workers=None to see which rule ends the process',
        ) from None


def _pool(rules: list[Rule], workers: int, far: bool) -> Executor:
    if not far:
        return ThreadPoolExecutor(workers)
    from multiprocessing import get_context

    # a fresh interpreter: a copy of this one could inherit locks that other threads hold
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_remember, initargs=(rules,))


def _ask(pool: Executor | None, rules: list[Rule], batch: dict[str, Any], start: int) -> Any:
    if pool is None:
        return _answer(rules, batch, start)
    if isinstance(pool, ProcessPoolExecutor):
        return pool.submit(_answer_remembered, batch, start)
    return pool.submit(_answer, rules, batch, start)


_SENT: list[Rule] = []  # in a worker process: the rules, sent once


def _remember(rules: list[Rule]) -> None:
    _SENT[:] = rules


def _answer_remembered(batch: dict[str, Any], start: int) -> list[_Said]:
    return _answer(_SENT, batch, start)


def _can_travel(one: Rule) -> bool:
    """Whether another process can be sent the rule. It finds functions by name, and what is typed at a prompt nowhere."""
    from multiprocessing.reduction import ForkingPickler

    import __main__

    if getattr(one, "__module__", "") == "__main__" and not hasattr(__main__, "__file__"):
        return False
    try:
        ForkingPickler.dumps(one)
    except Exception:
        return False
    return True


def _answer(rules: list[Rule], batch: dict[str, Any], start: int) -> list[_Said]:
    names = list(batch)
    rows = [MappingProxyType(dict(zip(names, values))) for values in zip(*batch.values())]
    return [_read(one.vote_all(batch, rows), len(rows), start) for one in rules]


def _read(votes: list[Any], n: int, start: int) -> _Said:
    """Votes as codes; whatever is no class counts as a failure of its row."""
    if len(votes) != n:
        votes = [ValueError(f"{len(votes)} votes for {n} rows")] * n
    names: dict[Any, int] = {}
    code = np.full(n, -1, dtype=np.int32)
    failed, row, error = 0, -1, ""
    for i, said in enumerate(votes):
        said = said.item() if isinstance(said, np.generic) else said
        if said is None or (isinstance(said, float) and said != said):
            continue
        if isinstance(said, str | int) and not isinstance(said, bool):
            code[i] = names.setdefault(said, len(names))
            continue
        if not failed:
            row = start + i
            error = f"{type(said).__name__}: {said}" if isinstance(said, Exception) else f"no class: {said!r}"
        failed += 1
    return _Said(list(names), code, failed, row, error)


# -- putting together -------------------------------------------------------------------------------------------------
def _merge(parts: list[list[_Said]], items: np.ndarray, names: tuple[str, ...], space: LabelSpace) -> RuleVotes:
    matrix = np.full((len(items), len(names)), -1, dtype=np.int32)
    place = {name: i for i, name in enumerate(space.classes)}
    failed: dict[int, tuple[int, int, str]] = {}
    start = 0
    for part in parts:
        for j, said in enumerate(part):
            ids = np.array([*(place.get(name, -2) for name in said.names), -1], dtype=np.int32)
            column = ids[said.code]
            strange = np.flatnonzero(column == -2)
            events = [(said.row, said.error)] if said.failed else []
            if len(strange):
                name = said.names[said.code[strange[0]]]
                events.append((start + int(strange[0]), f"class {name!r} is none of the space"))
            if events:
                row, error = min(events)
                count, first, text = failed.get(j, (0, row, error))
                failed[j] = (count + said.failed + len(strange), first, text)
            matrix[start : start + len(column), j] = np.maximum(column, -1)
        start += len(part[0].code)
    failures = tuple(
        RuleFailure(names[j], count, row, items[row].item(), error) for j, (count, row, error) in sorted(failed.items())
    )
    return RuleVotes(matrix, items, names, space, failures)
