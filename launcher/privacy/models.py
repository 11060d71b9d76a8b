"""The models that are attacked: checkpoints of a run, and the model before training."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...streaming_data.loader.config import DataConfig
from ...training.checkpoint.files import list_checkpoints
from ...training.checkpoint.manifest import MANIFEST, CheckpointManifest
from ...training.recipe.config import RunConfig
from ...training.resilience.skips import order_offset

if TYPE_CHECKING:
    from ...evaluation.privacy.scoring import Scorer

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

    config = load(RunConfig, _run_of(checkpoint) / "config.yaml", allow_secrets=True)
    if (start := open_initial(config)) is not None:
        model = assemble(manifest.model, start.read(config.seed if config.new_head else None))
    else:
        model = MaskedLM(manifest.model)
        initialize(model, config.seed)
    return _scorer(model, checkpoint, "the untrained model")


def packs_of(manifest: CheckpointManifest, data: str) -> dict[str, Counter[int]]:
    """How often the run of a checkpoint had read each training pack of each source of its data set, at `data`.

    Raises:
        UserError: the data set cannot be opened.
    """
    from ...evaluation.privacy.seen import packs_seen

    read = order_offset(manifest.skips, manifest.progress.packs)
    return packs_seen(DataConfig(**{**manifest.config["data"], "path": data}), manifest.config["seed"], read)


def open_reference(model: str, attacked: "Scorer") -> "Scorer":
    """A model whose losses are subtracted: a directory, or a name on the Hub.

    Raises:
        UserError: it cannot be opened, or its tokens are not those of the model that is attacked.
    """
    from ...evaluation.models.model import open_model
    from ...evaluation.privacy.scoring import open_scorer

    reference = open_scorer(open_model(model))
    if reference.tokenizer.backend.get_vocab() != attacked.tokenizer.backend.get_vocab():
        raise UserError(
            f"--reference {model}: its tokenizer is another than that of {attacked.name}, so their losses cannot be "
            "compared; name a model with the same tokenizer, such as an earlier one of the same series"
        )
    return reference


def _scorer(model: "object", checkpoint: Path, name: str) -> "Scorer":
    from ...evaluation.models.model import packed_model
    from ...evaluation.privacy.scoring import open_scorer
    from ...model.masked_lm import MaskedLM

    assert isinstance(model, MaskedLM)
    return open_scorer(packed_model(model, _run_of(checkpoint) / "tokenizer", name))


def _run_of(checkpoint: Path) -> Path:
    return checkpoint.parent.parent
