"""The status of runs as text: in full, as one line, and as one table of several runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from ...configs.progress import format_duration

if TYPE_CHECKING:
    from .status import Status


def summary(status: "Status") -> list[str]:
    """Return the main values, one per line."""
    lines = [f"{status.run_dir}: {status.state}", f"step        {_step(status)}"]
    if status.source:
        lines.append(f"known from  {status.source}")
    if status.loss is not None:
        lines.append(f"loss        {status.loss:.4f}")
    if status.tokens_per_second is not None:
        lines.append(f"speed       {status.tokens_per_second:,.0f} tokens/s, median of the last steps")
    if status.slow_rank:
        lines.append(f"slow rank   {status.slow_rank}")
    if _is_left(status):
        lines.append(f"time left   {format_duration(status.seconds_left)} at that speed")
    checkpoint = f"step {status.checkpoint_step:,}, {status.checkpoint}" if status.checkpoint else "none yet"
    lines.append(f"checkpoint  {checkpoint}")
    if status.seconds_since_update is not None:
        lines.append(f"last update {format_duration(status.seconds_since_update)} ago")
    return lines


def attempts_table(status: "Status", newest_first: bool = False) -> Table:
    """Return one row per attempt, oldest first unless `newest_first`."""
    from .status import describe_outcome

    table = Table("attempt", "UTC", "launcher", "from step", "ranks", "hosts", "outcome", box=SIMPLE)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    table.columns[1].no_wrap = True
    for attempt in reversed(status.attempts) if newest_first else status.attempts:
        table.add_row(
            "-" if attempt.number is None else str(attempt.number),
            attempt.started[:19].replace("T", " "),
            " ".join(word for word in (attempt.launcher, attempt.job) if word) or "-",
            "-" if attempt.step is None else f"{attempt.step:,}",
            "-" if attempt.ranks is None else str(attempt.ranks),
            attempt.hosts,
            describe_outcome(attempt),
        )
    return table


def one_line(status: "Status") -> str:
    """Return what changes while a run trains."""
    parts = [f"{status.run_dir}: {status.state}", f"step {_step(status)}"]
    if status.loss is not None:
        parts.append(f"loss {status.loss:.4f}")
    if status.tokens_per_second is not None:
        parts.append(f"{status.tokens_per_second:,.0f} tokens/s")
    if _is_left(status):
        parts.append(f"{format_duration(status.seconds_left)} left")
    return "  ".join(parts)


def overview(statuses: Sequence["Status"]) -> Table:
    """Return one row per run. On a narrow terminal only names and states break into several lines."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for name in ("step", "loss", "tokens/s", "left", "updated"):
        table.add_column(name, justify="right", no_wrap=True)
    for status in statuses:
        table.add_row(
            status.run_dir,
            status.state,
            _step(status, ""),
            "-" if status.loss is None else f"{status.loss:.4f}",
            "-" if status.tokens_per_second is None else f"{status.tokens_per_second:,.0f}",
            format_duration(status.seconds_left) if _is_left(status) else "-",
            "-" if status.seconds_since_update is None else f"{format_duration(status.seconds_since_update)} ago",
        )
    return table


def _step(status: "Status", share: str = ", {:.1%}") -> str:
    if not status.steps:
        return f"{status.step:,}"
    return f"{status.step:,} of {status.steps:,}" + share.format(status.step / status.steps)


def _is_left(status: "Status") -> bool:
    from .status import COMPLETE

    return status.seconds_left is not None and status.state != COMPLETE
