"""The models that are attacked: checkpoints of a run, and the model before training."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...training.checkpoint.files import list_checkpoints
from ...training.checkpoint.manifest import MANIFEST, CheckpointManifest
from ...training.recipe.config import RunConfig
from ...training.resilience.skips import order_offset

if TYPE_CHECKING:
    from ...evaluation.privacy.scorer import Scorer

NEWEST, ALL = "newest", "all"


def chosen_checkpoints(run: Path, which: str) -> list[Path]:
    """The checkpoints to attack, oldest first.

    Args:
        run: a run, or one of its checkpoints, for which `which` is not used.
        which: NEWEST, ALL, or the name of one.
    Raises:
        UserError: there are none, or none of that name.
    """
    if (run / MANIFEST).is_file():
        return [run]
    found = list_checkpoints(run / "checkpoints")
    if not found:
        raise UserError(f"{run}: no checkpoint in {run / 'checkpoints'}; expected the run_dir of a training run")
    if which == ALL:
        return found[::-1]
    if which == NEWEST:
        return found[:1]
    if named := [path for path in found if path.name == which]:
        return named
    raise UserError(
        f"--checkpoint {which}: expected {NEWEST}, {ALL} or one of {', '.join(path.name for path in found[::-1])}"
    )


def open_checkpoint(checkpoint: Path, manifest: CheckpointManifest) -> "Scorer":
    """The model of a checkpoint, after an integrity check."""
    from ...model.hugging_face import assemble
    from ...training.checkpoint.save_load import consolidate
    from ...training.export.inputs import find_checkpoint

    return _scorer(assemble(manifest.model, consolidate(find_checkpoint(checkpoint))), checkpoint, checkpoint.name)


def open_untrained(checkpoint: Path, manifest: CheckpointManifest) -> "Scorer":
    """The model that the run of a checkpoint started with: its initial weights, or what its seed gives.

    Raises:
        UserError: the run's recipe or its initial weights are not there any more.
    """
    from ...model.hugging_face import assemble
    from ...model.initialize import initialize
    from ...model.masked_lm import MaskedLM
    from ...training.recipe.start import open_initial

    config = load(RunConfig, run_of(checkpoint) / "config.yaml", allow_secrets=True)
    if (start := open_initial(config)) is not None:
        model = assemble(manifest.model, start.read(config.seed if config.new_head else None))
    else:
        model = MaskedLM(manifest.model)
        initialize(model, config.seed)
    return _scorer(model, checkpoint, "the untrained model")


def _scorer(model: "object", checkpoint: Path, name: str) -> "Scorer":
    from ...evaluation.models.model import packed_model
    from ...evaluation.privacy.scorer import open_scorer
    from ...model.masked_lm import MaskedLM

    assert isinstance(model, MaskedLM)
    return open_scorer(packed_model(model, run_of(checkpoint) / "tokenizer", name))


def open_reference(address: str, attacked: "Scorer") -> "Scorer":
    """A model whose losses are subtracted from those of the model that is attacked: a directory, or a name on the Hub.

    Raises:
        UserError: it cannot be opened, or has another tokenizer.
    """
    from ...evaluation.models.model import open_model
    from ...evaluation.privacy.scorer import open_scorer

    reference = open_scorer(open_model(address))
    if reference.tokenizer.backend.get_vocab() != attacked.tokenizer.backend.get_vocab():
        raise UserError(
            f"--reference {address}: its tokenizer is another than that of {attacked.name}, so losses of tokens cannot "
            "be compared; name a model with the same tokenizer"
        )
    return reference


def seen_packs(checkpoint: Path, manifest: CheckpointManifest, data: str) -> dict[str, Counter[int]]:
    """By source, how often the run had read each training pack at this checkpoint."""
    from ...evaluation.privacy.seen import packs_seen

    config = load(RunConfig, run_of(checkpoint) / "config.yaml", allow_secrets=True)
    read = order_offset(manifest.skips, manifest.progress.packs)
    return packs_seen(config.data.model_copy(update={"path": data}), config.seed, read, manifest.data)


def run_of(checkpoint: Path) -> Path:
    """The directory of its run."""
    return checkpoint.parent.parent
