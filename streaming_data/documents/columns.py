"""Checks of a table's column names, with messages that show names only if they cannot be a patient's text."""

import re
from collections.abc import Sequence
from pathlib import Path

from ...configs.errors import UserError

_MAX_SHOWN = 20
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
_NAME = re.compile(r"[^\W\d][\w.-]{0,29}( [\w.-]{1,20}){0,2}")


def match_names(names: Sequence[str], required: Sequence[str]) -> list[str]:
    """The names of a file's columns, in the spelling of `required` where they differ only in invisible characters.

    Exports write non-breaking and doubled spaces, and byte order marks, into the names of columns.
    """
    wanted = {visible_name(name): name for name in required if name not in names}
    return [wanted.get(visible_name(name), name) for name in names]


def visible_name(name: str) -> str:
    """The name with single ordinary spaces and without invisible characters."""
    return " ".join(name.translate(_INVISIBLE).split())


def check_columns(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    """Raise UserError unless each required column exists exactly once."""
    if missing := [name for name in required if name not in names]:
        has = describe_names(names, required, "columns")
        raise UserError(f"{path}: no column {', '.join(missing)}; the file has {has}")
    if repeated := [name for name in required if names.count(name) > 1]:
        raise UserError(f"{path}: more than one column is named {', '.join(repeated)}; rename or remove all but one")


def describe_names(names: Sequence[str], required: Sequence[str], kind: str) -> str:
    """The names for a message if one of them is required, ignoring case; else only the number of the `kind`.

    In a file without a header, or keyed by patient, patients' text is where names are expected; in a file whose first
    lines were merged, it is among the names.
    """
    folded = {name.casefold() for name in required}
    if folded.isdisjoint(name.casefold() for name in names):
        count = f"{len(names):,} {kind if len(names) != 1 else kind.removesuffix('s')}"
        return f"{count}, none with a required name; expected {kind} named {', '.join(required)}"
    shown = [name for name in names if name.casefold() in folded or _NAME.fullmatch(name)][:_MAX_SHOWN]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more
