"""One process at a time in a directory. The kernel releases a lock with the process that holds it."""

import fcntl
import logging
from pathlib import Path

from ..configs.errors import UserError

logger = logging.getLogger(__name__)


def lock(descriptor: int, directory: Path, busy: str) -> None:
    """Lock an open file until it is closed. A file system without locks is accepted.

    Args:
        directory: named in messages.
        busy: what to say if another process holds the lock.
    Raises:
        UserError: another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{directory}: {busy}") from error
    except OSError as error:
        logger.debug(f"{directory}: this file system has no locks ({error.strerror})")
