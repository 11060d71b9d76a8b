"""What `fine_tuning.json` says of a fine-tuned model; nothing here imports torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ..configs.errors import UserError
from ..configs.json_text import read_json
from .fine_tuning.head_config import HeadConfig
from .models.protocol import Protocol
from .suite import AnyTask

SETTINGS = "fine_tuning.json"


class Settings(BaseModel):
    """The content of fine_tuning.json."""

    model_config = ConfigDict(frozen=True)

    name: str
    base: str
    task: AnyTask
    protocol: Protocol
    seed: int
    identity: str
    head: HeadConfig
    unpadded: bool
    max_length: int
    scores: dict[str, float]


_SCHEMA = TypeAdapter(Settings)


def read_settings(directory: Path) -> Settings:
    """The content of fine_tuning.json.

    Raises:
        UserError: there is no such file, or it is not as it was written.
    """
    path = directory / SETTINGS
    if not path.is_file():
        raise UserError(f"{directory}: no {SETTINGS}; expected a directory that `cmbert finetune` wrote")
    settings: Settings = read_json(path, _SCHEMA, "fine-tune the model again")
    return settings
