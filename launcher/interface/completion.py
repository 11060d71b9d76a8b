"""What a shell offers for recipes, tasks, runs and other names. It answers each key press, so it imports little.

Where nothing is offered, the shell completes names of files.
"""

import os
from collections.abc import Callable, Iterable
from glob import escape, glob
from textwrap import shorten
from typing import TypeAlias

from ...configs.loader.recipes import Kind, describe_recipe, recipe_names
from ..runs.find import RUNS, find_runs

_DESCRIPTION = 60
"""The most characters of a description: a shell shows it on the line of the word."""
Completer: TypeAlias = Callable[[str], list[tuple[str, str]]]
"""Takes the beginning of a word, and returns words with their descriptions."""


def recipes(kind: Kind | None = None) -> Completer:
    """Return a completer for packaged recipes of one kind or all, and for YAML files."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        names = [name for name in recipe_names(kind) if name.startswith(incomplete)]
        packaged = [(name, shorten(describe_recipe(name), _DESCRIPTION, placeholder=" ...")) for name in names]
        return packaged + [(path, "a file") for path in sorted(glob(f"{escape(incomplete)}*.yaml"))]

    return complete


def runs(incomplete: str) -> list[tuple[str, str]]:
    """Complete directories of runs: below the directory that is typed so far, and below `runs`."""
    directory = os.path.dirname(incomplete)
    found = {*find_runs(directory, 2), *find_runs(RUNS, 3)}
    return [(path, "a run") for path in sorted(found) if path.startswith(incomplete)]


def gpus(incomplete: str) -> list[tuple[str, str]]:
    """Complete the GPU models that `cmbert plan` knows."""
    from ...training.planning.devices import GPUS

    known = {gpu.name.lower().replace(" ", "-"): f"{gpu.memory / 1e9:.0f} GB" for gpu in GPUS}
    return _starting(incomplete, known.items())


def fabrics(incomplete: str) -> list[tuple[str, str]]:
    """Complete the networks that `cmbert plan` knows."""
    from ...training.planning.fabric import FABRICS

    known = ((fabric.name, f"{fabric.node / 1e9:g} GB/s per node") for fabric in FABRICS)
    return _starting(incomplete, known)


def corpora(incomplete: str) -> list[tuple[str, str]]:
    """Complete the corpora that `cmbert data fetch` downloads."""
    from ...streaming_data.download.publishers import PUBLISHERS

    return _starting(incomplete, ((name, publisher.what) for name, publisher in PUBLISHERS.items()))


def _starting(incomplete: str, words: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(word, text) for word, text in words if word.startswith(incomplete)]
