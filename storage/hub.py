"""Models on the Hugging Face Hub: their names, and their files as one commit has them, in the Hub client's cache."""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..configs.errors import UserError
from ..configs.json_text import parse_json_object
from ..configs.limits import SETTINGS_BYTES

_NAME = re.compile(r"(?P<repository>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "training.json")
_WEIGHTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"),
)


class Snapshot(NamedTuple):
    """Files of a repository as one commit has them.

    Attributes:
        address: OWNER/NAME@COMMIT.
    """

    directory: Path
    address: str


def is_hub_name(address: Path) -> bool:
    """Whether an address is OWNER/NAME or OWNER/NAME@REVISION of the Hub, and nothing on this disk.

    Where a directory OWNER exists, NAME in it is a mistyped path, and no request is made.
    """
    match = _NAME.fullmatch(str(address))
    return match is not None and not address.exists() and not address.parent.is_dir()


def fetch_settings(address: Path) -> Snapshot:
    """The config and the tokenizer of a repository; they are small. See `fetch`."""
    return _fetch(str(address), SETTINGS)


def fetch(address: Path) -> Snapshot:
    """The config, the tokenizer and the weights of a repository, no code. What the cache has is not sent again.

    Raises:
        UserError: there is no such repository or revision, the Hub does not answer and the cache does not have the
            files, or access was not granted.
    """
    for weights in _WEIGHTS:
        snapshot = _fetch(str(address), (*SETTINGS, *weights))
        if any(any(snapshot.directory.glob(name)) for name in weights):
            return snapshot
    raise UserError(f"{address}: no weights on the Hub; expected model.safetensors or pytorch_model.bin, or shards")


def _fetch(address: str, patterns: tuple[str, ...]) -> Snapshot:
    match = _NAME.fullmatch(address)
    if match is None:
        raise UserError(f"{address}: expected OWNER/NAME or OWNER/NAME@REVISION")
    repository, revision = match["repository"], match["revision"]

    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    files = list(patterns)
    if revision and _COMMIT.fullmatch(revision):  # a commit never changes, so that the cache is as good as the Hub
        with suppress(Exception):  # of several libraries; the request below names the reason
            directory = Path(
                snapshot_download(repository, revision=revision, allow_patterns=files, local_files_only=True)
            )
            if _is_complete(directory, patterns):
                return Snapshot(directory, address)
    try:
        directory = Path(snapshot_download(repository, revision=revision, allow_patterns=files))
    except Exception as error:  # network, name and authorization errors of several libraries share no base class
        raise UserError(f"{address}: {_reason(error, constants.ENDPOINT, constants.HF_HUB_OFFLINE)}") from error
    if not (directory / "config.json").is_file():
        raise UserError(f"{address}: no config.json on the Hub; expected a model in transformers' format")
    return Snapshot(directory, f"{repository}@{directory.name}")


def _is_complete(directory: Path, patterns: tuple[str, ...]) -> bool:
    """Whether a cached snapshot has a config and, if they are among `patterns`, the weights, with all shards."""
    if not (directory / "config.json").is_file():
        return False
    weights = [name for name in patterns if name not in SETTINGS]
    shards: set[str] = set()
    for index in (name for name in weights if name.endswith(".index.json")):
        if (directory / index).is_file():
            shards = set(parse_json_object((directory / index).read_bytes(), SETTINGS_BYTES)["weight_map"].values())
    if shards:
        return all((directory / name).is_file() for name in shards)
    return not weights or any((directory / name).is_file() for name in weights)


def _reason(error: Exception, endpoint: str, offline: bool) -> str:
    """What went wrong, and what to do, by the kind of the Hub client's error."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return "access to it was not granted: ask for it on its page, then log in with `hf auth login`"
    if "RevisionNotFoundError" in kinds:
        return f"{endpoint} has no such revision; expected a branch, a tag or a commit after the @"
    if "RepositoryNotFoundError" in kinds:
        return (
            f"no such directory here, and no such repository at {endpoint}, or it is private: correct it, or log in "
            "with `hf auth login`"
        )
    problem = "HF_HUB_OFFLINE is set" if offline else f"{endpoint} does not answer ({type(error).__name__})"
    return (
        f"no such directory here, and not in the Hub's cache, and {problem}. Where there is a network, run `cmbert "
        "import` with this name and --out DIRECTORY, and give that directory here"
    )
