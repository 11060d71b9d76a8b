"""The progress of a command that has several stages."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ....configs.progress import Progress

if TYPE_CHECKING:
    from ....streaming_data.parallel import ProgressCallback
    from ....streaming_data.prepare.pipeline import StageCallbacks


@contextmanager
def stages_of_progress() -> "Iterator[StageCallbacks]":
    """Yields a function that begins a stage and returns the callback for its progress."""
    with ExitStack() as stage_progress:

        def stages(stage: str) -> "ProgressCallback":
            stage_progress.close()
            return stage_progress.enter_context(Progress(stage, unit="tasks", counts="documents")).update

        yield stages
