"""What every command prints with: people read stderr while a program reads stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from labelwright.errors import LabelwrightError


class Say:
    """A console on stdout for people; with `quiet_stdout` everything but the JSON goes to stderr."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def quiet_stdout(self) -> None:
        """Keep stdout for one JSON object."""
        self.console = Console(stderr=True, highlight=False)

    def print(self, *text: Any) -> None:
        """Rich markup is read; pass user text through `plain`."""
        self.console.print(*text, soft_wrap=True)

    @staticmethod
    def plain(text: str) -> str:
        """`text` without any meaning as markup."""
        return escape(text)

    def error(self, error: BaseException) -> None:
        """Found, expected and fix, each on a line of its own."""
        err = Console(stderr=True, highlight=False)
        if isinstance(error, LabelwrightError):
            err.print(f"[bold red]error:[/] found {escape(error.found)}", soft_wrap=True)
            err.print(f"  expected  {escape(error.expected)}", soft_wrap=True)
            err.print(f"  fix       {escape(error.fix)}", soft_wrap=True)
        else:
            err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """A bar per step: call the result as progress(step, done, total)."""
        bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=self.console,
        )  # fmt: skip
        tasks: dict[str, Any] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        with bars:
            yield tell


say = Say()
