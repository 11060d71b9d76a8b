"""Where a rank is and how long it may be there, in memory that it shares with its warden.

A rank that hangs may hold the interpreter's lock, or be stopped by a signal, so it cannot watch itself. Its warden
(`launcher/ranks/warden.py`) is another process and can. A beat is a few bytes written to memory, without a system call.
"""

import faulthandler
import mmap
import os
import signal
import struct
from dataclasses import dataclass
from tempfile import TemporaryFile

ASK_FOR_STACKS = signal.SIGUSR2
"""The signal on which a watched rank writes the stacks of its threads, whatever they do."""
_BEAT = struct.Struct("<Qd")
_PLACE_BYTES = 240


@dataclass(frozen=True)
class Beat:
    """What a rank wrote last.

    Attributes:
        number: of beats so far: another one means that the rank went on.
        seconds: that may pass until the next beat; 0: any number.
        place: such as `step 12, forward and backward`.
    """

    number: int
    seconds: float
    place: str


class Heartbeat:
    """Made before the warden is forked.

    Attributes:
        watched: whether a warden watches; if not, a timer of the rank itself does, which names no place.
    """

    def __init__(self) -> None:
        self.watched = False
        self._memory = mmap.mmap(-1, _BEAT.size + _PLACE_BYTES)
        self._number = 0
        # The warden reads what a signal handler of the rank writes. Both use it until they end.
        self._stacks = TemporaryFile()  # noqa: SIM115

    def beat(self, place: str, seconds: float) -> None:
        """Called by the rank: it is at `place` and may stay there for `seconds`, or forever if they are 0."""
        self._number += 1
        if self.watched:
            self._memory[:] = _BEAT.pack(self._number, seconds) + place.encode()[:_PLACE_BYTES].ljust(_PLACE_BYTES)
            return
        faulthandler.cancel_dump_traceback_later()
        if seconds:
            faulthandler.dump_traceback_later(seconds, exit=True)

    def be_watched(self) -> None:
        """Called by the rank when it has a warden. The handler runs outside the interpreter and prints no values."""
        self.watched = True
        faulthandler.register(ASK_FOR_STACKS, self._stacks, all_threads=True)

    def last(self) -> Beat:
        """Called by the warden. A torn read is no concern: who acts on a beat has read it several times."""
        memory = self._memory[:]
        place = memory[_BEAT.size :].rstrip(b" \0").decode(errors="replace")
        number, seconds = _BEAT.unpack(memory[: _BEAT.size])
        return Beat(number, seconds, place)

    def stacks(self, begin: int = 0) -> str:
        """Called by the warden: what the rank has written on `ASK_FOR_STACKS`, from byte `begin` on."""
        return os.pread(self._stacks.fileno(), 1 << 20, begin).decode(errors="replace")

    def stacks_size(self) -> int:
        return os.fstat(self._stacks.fileno()).st_size
