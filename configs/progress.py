"""Progress of long work, as one line: done, total, remaining time and rate.

On a terminal the line is redrawn in place, and gone when the work ends. It always fits: a narrow terminal drops the
parts at its end, which are the least important. Elsewhere (a pipe, a log file, `TERM=dumb`) the line is a message, at
most every ten seconds. Work that ends before that shows nothing there. Only rank 0 shows progress.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from . import reporting

logger = logging.getLogger(__name__)

_MESSAGE_SECONDS = 10.0
_REDRAW_SECONDS = 0.1
_SHORT_SECONDS = 0.5  # a line that flashes is worse than none
_BAR = (10, 40)  # columns, at least and at most
_part_of = ""
_muted = False


@dataclass(frozen=True)
class Line:
    """The state of long work.

    Attributes:
        parts: in order of importance; each as (text, shorter text for a narrow terminal).
        keep: how many of the first parts are shortened before one of them is dropped.
        share: of the work that is done, for the bar, which is dropped first; None: no bar.
    """

    parts: Sequence[tuple[str, str]]
    keep: int
    share: float | None = None

    def fit(self, width: int, bar: str = "━╌") -> str:
        """The line in at most `width` columns; `bar` has the characters for what is done and what is left."""
        full, short = zip(*self.parts, strict=True)
        for count in range(len(full), self.keep - 1, -1):
            text = "  ".join(full[:count])
            if len(text) <= width:
                return text + (self._bar(width - len(text) - 2, bar) if count == len(full) else "")
        while short[1:] and len(" ".join(short)) > width:
            short = short[:-1]
        return " ".join(short)[:width]

    def _bar(self, room: int, characters: str) -> str:
        least, most = _BAR
        if self.share is None or room < least:
            return ""
        columns = min(room, most)
        done = round(columns * min(1.0, self.share))
        return "  " + characters[0] * done + characters[1] * (columns - done)

    def message(self, elapsed: float, width: int | None = None) -> str:
        """The line to keep, with the elapsed seconds; in full, or what fits in `width` columns."""
        text = f"elapsed {format_duration(elapsed)}"
        parts = [self.parts[0], (text, text), *self.parts[1:]]
        return "  ".join(full for full, _ in parts) if width is None else Line(parts, self.keep + 1).fit(width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Called at every redrawing, so the line follows a window that is resized.
        yield Text(self.fit(options.max_width, "#-" if options.ascii_only else "━╌"), no_wrap=True, overflow="crop")


class Display:
    """Shows the newest line of one piece of work.

    Args:
        at_once: show the first line too; else nothing is shown for short work.
        clock: the time in seconds.
    """

    def __init__(self, at_once: bool = False, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._due = self._started
        if not at_once:
            self._due += _SHORT_SECONDS if reporting.can_redraw() else _MESSAGE_SECONDS
        self._muted = _muted or os.environ.get("RANK", "0") != "0"

    def elapsed(self) -> float:
        """Seconds since the work began."""
        return self._clock() - self._started

    def show(self, line: Line) -> bool:
        """Show the line if it is time to; returns whether it stays, as a message."""
        now = self._clock()
        if self._muted or now < self._due:
            return False
        if reporting.can_redraw():
            reporting.redraw(line)
            self._due = now + _REDRAW_SECONDS
            return False
        logger.info(line.message(now - self._started))
        self._due = now + _MESSAGE_SECONDS
        return True

    def close(self, last: Line | None = None) -> None:
        """Remove the line from a terminal, and leave `last` as a message."""
        if self._muted:
            return
        reporting.erase()
        if last is not None:
            logger.info(last.message(self.elapsed(), reporting.console.width if reporting.can_redraw() else None))


class Progress:
    """Progress of work in steps or bytes, from any thread. A context manager.

    Args:
        what: the work, such as `verifying`.
        total: the amount of work; 0 if it is not known yet.
        unit: what is counted; `B` for bytes.
        counts: what else is counted, such as `documents` in files; its rate is shown instead.
    """

    def __init__(
        self,
        what: str,
        total: int = 0,
        unit: str = "files",
        counts: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._what, self._total, self._unit, self._counts = what, total, unit, counts
        self._done = 0
        self._before: int | None = None  # done by an earlier, interrupted command
        self._display = Display(clock=clock)
        self._lock = threading.Lock()

    def advance(self, amount: int = 1) -> None:
        """Count more of the work as done."""
        with self._lock:
            self._before = self._before or 0
            self._done += amount
            self._display.show(self._line(None))

    def update(self, done: int, total: int, counted: int | None = None) -> None:
        """Set what is done, the total, and the count of `counts`. The first call gives what was done before."""
        with self._lock:
            self._before = done if self._before is None else self._before
            self._done, self._total = done, total
            self._display.show(self._line(counted))

    def _line(self, counted: int | None) -> Line:
        elapsed, new = self._display.elapsed(), self._done - (self._before or 0)
        done = _amounts(self._done, self._total, self._unit)
        left = elapsed / new * (self._total - self._done) if new and self._total else None
        amount, unit = (new, self._unit) if self._counts is None or counted is None else (counted, self._counts)
        rate = f"{_rate(amount / elapsed if elapsed else 0, unit)}/s"
        parts = [(f"{self._what} {done}", done), *([eta(left)] if self._total else []), (rate, rate)]
        if counted is not None and self._counts is not None:
            text = _amounts(counted, 0, self._counts)
            parts.append((text, text))
        keep = len(parts)
        parts += [(_part_of, _part_of)] if _part_of else []
        return Line(parts, keep, share=self._done / self._total if self._total else None)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self._display.close()


def mute() -> None:
    """Show no progress in this process: the one that started it does."""
    global _muted
    _muted = True


@contextmanager
def part_of(work: str) -> Iterator[None]:
    """Name the larger work, such as `result 2 of 10`, to which all progress inside the context belongs."""
    global _part_of
    _part_of = work
    try:
        yield
    finally:
        _part_of = ""


def eta(seconds: float | None) -> tuple[str, str]:
    """The remaining time as a part of a line; None if it is not known yet."""
    return f"ETA {format_duration(seconds)}", f"ETA {short_duration(seconds)}"


def format_duration(seconds: float | None) -> str:
    """Minutes and seconds, with hours from one hour on and days from one day on: 1:05, 2:00:03, 3d 04:10."""
    if seconds is None:
        return "-:--"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def short_duration(seconds: float | None) -> str:
    """The largest units, in at most five columns up to 27 years: 1:05, 2h00, 3d04, 104d."""
    if seconds is None or seconds < 3600 - 0.5:
        return format_duration(seconds)
    hours, minutes = divmod(round(seconds / 60), 60)
    days, hours_of_day = divmod(hours, 24)
    if days >= 10:
        return f"{days}d"
    return f"{days}d{hours_of_day:02}" if days else f"{hours}h{minutes:02}"


def short_number(number: float, digits: int = 3) -> str:
    """The first digits and a prefix: 0.05, 3.21, 312, 12.3k, 1.23M."""
    number = float(f"{number:.{digits}g}")
    size, prefix = next((pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if number >= pair[0]), (1.0, ""))
    return f"{number / size:.{max(digits, 3) if number / size >= 100 else digits}g}{prefix}"


def _amounts(done: int, total: int, unit: str) -> str:
    if unit != "B":
        return f"{done:,}/{total:,} {unit}" if total else f"{done:,} {unit}"
    size, name = next(((size, name) for size, name in _BYTES if max(done, total) >= size), (1, "B"))
    digits = 1 if size > 1 else 0
    left = f"/{total / size:,.{digits}f}" if total else ""
    return f"{done / size:,.{digits}f}{left} {name}"


def _rate(amount: float, unit: str) -> str:
    return _amounts(round(amount), 0, unit) if unit == "B" else f"{short_number(amount)} {unit}"


_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
