"""Watch runs until they end: on a terminal a screen that is redrawn in place, elsewhere one line per change."""

import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from .display import attempts_table, one_line, overview, summary
from .status import Status, has_ended, read_status


def watch(runs: Sequence[Path], seconds: float, console: Console) -> None:
    """Show the status of `runs` every `seconds` until all have ended or Ctrl-C.

    Raises:
        UserError: no run was ever started in one of the directories.
    """
    statuses = [read_status(run) for run in runs]
    with suppress(KeyboardInterrupt):
        if console.is_terminal and not console.is_dumb_terminal:
            _redraw(statuses, runs, seconds, console)
        else:
            _print_changes(statuses, runs, seconds)


def _redraw(statuses: list[Status], runs: Sequence[Path], seconds: float, console: Console) -> None:
    # The alternate screen is overwritten from its first line, without erasing, so nothing flickers, a resized window is
    # redrawn, and the lines above remain as they were.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves the alternate screen
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_screen(statuses, seconds), refresh=True)
            if all(map(has_ended, statuses)):
                return
            time.sleep(seconds)
            statuses = [read_status(run) for run in runs]


def _screen(statuses: list[Status], seconds: float) -> RenderableType:
    """Return what is shown, the most important first: a small terminal cuts off the end."""
    note = Text(f"Every {seconds:g} s. Ctrl-C ends this view, not the run.", style="dim")
    if len(statuses) > 1:
        return Group(note, "", overview(statuses))
    [status] = statuses
    lines = Text("\n".join(summary(status)), overflow="fold")
    return Group(lines, note, attempts_table(status, newest_first=True))


def _print_changes(statuses: list[Status], runs: Sequence[Path], seconds: float) -> None:
    shown = [""] * len(runs)
    while True:
        lines = [one_line(status) for status in statuses]
        for line in (line for line, before in zip(lines, shown, strict=True) if line != before):
            print(line, flush=True)
        if all(map(has_ended, statuses)):
            return
        shown = lines
        time.sleep(seconds)
        statuses = [read_status(run) for run in runs]
