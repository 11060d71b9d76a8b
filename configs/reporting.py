"""Messages to the user of a command: Python's logging, shown by rich.

Every module logs through `logging.getLogger(__name__)`. `configure` shows those messages: information on stdout as
plain lines, warnings and errors on stderr with their level, in color on a terminal. Only rank 0 shows messages below
the level of an error; a message with `extra=ALL_RANKS` is shown by every rank. Messages appear above the line of
progress that `redraw` shows (`progress.py`).

Results of a command (tables, paths, JSON) are not messages: commands print them. `suggest` ends a command.

Colors are for terminals. `NO_COLOR` turns them off, `FORCE_COLOR` on, also in a pipe; nothing is ever redrawn there.
"""

import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from .errors import USER_ERROR, UserError
from .secrets import scrub

PACKAGE = __name__.partition(".")[0]
ALL_RANKS = {"all_ranks": True}
NEXT = "CMBERT_NEXT"
"""Environment variable: 0 hides the next commands that a command suggests."""


class _Console(Console):
    def show_cursor(self, show: bool = True) -> bool:
        """Never hide the cursor: a process that is killed could not show it again."""
        return False


console = _Console()
_error_console = Console(stderr=True)
_live: Live | None = None
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}


def configure() -> None:
    """Show this package's messages and silence those of libraries. Every entry point calls it; repeating it is safe."""
    logger = logging.getLogger(PACKAGE)
    if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(_ConsoleHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    sys.excepthook = _show_crash
    silence_libraries()


def silence_libraries() -> None:
    """Hide notices and progress bars of libraries, but not their errors. Call it before importing them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)


def report_error(error: UserError) -> None:
    """Show a user error as `error: ...` on stderr; with CMBERT_DEBUG=1, after its traceback."""
    if os.environ.get("CMBERT_DEBUG") == "1":
        print_traceback(error)
    _print(_error_console, logging.ERROR, str(error))


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run the `main` of a program that is no command of `cmbert`, and exit with its code; a UserError exits with 2."""
    configure()
    try:
        code = main()
    except UserError as error:
        report_error(error)
        code = USER_ERROR
    sys.exit(code)


def print_traceback(error: BaseException) -> None:
    """Show the traceback of an error on stderr, without secrets."""
    print(scrub("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def _show_crash(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    print_traceback(error)


def suggest(*commands: Sequence[str]) -> None:
    """Show the `cmbert` commands that a person would want next, each as its arguments, on stderr."""
    if os.environ.get(NEXT) == "0":
        return
    text = Text("Next: ", "bold cyan")
    lines = (f"cmbert {scrub(shlex.join(command))}" for command in commands)
    text.append("\n      ".join(lines), "not bold default")
    start_row(_error_console)
    _error_console.print(text, soft_wrap=True, highlight=False)


def can_redraw() -> bool:
    """Whether stdout is a terminal that can redraw a line."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def redraw(line: RenderableType) -> None:
    """Show one line at the bottom of the terminal instead of the previous one, below all messages and prints."""
    global _live
    with suppress(OSError):  # the terminal is gone
        if _live is None:
            _live = Live(console=console, auto_refresh=False, transient=True)
            _live.start()
        _live.update(line, refresh=True)


def erase() -> None:
    """Remove the line that `redraw` shows, if any."""
    global _live
    if _live is not None:
        with suppress(OSError):
            _live.stop()
        _live = None


class _ConsoleHandler(logging.Handler):
    """Writes records to `console`; warnings and errors go to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        shown = record.levelno >= logging.ERROR or getattr(record, "all_ranks", False)
        if shown or os.environ.get("RANK", "0") == "0":
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
            # The reader of the output may be gone, with the launcher, the connection or the terminal: the work goes on.
            # For a pipe, rich then sends the output to /dev/null, and exits.
            with suppress(OSError, SystemExit):
                _print(console if record.levelno < logging.WARNING else _error_console, record.levelno, message)


def _print(target: Console, level: int, message: str) -> None:
    """Print the message after the name of its level, further lines aligned with the first. Long lines do not wrap."""
    text, message = Text(), scrub(message)
    if style := _STYLES.get(level):
        prefix = f"{logging.getLevelName(level).lower()}: "
        text.append(prefix, style)
        message = message.replace("\n", "\n" + " " * len(prefix))
    if _live is not None and target.file.isatty():
        target = console  # which shows the message above the line
    else:
        start_row(target)
    target.print(text.append(message), soft_wrap=True, highlight=False)


def start_row(target: Console = _error_console) -> None:
    """On a terminal, erase what another process, such as rank 0, has drawn on this row."""
    if target.file.isatty() and not target.is_dumb_terminal:
        target.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
