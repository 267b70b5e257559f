"""How far a measurement is: a bar, or what it does now."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def counting_progress(console: Console) -> Progress:
    """A bar that is gone once it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@contextmanager
def current_step(console: Console) -> Iterator[Callable[[str], None]]:
    """What is done now, in one line that is gone at the end; a log where nothing can move."""
    with console.status("") as status:

        def show(what: str) -> None:
            status.update(what)
            if not console.is_terminal:
                console.print(what)

        yield show
