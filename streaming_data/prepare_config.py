"""What `cmbert data prepare` is told: the sources, the tokenizer and the shape of the data set."""

from encodings.aliases import aliases
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..configs.spelling import nearest_name
from .clean import CleaningStep


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


class PubMedSource(Source):
    """PubMed baseline and update files (XML), oldest first: the newest version of a citation wins.

    Attributes:
        require_abstract: leave out the citations that are a title only (about a third of PubMed).
    """

    format: Literal["pubmed"]
    public: bool = True
    clean: list[CleaningStep] = ["encoding", "control_characters", "boilerplate"]
    split_by: str = "pmid"
    require_abstract: bool = False


class PmcSource(Source):
    """PMC open-access full text in JATS XML: article files, or PMC's tar packages of them.

    It splits by PMID, like PubMed, so that an article and its abstract are on one side.
    """

    format: Literal["pmc"]
    public: bool = True
    clean: list[CleaningStep] = ["encoding", "control_characters", "boilerplate"]
    split_by: str = "pmid"


class MimicNotesSource(Source):
    """MIMIC-IV-Note's discharge.csv or radiology.csv, or any CSV file with those columns."""

    format: Literal["mimic_notes"]
    split_by: str = "subject_id"


CodeDetail = Literal["hierarchy", "inclusion_terms", "includes", "excludes"]


class Icd10CmSource(Source):
    """ICD-10-CM: the tabular list (XML), or an order file or code list of CMS (text).

    Attributes:
        template: the first line of each code's text, from {code} and {description}.
        details: lines that follow it where the file has them (only the tabular list does).
        seventh_characters: from the tabular list, also the codes that it describes by their seventh character only
            (initial encounter, left eye), more than half of all; the text files name them one by one.
        crosswalks: files of CMS that lead from ICD-10-CM to ICD-9 (`2018_I10gem.txt`): a line with the codes there.
    """

    format: Literal["icd10cm"]
    public: bool = True
    split_by: str = "category"
    template: str = "ICD 10 code for {code}: {description}"
    details: list[CodeDetail] = ["hierarchy", "inclusion_terms"]
    seventh_characters: bool = True
    crosswalks: list[str] = []

    @model_validator(mode="after")
    def _template_is_complete(self) -> "Icd10CmSource":
        _check_template(self.template, "code", "description")
        return self


CodeSystem = Literal[
    "icd9_diagnoses",
    "icd9_procedures",
    "icd10pcs",
    "hcpcs",
    "mesh",
    "hpo",
    "mimic_diagnoses",
    "mimic_procedures",
    "mimic_hcpcs",
    "mimic_lab_items",
]

_WITH_CROSSWALK = ("icd9_diagnoses", "icd9_procedures", "icd10pcs")


class CodesSource(Source):
    """Other code systems, each from its publisher's file, and MIMIC's dictionaries (`d_*.csv`).

    Attributes:
        template: the first line of each code's text, from {system}, {code} and {description}.
        details: whether lines follow it where the file has more to say (MeSH and HPO do).
        crosswalks: for ICD-9 and ICD-10-PCS, files of CMS that lead from these codes to the other edition's
            (`2018_I9gem.txt`, `gem_i9pcs.txt`, `gem_pcsi9.txt`): a line with the codes there.
    """

    format: Literal["codes"]
    system: CodeSystem
    public: bool = True
    split_by: str = "category"
    template: str = "{system} code for {code}: {description}"
    details: bool = True
    crosswalks: list[str] = []

    @model_validator(mode="after")
    def _template_is_complete(self) -> "CodesSource":
        _check_template(self.template, "system", "code", "description")
        return self

    @model_validator(mode="after")
    def _crosswalk_is_possible(self) -> "CodesSource":
        if self.crosswalks and self.system not in _WITH_CROSSWALK:
            raise ValueError(f"crosswalks: there are none for {self.system}; only for {', '.join(_WITH_CROSSWALK)}")
        return self


def _check_template(template: str, *fields: str) -> None:
    try:
        template.format(**dict.fromkeys(fields, ""))
    except (KeyError, IndexError, ValueError) as error:
        names = ", ".join(f"{{{field}}}" for field in fields)
        raise ValueError(f"template {template!r} may hold {names} only") from error


class TableSource(Source):
    """Your own notes: JSON lines, CSV, TSV or Parquet (by the file's name), one document a record.

    Attributes:
        text: the column of the text.
        id: the column of the document's id; without it the file's name and the record's number are the id.
        split_by: the column of the patient, whose records all go to one side of the held-out split.
        encoding: of the files' text, as Python calls it, such as `cp1252` or `utf-16`; Parquet knows its own.
    """

    format: Literal["table"]
    text: str = "text"
    id: str | None = None
    encoding: str = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, name: str) -> str:
        try:
            TextIOWrapper(BytesIO(), encoding=name)
        except LookupError as error:
            near = nearest_name(name, {*aliases, *aliases.values()})
            hint = f"did you mean {near}?" if near else "expected one such as utf-8, cp1252 or utf-16"
            raise ValueError(f"{name!r} is no encoding of text; {hint}") from error
        return name


AnySource = Annotated[
    PubMedSource | PmcSource | MimicNotesSource | Icd10CmSource | CodesSource | TableSource,
    Field(discriminator="format"),
]


class NearDuplicates(BaseModel):
    """Leaving out documents that are nearly the same as one before them.

    Attributes:
        similarity: the share of five-word runs in common (Jaccard) above which two documents likely count as near.
        sources: the names of the sources that are compared with each other. Codes, whose texts differ in a word that
            matters, should not be among them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    similarity: float = Field(default=0.8, ge=0.3, le=0.95)
    sources: list[str] = Field(min_length=1)


class PrepareConfig(BaseModel):
    """A data set.

    Attributes:
        output: its directory, which must not exist yet: a data set's address is never overwritten.
        tokenizer: a directory with tokenizer.json and tokenizer_config.json.
        sources: in order; of documents with the same text the first is kept.
        seq_length: the size of a pack in tokens, and the longest piece.
        held_out: the share of patients, articles and so on that training never sees.
        seed: of the held-out split.
        near_duplicates: left out, only documents with the same text are dropped.
        window: packs are filled from this many pieces at a time.
        workers: processes that tokenise; all the cores of this machine if left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path
    tokenizer: Path
    sources: list[AnySource] = Field(min_length=1)
    seq_length: int = Field(default=8192, ge=8)
    held_out: float = Field(default=0.005, ge=0, lt=1)
    seed: int = 0
    near_duplicates: NearDuplicates | None = None
    window: int = Field(default=4096, ge=1)
    workers: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _names_fit(self) -> "PrepareConfig":
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are named {', '.join(twice)}; each needs its own name")
        compared = self.near_duplicates.sources if self.near_duplicates else []
        if unknown := [name for name in compared if name not in names]:
            raise ValueError(f"near_duplicates names {', '.join(unknown)}; the sources are {', '.join(names)}")
        return self
