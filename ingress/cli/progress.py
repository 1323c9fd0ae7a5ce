"""A progress bar on stderr for work that takes a while; nothing where stderr is no terminal."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `show(done, total)`; the bar appears with the first call and leaves when the block ends.

    `show` raises CancelledError after Ctrl-C, even where a library has lost the cancellation.
    """
    from rich.console import Console  # noqa: PLC0415 - as in `print_table`
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        "{task.description}", *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            _end_if_cancelled()

        yield show


def _end_if_cancelled() -> None:
    """In Python 3.11 `asyncio.wait_for`, and so a driver, drops a cancellation that meets its answer."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
