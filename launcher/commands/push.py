"""`cmbert push`: upload an exported model to the Hugging Face Hub, unless its sources must not be published."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all
from ...configs.progress import Progress
from ...configs.reporting import suggest
from ..interface.next_steps import evaluation_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_FILES = ("config.json", "model.safetensors", "README.md", "training.json")
_NOT_PUSHED = {".git", ".cache"}
"""Folders that git and the Hub's client leave in a directory."""


def push(
    model: Annotated[Path, typer.Argument(help="A directory that `cmbert export` wrote.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub; created if it does not exist.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    allow_restricted: Annotated[
        bool, typer.Option("--allow-closed", help="Publish a model of restricted sources, if their licenses allow it.")
    ] = False,
) -> None:
    """Upload a model with its model card to the Hugging Face Hub.

    Example: cmbert push models/mine someone/clinical-modernbert --private

    Uses the token of `hf auth login` or HF_TOKEN. A model trained on sources that are not public is only uploaded to a
    private repository, unless --allow-closed is given. After an interruption, run the same command again: files that
    are already on the Hub are not sent again.
    """
    typer.echo(f"pushed to {push_model(model, repository, private, allow_restricted)}")
    suggest(evaluation_of(repository))


def push_model(model: Path, repository: str, private: bool, allow_restricted: bool) -> str:
    """Upload the directory of an exported model in one commit, and return its address.

    Raises:
        UserError: `model` is not an export, its sources are restricted and the repository is public, or the Hub
            rejects the upload.
    """
    checks: list[Check] = [
        lambda: _check_export(model, private or allow_restricted),
        lambda: _check_name(repository),
        _check_token,
    ]
    check_all(checks)
    restricted = _restricted_sources(model)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # The base error of the HTTP library that the installed Hub client uses: httpx's, or OSError for that of requests.
    connection_errors: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)
    hub = HfApi()
    try:
        hub.create_repo(repository, private=private or None, exist_ok=True)
        if restricted and not allow_restricted and not hub.repo_info(repository).private:
            raise UserError(
                f"{repository} exists and is public, but {model} was trained on restricted sources "
                f"({', '.join(restricted)}): make it private first, or push to another repository"
            )
        _upload(hub, repository, model)
    except HfHubHTTPError as error:
        raise UserError(f"{repository}: {_reason(error)}") from error
    except connection_errors as error:
        raise UserError(
            f"{repository}: the Hub did not answer ({type(error).__name__}); run the same command to continue"
        ) from error
    return f"{hub.endpoint}/{repository}"


def _upload(hub: "HfApi", repository: str, model: Path) -> None:
    """Upload all files, the large ones one by one, and then commit them together."""
    from huggingface_hub import CommitOperationAdd

    names = sorted(path.relative_to(model) for path in model.rglob("*") if path.is_file())
    added = [CommitOperationAdd(str(name), model / name) for name in names if _NOT_PUSHED.isdisjoint(name.parts)]
    with Progress("uploading", sum(file.upload_info.size for file in added), "B") as progress:
        for file in added:
            hub.preupload_lfs_files(repository, [file])
            progress.advance(file.upload_info.size)
    hub.create_commit(repository, added, commit_message="Model by cmbert export")


def _check_export(model: Path, allowed: bool) -> None:
    if missing := [name for name in _FILES if not (model / name).is_file()]:
        raise UserError(f"{model}: no {', '.join(missing)}; expected a directory that cmbert export wrote")
    restricted = _restricted_sources(model)
    if restricted and not allowed:
        raise UserError(
            f"{model}: trained on restricted sources ({', '.join(restricted)}): push it with --private, or with "
            "--allow-closed if their licenses let you publish it"
        )


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        valid = repository.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(f"{repository}: expected OWNER/NAME, such as someone/clinical-modernbert")


def _check_token() -> None:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it")
    if get_token() is None:
        raise UserError("no token for the Hub: log in with `hf auth login`, or set HF_TOKEN, with one that may write")


def _restricted_sources(model: Path) -> list[str]:
    from ...configs.json_text import parse_json
    from ...streaming_data.shards.restricted import every_source, restricted_sources
    from ...training.export.inputs import TRAINING

    path = model / TRAINING
    try:
        content = parse_json(path.read_bytes())
        return sorted(restricted_sources(every_source(content["sources"], content.get("initial_sources", {}))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read: expected a directory that cmbert export wrote") from error


def _reason(error: Exception) -> str:
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code in (401, 403):
        return f"the Hub refused ({code}): log in with `hf auth login`, with a token that may write there"
    return f"the Hub answered {code}; run the same command to upload the rest"
