"""Errors that are shown to a user without a traceback."""

USER_ERROR = 2
"""The exit code for a user error."""


class UserError(Exception):
    """An error that the user can fix. The message names the file, line, key or record, what was expected, and the fix.

    The command line prints it as one message and exits with code 2.
    """


class TransientError(UserError):
    """A failure that may be temporary, such as a store or a disk that does not respond.

    Another attempt may succeed, so ranks exit with 1, as after a crash.
    """


class RankCountError(UserError):
    """The run cannot be divided among so many ranks.

    It is a mistake if the user chose their number, and a circumstance if a scheduler did: then ranks exit with 87, and
    the run waits for another number.
    """
