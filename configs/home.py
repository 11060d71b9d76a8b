"""The home directory in paths: recipes and options are not expanded by a shell."""

import os
import re

_OPTION = re.compile(r"(--[\w-]+=)?(.*)", re.DOTALL)


def expand_home(text: str) -> str:
    """`~/x` and `~user/x` with the home directory; any other text as it is.

    Raises ValueError if there is no home directory, as for a user of a container without an entry in /etc/passwd.
    """
    if not (text.startswith("~") and "/" in text):
        return text
    expanded = os.path.expanduser(text)
    if expanded.startswith("~/"):
        raise ValueError(f"{text!r}: no home directory is known here; set HOME, or write the path without ~")
    return expanded


def expand_argument(argument: str) -> str:
    """An argument of the command line; a shell leaves the `~` of `--out=~/x` as it is."""
    option, value = _OPTION.fullmatch(argument).groups("")  # type: ignore[union-attr]
    return option + expand_home(value)
