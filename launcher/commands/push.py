"""`cmbert push`: upload an exported model to the Hugging Face Hub, unless its sources must not be published."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all
from ...configs.progress import Progress
from ...configs.reporting import suggest
from ..interface.next_steps import evaluation_of
from ..release.gate import WITHOUT, require_report, require_weights

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from ...evaluation.privacy.report import PrivacyReport

logger = logging.getLogger(__name__)
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
    without_privacy_report: Annotated[
        bool, typer.Option(WITHOUT, help="Push a model of restricted text whose privacy was not tested.")
    ] = False,
) -> None:
    """Upload a model with its model card to the Hugging Face Hub.

    Example: cmbert push models/mine someone/clinical-modernbert --private

    Uses the token of `hf auth login` or HF_TOKEN. A model trained on sources that are not public is only uploaded to a
    private repository, unless --allow-closed is given, and only with a privacy report of its weights. After an
    interruption, run the same command again: files that are already on the Hub are not sent again.
    """
    typer.echo(f"pushed to {push_model(model, repository, private, allow_restricted, without_privacy_report)}")
    suggest(evaluation_of(repository))


def push_model(
    model: Path, repository: str, private: bool, allow_restricted: bool, without_privacy_report: bool = False
) -> str:
    """Upload the directory of an exported model in one commit, and return its address.

    Args:
        without_privacy_report: whether a model of restricted sources needs no report of its weights.
    Raises:
        UserError: `model` is not an export, its sources are restricted and the repository is public, or the Hub
            rejects the upload.
    """
    checks: list[Check] = [
        lambda: _check_export(model, private or allow_restricted),
        lambda: _read_report(model, without_privacy_report),
        lambda: _check_name(repository),
        _check_token,
    ]
    check_all(checks)
    restricted = _restricted_sources(model)
    if report := _read_report(model, without_privacy_report):
        from ...model.hugging_face import from_pretrained

        require_weights(report, from_pretrained(model), f"export it again, or push it with {WITHOUT}")
    for source, words in _terms(model).items():
        logger.warning(f"{source}: {words}")
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


def _read_report(model: Path, without: bool) -> "PrivacyReport | None":
    return require_report(model, _training(model), _restricted_sources(model), without)


def _restricted_sources(model: Path) -> list[str]:
    return sorted(_terms(model))


def _terms(model: Path) -> dict[str, str]:
    """The terms of each restricted source."""
    from ...streaming_data.shards.restricted import every_source
    from ...training.export.privacy import terms_of

    content = _training(model)
    try:
        return terms_of(every_source(content["sources"], content.get("initial_sources", {})))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(model) from error


def _training(model: Path) -> dict[str, Any]:
    """The content of training.json."""
    from ...configs.json_text import parse_json
    from ...training.export.inputs import TRAINING

    try:
        content = parse_json((model / TRAINING).read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(model) from error
    if not isinstance(content, dict):
        raise _unreadable(model)
    return content


def _unreadable(model: Path) -> UserError:
    from ...training.export.inputs import TRAINING

    return UserError(f"{model / TRAINING}: cannot be read: expected a directory that cmbert export wrote")


def _reason(error: Exception) -> str:
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code in (401, 403):
        return f"the Hub refused ({code}): log in with `hf auth login`, with a token that may write there"
    return f"the Hub answered {code}; run the same command to upload the rest"
