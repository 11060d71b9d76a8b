"""A command in a real pseudo-terminal, and the screen that a person would see, computed by an emulator (pyte)."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import pyte

LINES = 40
COLOR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:[349][0-7]|10[0-7]|[34]8;[0-9;]+)(?:;[0-9;]*)?m")
"""A sequence that sets a color of text or background."""
_DECIDING = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS", "LINES", "TERMINAL_WIDTH", "RANK")
_SECONDS = 120.0


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without what decides about colors and width, and with `settings`."""
    kept = {name: value for name, value in os.environ.items() if name not in _DECIDING and "TTY_" not in name}
    return {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1", **settings}


class Terminal:
    """Runs `command` in a terminal of `columns` columns. A context manager, which kills the command at its end.

    Attributes:
        pid: of the command.
        output: all bytes that the command has written.
        states: all different screens, each as its lines without trailing blanks.
    """

    def __init__(self, command: Sequence[str], columns: int = 80, env: Mapping[str, str] | None = None) -> None:
        self.output = b""
        self.states: list[list[str]] = []
        self._screen = pyte.Screen(columns, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        self._set_size(columns)
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=env or environment()
        )
        self.pid = self._process.pid
        os.close(slave)  # else reading would never end

    def lines(self) -> list[str]:
        """What the screen shows, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def cursor_is_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def wait_for(self, shows: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen shows something; fails if the command ends before."""
        deadline = time.monotonic() + _SECONDS
        while not shows(self.lines()):
            assert time.monotonic() < deadline, self.lines()
            assert self._read(), f"the command has ended: {self.lines()}"
        return self.lines()

    def finish(self) -> int:
        """Wait until the command ends; returns its exit code."""
        deadline = time.monotonic() + _SECONDS
        while self._read():
            assert time.monotonic() < deadline, self.lines()
        return self._process.wait(_SECONDS)

    def send(self, text: str) -> None:
        """Type `text`."""
        os.write(self._master, text.encode())

    def kill(self) -> None:
        self._process.kill()
        self.finish()

    def resize(self, columns: int) -> None:
        self._set_size(columns)
        self._screen.resize(LINES, columns)

    def _set_size(self, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))

    def _read(self) -> bool:
        """Show what the command writes next; False at its end."""
        if not select.select([self._master], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # how Linux reports that no process has the terminal any more
            return False
        self.output += data
        # One redrawing at a time, so that no state of the screen is missed.
        for part in re.split(rb"(?=\r)", data):
            self._stream.feed(part)
            if not self.states or self.lines() != self.states[-1]:
                self.states.append(self.lines())
        return bool(data)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)
