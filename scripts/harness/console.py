"""What a person sees while things happen: steps with their elapsed times.

On a terminal the running steps spin at the bottom of the screen; elsewhere (CI, a log file)
each step prints a line when it begins and one when it ends.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness.errors import UserError

Work = dict[str, Callable[[], object]]  # title -> action

# In a log file tables would be squeezed into 80 columns.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 100)

_HEARTBEAT_SECONDS = 30

_lock = threading.Lock()
_live: Progress | None = None
_running = 0


def interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and out.is_terminal


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show that `title` is under way, and how long it took. Safe to use from several threads."""
    began = time.monotonic()
    show = _on_terminal if out.is_terminal else _in_log
    with show(title):
        try:
            yield
        except BaseException:
            out.print(f"[red]✗[/] {title} ({_elapsed(began)})")
            raise
    out.print(f"[green]✓[/] {title} ({_elapsed(began)})")


def _elapsed(began: float) -> str:
    seconds = time.monotonic() - began
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


@contextmanager
def _on_terminal(title: str) -> Iterator[None]:
    global _live, _running
    with _lock:
        if _live is None:
            _live = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                console=out, transient=True,
            )  # fmt: skip
            _live.start()
        _running += 1
        live, task = _live, _live.add_task(title, total=None)
    try:
        yield
    finally:
        with _lock:
            live.remove_task(task)
            _running -= 1
            if _running == 0:
                live.stop()
                _live = None


@contextmanager
def _in_log(title: str) -> Iterator[None]:
    ended = threading.Event()
    began = time.monotonic()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT_SECONDS):
            out.print(f"  {title} … {_elapsed(began)}")

    out.print(f"  {title} …")
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def together(*lanes: Work) -> None:
    """Do the work of each lane in order, and the lanes side by side.

    The first failure ends it: work that has not begun is left out.
    """
    failed = threading.Event()

    def follow(lane: Work) -> None:
        for title, action in lane.items():
            if failed.is_set():
                return
            try:
                with step(title):
                    action()
            except BaseException:
                failed.set()
                raise

    with ThreadPoolExecutor(max_workers=max(1, len(lanes))) as pool:
        try:
            for done in [pool.submit(follow, lane) for lane in lanes]:
                done.result()
        except KeyboardInterrupt:  # reaches this thread alone
            failed.set()
            raise


def confirm(question: str, *, yes: bool) -> None:
    """Ask before the machine is changed; raises UserError if the answer is no.

    With `yes`, or where nobody can answer, it goes ahead and says so.
    """
    if yes or not interactive():
        out.print(f"• {question}: yes")
    elif out.input(f"{question} [Y/n] ").strip().lower() not in ("", "y", "yes"):
        raise UserError("Stopped as you asked; nothing was changed.")
