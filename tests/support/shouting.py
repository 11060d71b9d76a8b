"""A computation for tests of inference in chunks, in a module that spawned processes can import."""

from collections.abc import Sequence

from clinical_modernbert.evaluation.inference.chunks import Record
from clinical_modernbert.evaluation.inference.processes import Compute, Count, Result


def open_upper(process: int) -> Compute[Record]:
    def upper(given: Sequence[Record], count: Count) -> Result:
        count(len(given), 2 * len(given))
        return Result("".join(f"{one.id} {one.content.upper()}\n" for one in given).encode(), {"texts": len(given)})

    return upper
