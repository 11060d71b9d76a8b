"""The secret of surrogates: a key file of the user, and the numbers that follow from it for each patient.

Without the key nobody can compute a patient's days of shift or check a guess of a name. It is read from the file where
it is needed and is written nowhere.
"""

import hashlib
import hmac
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from ...configs.errors import UserError

Numbers: TypeAlias = Callable[..., int]
"""A number of 256 bits that depends on the key, the patient and the texts that it is called with."""

_FEWEST_BYTES, _MOST_BYTES = 32, 4096
_MAKE = "`(umask 077; head -c 32 /dev/urandom > FILE)` makes one"


@lru_cache(maxsize=8)
def read_key(path: Path) -> bytes:
    """The content of a key file.

    Raises:
        UserError: it is absent, too short or too long, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        content = b"" if stat.S_IMODE(mode) & 0o177 or not stat.S_ISREG(mode) else path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the key file cannot be read ({error.strerror}); {_MAKE}") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: not a file; {_MAKE}")
    if stat.S_IMODE(mode) & 0o177:
        raise UserError(
            f"{path}: the key file has mode {stat.S_IMODE(mode):04o}, and a key is for its owner alone: "
            f"`chmod 600 {path}`, or make a new key if others have read it"
        )
    if not _FEWEST_BYTES <= len(content) <= _MOST_BYTES:
        raise UserError(
            f"{path}: {len(content):,} bytes; a key has {_FEWEST_BYTES} to {_MOST_BYTES:,} random bytes; {_MAKE}"
        )
    return content


def fingerprint(key: bytes) -> str:
    """Tells keys apart without revealing them."""
    return _mac(key, "fingerprint").hex()


def numbers_of(key: bytes, patient: str) -> Numbers:
    """The numbers of a patient."""
    own = _mac(key, "patient", patient)
    return lambda *texts: int.from_bytes(_mac(own, *texts), "big")


def _mac(key: bytes, *texts: str) -> bytes:
    message = b"".join(len(part).to_bytes(8, "big") + part for part in (text.encode() for text in texts))
    return hmac.digest(key, message, hashlib.sha256)
