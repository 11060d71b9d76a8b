"""Where weights came from: the record of `cmbert import` in its directory, and that of runs in their checkpoints."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..configs.errors import UserError
from ..configs.json_text import parse_json
from ..configs.limits import SETTINGS_BYTES, read_file

IMPORT_RECORD = "import.json"


class WeightsOrigin(BaseModel):
    """Where the weights come from that a run started with.

    Attributes:
        address: a directory or file, or OWNER/NAME@COMMIT on the Hub.
        kind: `hugging face`, `hub`, `composer` or `checkpoint`.
        new_parameters: those that were initialized, since the source has no head for masked tokens.
        new_from_seed: the seed of these.
        imported: whether `cmbert import` converted them from there.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    kind: str
    new_parameters: tuple[str, ...] = ()
    new_from_seed: int | None = None
    imported: bool = False


class ImportRecord(WeightsOrigin):
    """The content of `import.json`.

    Attributes:
        notes: keys of config.json that were ignored.
        warnings: keys with which transformers computes something else.
        proven: comparisons with transformers that were made.
        not_proven: those that could not be made, with the reason.
    """

    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()
    not_proven: tuple[str, ...] = ()


def read_import_record(directory: Path) -> ImportRecord | None:
    """What `cmbert import` recorded in a directory; None if it did not write it.

    Raises:
        UserError: the record cannot be read.
    """
    path = directory / IMPORT_RECORD
    if not path.is_file():
        return None
    try:
        return ImportRecord.model_validate(parse_json(read_file(path, SETTINGS_BYTES)))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not as `cmbert import` wrote it; import the model again") from error
