"""A progress bar on the terminal; where there is none, silence."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn


class Bar:
    """Shows one step after the other, each as a bar of files. :param hidden: shows nothing."""

    def __init__(self, *, hidden: bool = False) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._step = self._progress.add_task("", visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, step: str, total: int) -> None:
        """Say that a step of so many files begins; the one before it stays on the screen, full."""
        self._step = self._progress.add_task(step, total=total)

    def advance(self) -> None:
        """Say that a file of the step is through."""
        self._progress.advance(self._step)
