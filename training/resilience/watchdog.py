"""What becomes of a rank that hangs: it says where, and ends, so that the launcher can start the run again."""

import faulthandler


def expect_progress_within(minutes: float) -> None:
    """Unless this is called again in time, print where every thread of this process stands, and exit with code 1.

    It works below Python, so a thread that never gives the interpreter back cannot stop it; it prints files and lines,
    never values. 0 minutes: never.
    """
    faulthandler.cancel_dump_traceback_later()
    if minutes:
        faulthandler.dump_traceback_later(60 * minutes, exit=True)
