"""What the commands that evaluate and fine-tune are given: models of any kind, and task files; checked first."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all, check_packages

if TYPE_CHECKING:
    from ...evaluation.models.model import EvaluatedModel
    from ...evaluation.suite import Evaluation


def checks(models: Sequence[str], evaluations: "Sequence[Evaluation]", out: Path) -> Iterator[Check]:
    """Everything that the work needs, from cheap to expensive. None of it imports torch or uses a network."""
    from ...evaluation.origin import check_published
    from ...evaluation.scores.optional_dependencies import EXTRA
    from ...evaluation.suite import check, packages
    from ...evaluation.tasks.masked_words import MaskedWordsTask, check_same_tokenizer
    from ...evaluation.tasks.needles import NeedlesTask
    from ...storage.preconditions import check_writable

    needed = {name for evaluation in evaluations for name in packages(evaluation)}
    if needed:
        yield lambda: check_packages("the scores of these tasks", EXTRA, needed)
    yield lambda: check_writable(out / "results.json")
    for address in models:
        yield partial(check_model, address)
    for evaluation in evaluations:
        yield partial(check, evaluation)
        yield partial(check_published, evaluation)
        if isinstance(evaluation.task, MaskedWordsTask | NeedlesTask) and (evaluation.data / "tokenizer").is_dir():
            for address in models:
                yield partial(check_same_tokenizer, _tokenizer_directory(address), evaluation.data)


def check_model(address: str) -> None:
    """Check that there are the files of a model; UserError if not."""
    if is_run(Path(address)):
        from ...training.export.inputs import check_checkpoint

        check_checkpoint(Path(address))
    else:
        from ...evaluation.models.addresses import check_address

        check_address(address)


def _tokenizer_directory(address: str) -> Path:
    from ...training.checkpoint.manifest import MANIFEST

    path = Path(address)
    run = path.parent.parent if (path / MANIFEST).is_file() else path
    return run / "tokenizer" if is_run(path) else path


def locate(models: Sequence[str]) -> list[str]:
    """The models with those on the Hub replaced by their directories: all are downloaded before one is opened."""
    from ...evaluation.models.addresses import find_model

    return [str(path) for path in check_all(partial(find_model, address) for address in models)]


def is_run(path: Path) -> bool:
    """Whether it is a run or one of its checkpoints."""
    from ...training.checkpoint.manifest import MANIFEST

    return (path / "checkpoints").is_dir() or (path / MANIFEST).is_file()


def open_any(address: str, name: str) -> "EvaluatedModel":
    """Open a run or one of its checkpoints with the run's tokenizer, or else a Hugging Face model."""
    from ...evaluation.models.model import open_model, packed_model
    from ...model.hugging_face import assemble
    from ...training.checkpoint.manifest import read_manifest
    from ...training.checkpoint.save_load import consolidate
    from ...training.export.inputs import find_checkpoint

    path = Path(address)
    if not is_run(path):
        return open_model(address, name)
    checkpoint = find_checkpoint(path)
    config = read_manifest(checkpoint).model
    return packed_model(assemble(config, consolidate(checkpoint)), checkpoint.parent.parent / "tokenizer", name)


def open_numbered(addresses: Sequence[str], names: Sequence[str], number: int) -> "EvaluatedModel":
    """`open_any` of the model with this number, for processes that are given numbers."""
    return open_any(addresses[number], names[number])


def short_names(addresses: list[str]) -> list[str]:
    """Short names for tables: the last part of each address, or all of it where two would be the same."""
    short = [Path(address).name for address in addresses]
    if len(set(addresses)) < len(addresses):
        raise UserError("a model is named twice; list each once")
    return [name if short.count(name) == 1 else address for name, address in zip(short, addresses, strict=True)]
