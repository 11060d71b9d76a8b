"""A watchdog for ranks that hang: the process prints its stacks and exits, so that the launcher can restart the run."""

import faulthandler


def expect_progress_within(minutes: float) -> None:
    """Print the stack of every thread and exit with code 1, unless this is called again within `minutes`.

    The timer runs outside the interpreter, so a thread that never releases the GIL cannot block it. It prints files and
    lines, never values. 0 minutes disables it.
    """
    faulthandler.cancel_dump_traceback_later()
    if minutes:
        faulthandler.dump_traceback_later(60 * minutes, exit=True)
