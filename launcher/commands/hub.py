"""A model's way to the Hugging Face Hub, and what must not go there in public."""

import json
from pathlib import Path

from ...configs.errors import UserError
from ...streaming_data.shards.restricted import restricted_sources
from ...training.export.export import TRAINING


def push_model(model: Path, repository: str, private: bool, allow_closed: bool) -> str:
    """Upload what `cmbert export` wrote, in one commit, and return its address.

    Raises:
        UserError: `model` is no export, its sources are closed and others would see it, or the Hub refuses.
    """
    restricted = _restricted(model)
    if restricted and not (private or allow_closed):
        raise UserError(
            f"{model}: trained on closed sources ({', '.join(restricted)}): push it with --private, or with "
            "--allow-closed if their licences let you publish it"
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Of whichever HTTP library this version of the Hub's client uses, and OSError.
    unreachable: tuple[type[Exception], ...] = HfHubHTTPError.__bases__
    hub = HfApi()
    try:
        hub.create_repo(repository, private=private or None, exist_ok=True)
        if restricted and not allow_closed and not hub.repo_info(repository).private:
            raise UserError(
                f"{repository} is there already and public, and {model} was trained on closed sources "
                f"({', '.join(restricted)}): make it private first, or push elsewhere"
            )
        hub.upload_folder(repo_id=repository, folder_path=model, commit_message="Model by cmbert export")
    except HFValidationError as error:
        raise UserError(f"{repository}: expected OWNER/NAME, such as someone/clinical-modernbert") from error
    except HfHubHTTPError as error:
        raise UserError(f"{repository}: {_reason(error)}") from error
    except unreachable as error:
        raise UserError(
            f"{repository}: the Hub did not answer ({type(error).__name__}); the same command goes on"
        ) from error
    return f"{hub.endpoint}/{repository}"


def _restricted(model: Path) -> list[str]:
    path = model / TRAINING
    try:
        return sorted(restricted_sources(json.loads(path.read_text(encoding="utf-8"))["sources"]))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read: expected a directory that cmbert export wrote") from error


def _reason(error: Exception) -> str:
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code in (401, 403):
        return f"the Hub refused ({code}): log in with `hf auth login`, with a token that may write there"
    return f"the Hub answered {code}; the same command goes on with what is missing"
