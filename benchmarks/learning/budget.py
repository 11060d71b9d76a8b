"""The time that an experiment has taken over all its interruptions, and the commits that ran it, in `made.json`."""

import json
import time
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from clinical_modernbert.benchmarks.record import describe_commit
from clinical_modernbert.configs.json_text import read_json
from clinical_modernbert.storage.files import atomic_write


class Made(BaseModel):
    """The content of `made.json`: phase -> seconds, and the commits."""

    seconds: dict[str, float] = {}
    commits: list[str] = []


class Budget:
    """Counts the seconds of each phase. What a killed run did after its last note is lost and not counted.

    Attributes:
        made: what was counted so far.
    """

    def __init__(self, path: Path, minutes: float, repository: Path, page: Path) -> None:
        self.path, self.minutes, self.made = path, minutes, Made()
        if path.is_file():
            self.made = read_json(path, TypeAdapter(Made), "remove the file; the time until now is then not counted")
        self._commit = describe_commit(repository, page)
        self._since = time.monotonic()

    def note(self, phase: str) -> None:
        """Count the seconds since the last note for this phase."""
        now = time.monotonic()
        self.made.seconds[phase] = self.seconds(phase) + now - self._since
        self._since = now
        if self._commit not in self.made.commits:
            self.made.commits.append(self._commit)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, json.dumps(self.made.model_dump(), indent=1) + "\n")

    def seconds(self, phase: str) -> float:
        """Of a phase."""
        return self.made.seconds.get(phase, 0.0)

    def used(self) -> float:
        """Minutes of all phases."""
        return sum(self.made.seconds.values()) / 60

    def suffices_for(self, seconds: float) -> bool:
        """Whether so much more stays within the budget."""
        return self.used() + seconds / 60 <= self.minutes
