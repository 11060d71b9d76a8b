"""Computations for tests of inference in chunks, in a module that spawned processes can import."""

import os
import signal
from collections.abc import Sequence

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.inference.chunks import Record
from clinical_modernbert.evaluation.inference.processes import Compute, Count, Result


def open_upper(process: int) -> Compute[Record]:
    def upper(given: Sequence[Record], count: Count) -> Result:
        count(len(given), 2 * len(given))
        return Result("".join(f"{one.id} {one.content.upper()}\n" for one in given).encode(), {"texts": len(given)})

    return upper


def open_killed(process: int) -> Compute[Record]:
    """As `open_upper`, until a process meets the record 50: it is killed, as by a system without memory."""

    def upper(given: Sequence[Record], count: Count) -> Result:
        if any(one.id == "id50" for one in given):
            os.kill(os.getpid(), signal.SIGKILL)
        return open_upper(process)(given, count)

    return upper


def open_refusing(process: int) -> Compute[Record]:
    raise UserError("this model cannot be opened")
