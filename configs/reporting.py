"""Messages to the user of a command: Python's logging, shown by rich.

Every module logs through `logging.getLogger(__name__)`. `configure` shows those messages: information on stdout as
plain lines, warnings and errors on stderr with their level, in color on a terminal. Only rank 0 shows messages below
the level of an error; a message with `extra=ALL_RANKS` is shown by every rank. Progress bars use `console`, so that
messages appear above them.

Results of a command (tables, paths, JSON) are not messages: commands print them.
"""

import logging
import os
import traceback

from rich.console import Console
from rich.text import Text

from .errors import UserError

PACKAGE = __name__.partition(".")[0]
ALL_RANKS = {"all_ranks": True}
console = Console()
_error_console = Console(stderr=True)
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}


def configure() -> None:
    """Show this package's messages and silence those of libraries. Every entry point calls it; repeating it is safe."""
    logger = logging.getLogger(PACKAGE)
    if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(_ConsoleHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    silence_libraries()


def silence_libraries() -> None:
    """Hide notices and progress bars of libraries, but not their errors. Call it before importing them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)


def report_error(error: UserError) -> None:
    """Show a user error as `error: ...` on stderr; with CMBERT_DEBUG=1, after its traceback."""
    if os.environ.get("CMBERT_DEBUG") == "1":
        traceback.print_exception(error)
    _print(_error_console, logging.ERROR, str(error))


class _ConsoleHandler(logging.Handler):
    """Writes records to `console`; warnings and errors go to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        shown = record.levelno >= logging.ERROR or getattr(record, "all_ranks", False)
        if shown or os.environ.get("RANK", "0") == "0":
            message = record.getMessage()
            if record.exc_info:
                message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
            _print(console if record.levelno < logging.WARNING else _error_console, record.levelno, message)


def _print(target: Console, level: int, message: str) -> None:
    """Print the message after the name of its level, further lines aligned with the first. Long lines do not wrap."""
    text = Text()
    if style := _STYLES.get(level):
        prefix = f"{logging.getLevelName(level).lower()}: "
        text.append(prefix, style)
        message = message.replace("\n", "\n" + " " * len(prefix))
    target.print(text.append(message), soft_wrap=True, highlight=False)
