"""Addresses of models: a Hugging Face directory, or a name on the Hub; checked and downloaded without torch."""

import re
from pathlib import Path

from ...configs.errors import UserError
from ...configs.json_text import parse_json_object
from ...configs.limits import SETTINGS_BYTES, read_file
from ...storage.files import hash_file

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_MODEL_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model.bin"]
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "*.model")


def check_address(address: str) -> None:
    """Check that a directory has the files of a model; a name on the Hub is only checked for its form.

    Raises:
        UserError: a file is missing, or there is no such directory and it is no name on the Hub either.
    """
    directory = Path(address)
    if not directory.is_dir():
        if directory.exists() or not _HUB_NAME.fullmatch(address):
            raise UserError(
                f"{address}: no such directory, and not a name on the Hugging Face Hub; expected a run, an export, or "
                "a Hugging Face model"
            )
        return
    model_type(directory)
    for what, patterns in (("weights", _WEIGHTS), ("tokenizer", _TOKENIZER)):
        if not any(any(directory.glob(pattern)) for pattern in patterns):
            raise UserError(f"{directory}: no {what}; expected {', '.join(patterns)}")


def find_model(address: str) -> Path:
    """The directory of a model, downloaded from the Hub if `address` is not a directory.

    Raises:
        UserError: it cannot be downloaded.
    """
    return Path(address) if Path(address).is_dir() else _download(address)


def hash_model(directory: Path) -> dict[str, str]:
    """The hash of every file that may determine a model's outputs, by its path in the directory."""
    files = {path for pattern in _MODEL_FILES for path in directory.rglob(pattern) if path.is_file()}
    return {str(path.relative_to(directory)): hash_file(path) for path in sorted(files)}


def model_type(directory: Path) -> str | None:
    """The `model_type` in config.json.

    Raises:
        UserError: there is no config.json, or it cannot be read.
    """
    try:
        config = parse_json_object(read_file(directory / "config.json", SETTINGS_BYTES), SETTINGS_BYTES)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{directory}: no readable config.json; expected a run, an export, or a Hugging Face model"
        ) from error
    return config.get("model_type")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_MODEL_FILES))
    except Exception as error:  # network, name and authorization errors of several libraries share no base class
        raise UserError(
            f"{name}: no such directory, and it cannot be fetched from the Hugging Face Hub ({type(error).__name__}); "
            "check the name, or download the model and give its directory"
        ) from error
