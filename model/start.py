"""What a model starts from: a Hugging Face directory, a name on the Hub, a composer checkpoint, or one of ours.

`open_start` reads only what describes the model. Weights are read by `Start.read`, in fp32 by the names of MaskedLM.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..configs.errors import UserError
from ..storage import hub
from .checkpoint_weights import is_checkpoint, read_checkpoint, read_checkpointed_model, tokenizer_of
from .config import ModelConfig
from .hugging_face_config import ParsedConfig, parse_config, parse_directory, read_json
from .origin import WeightsOrigin, read_import_record
from .token_ids import FILES as TOKENIZER_FILES
from .token_ids import ids_of

if TYPE_CHECKING:
    from torch import Tensor

NEW_HEAD = ("head.dense.weight", "head.norm.weight", "decoder.bias")
"""What a bare encoder lacks, and a classifier has for its own task."""


class Start(NamedTuple):
    """A model to start from.

    Attributes:
        address: as it was given; of a repository on the Hub, with the commit.
        kind: `hugging face`, `hub`, `composer` or `checkpoint`.
        path: the directory or file that holds it.
        parsed: its config.
        tokenizer: the directory of its tokenizer, or the contents of its files by name.
    """

    address: str
    kind: str
    path: Path
    parsed: ParsedConfig
    tokenizer: Path | Mapping[str, Any]

    @property
    def config(self) -> ModelConfig:
        return self.parsed.config

    def origin(self, new_head_seed: int | None = None) -> WeightsOrigin:
        """Where the weights come from, for the record; of a directory of `cmbert import`, where that had them from."""
        before = read_import_record(self.path) if self.kind == "hugging face" else None
        address, kind = (before.address, before.kind) if before else (self.address, self.kind)
        new, seed = (before.new_parameters, before.new_from_seed) if before else ((), None)
        if new_head_seed is not None:
            new, seed = NEW_HEAD, new_head_seed
        return WeightsOrigin(
            address=address, kind=kind, new_parameters=new, new_from_seed=seed, imported=before is not None
        )

    def tokenizer_json(self) -> dict[str, Any] | None:
        """The content of tokenizer.json; None if there is none."""
        if isinstance(self.tokenizer, Mapping):
            content = self.tokenizer.get(TOKENIZER_FILES[0])
            return content if isinstance(content, dict) else None
        path = self.tokenizer / TOKENIZER_FILES[0]
        return read_json(path) if path.is_file() else None

    def read(self, new_head_seed: int | None = None) -> "dict[str, Tensor]":
        """All parameters of MaskedLM by name, fp32 on the CPU, with the tied embedding once.

        Args:
            new_head_seed: take only the encoder, and make NEW_HEAD from this seed.
        Raises:
            UserError: a file cannot be read, or tensors are missing, unexpected or of another kind.
        """
        from .hugging_face import checked
        from .initialize import initial_value

        weights = self._tensors()
        if new_head_seed is not None:
            shapes = {"dense": (self.config.hidden_size,) * 2, "norm": (self.config.hidden_size,)}
            weights = encoder_of(weights)
            for name in NEW_HEAD:
                shape = shapes.get(name.split(".")[1], (self.config.vocab_size,))
                weights[name] = initial_value(name, shape, self.config, new_head_seed)
        return {name: value.float() for name, value in checked(weights, self.config, str(self.path)).items()}

    def _tensors(self) -> "dict[str, Tensor]":
        if self.kind == "composer":
            from .composer import read_composer

            return read_composer(self.path).weights
        if self.kind == "checkpoint":
            return read_checkpoint(self.path)
        from .weight_files import read_directory

        directory = hub.fetch(Path(self.address)).directory if self.kind == "hub" else self.path
        return read_directory(directory)


def open_start(address: Path) -> Start:
    """Read what describes the model at an address, without its weights.

    Raises:
        UserError: there is no model there, or it is not a ModernBERT; the message says why.
    """
    if address.is_file():
        return _open_composer(address)
    if hub.is_hub_name(address):
        directory, pinned = hub.fetch_settings(address)
        return Start(pinned, "hub", directory, parse_directory(directory), directory)
    if is_checkpoint(address):
        config = read_checkpointed_model(address).model
        return Start(str(address), "checkpoint", address, ParsedConfig(config), tokenizer_of(address))
    if (address / "checkpoints").is_dir() and not (address / "config.json").is_file():
        raise UserError(f"{address}: a run; give one of its checkpoints: `cmbert checkpoint list {address}` has them")
    if any(address.glob("*.distcp")) or (address / ".metadata").is_file():
        raise UserError(
            f"{address}: a sharded save of torch or composer; make one file of it with `python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {address} FILE.pt`, and give that"
        )
    return Start(str(address), "hugging face", address, parse_directory(address), address)


def encoder_of(weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """The encoder's tensors under the names of MaskedLM; a bare encoder has them without `model.` before."""
    prefix = "" if "embeddings.tok_embeddings.weight" in weights else "model."
    encoder = ("embeddings.", "layers.", "final_norm.")
    return {
        f"model.{name.removeprefix(prefix)}": value
        for name, value in weights.items()
        if name.startswith(tuple(f"{prefix}{part}" for part in encoder))
    }


def _open_composer(path: Path) -> Start:
    from .composer import read_composer

    if path.suffix not in (".pt", ".pth"):
        raise UserError(f"{path}: expected a directory, or a composer checkpoint, FILE.pt")
    content = read_composer(path)
    parsed = parse_config(content.config, str(path), ids_of(content.tokenizer))
    return Start(str(path), "composer", path, parsed, content.tokenizer)
