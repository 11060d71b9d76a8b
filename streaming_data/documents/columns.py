"""What a table calls its columns, checked, and told only where they are names and cannot be a patient's words."""

import re
from collections.abc import Sequence
from pathlib import Path

from ...configs.errors import UserError

_SHOWN = 20
_NAME = re.compile(r"[^\W\d][\w.-]{0,29}( [\w.-]{1,20}){0,2}")


def check_columns(path: Path, found: Sequence[str], needed: Sequence[str]) -> None:
    """Raises UserError unless each needed column is there once."""
    if missing := [name for name in needed if name not in found]:
        raise UserError(f"{path}: no column {', '.join(missing)}; the file has {describe(found, needed, 'columns')}")
    if twice := [name for name in needed if found.count(name) > 1]:
        raise UserError(f"{path}: more than one column is named {', '.join(twice)}; rename or remove all but one")


def describe(found: Sequence[str], needed: Sequence[str], kind: str) -> str:
    """The names for a message, if one of them is needed, whatever its case; else how many of the `kind` there are.

    A file without header, or keyed by patient, has patients' words in the place of names; one whose first lines ran
    together has them beside names.
    """
    wanted = {name.casefold() for name in needed}
    if wanted.isdisjoint(name.casefold() for name in found):
        count = f"{len(found):,} {kind if len(found) != 1 else kind.removesuffix('s')}"
        return f"{count}, none with a name that is needed; expected {kind} named {', '.join(needed)}"
    names = [name for name in found if name.casefold() in wanted or _NAME.fullmatch(name)][:_SHOWN]
    more = f" and {len(found) - len(names):,} more" if len(found) > len(names) else ""
    return ", ".join(names) + more
