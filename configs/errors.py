"""Errors that are shown to a user without a traceback."""

USER_ERROR = 2
"""The exit code for a user's mistake."""


class UserError(Exception):
    """A mistake the user can fix: the message names the file, line, key or record, what was expected, and the fix.

    The command line prints it as one message and exits with code 2.
    """


class TransientError(UserError):
    """A failure that may pass by itself, such as a store or a disk that does not respond.

    A run that ends with it is worth another attempt, so its ranks exit with 1, as after a crash.
    """
