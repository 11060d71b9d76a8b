"""The one exception that is shown to a user without a traceback."""


class UserError(Exception):
    """Something the user can mend: the message names the file, line, key or record, what was expected, and the fix.

    The command line prints it as one line and exits with code 2.
    """
