"""The configuration that every source shares; each reader's module adds what its format needs."""

from pydantic import BaseModel, ConfigDict, Field

from ..documents.clean import CleaningStep


class Source(BaseModel):
    """What every source has, whatever its format.

    Attributes:
        name: the directory of its shards in the data set, and its name in mixing weights.
        paths: files or patterns (`baseline/*.xml.gz`), read in this order; a pattern's matches are sorted by name.
            `package:NAME/FILE` is a file that an installed Python package carries.
        licence: the terms under which the text may be used, copied into the manifest.
        public: whether the text may be shown. Of other sources nothing is ever printed unless asked for.
        synthetic: whether the text was made up by a program.
        clean: what is done to each text before anything else looks at it, see `clean.py`.
        sample: the share of documents to take, chosen by hash of their ids.
        split_by: the document's fact that decides its side of the held-out split, so that all the text of one
            patient, article or code category is on one side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    paths: list[str] = Field(min_length=1)
    licence: str
    public: bool = False
    synthetic: bool = False
    clean: list[CleaningStep] = ["encoding", "control_characters"]
    sample: float = Field(default=1.0, gt=0, le=1)
    split_by: str


def check_template(template: str, *fields: str) -> None:
    try:
        template.format(**dict.fromkeys(fields, ""))
    except (KeyError, IndexError, ValueError) as error:
        names = ", ".join(f"{{{field}}}" for field in fields)
        raise ValueError(f"template {template!r} may hold {names} only") from error
