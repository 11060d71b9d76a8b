"""The manifest of a data set: its sources with their origin, licences and counts, its tokenizer and its recipe.

`cmbert data prepare` writes it as manifest.json, and everything that opens a data set reads it first. The models below
are its format: their fields are the JSON's keys, in order. Keys of later versions are ignored. Only what reading packs
relies on is required; the rest has defaults, for manifests that earlier versions wrote without it.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError, model_validator

from ...configs.json_text import first_problem, parse_json
from ...configs.names import FileName
from ...storage.remote import CorruptDataError, read
from .pack import MAX_VOCAB_SIZE, token_bytes

NAME = "manifest.json"
VERSION = 1
SPLITS = ("train", "held_out")
_LONGEST_MEAN_WORD = 32
"""Tokens: English has 1.2 to 1.5 in any vocabulary; a sentence of Chinese without spaces has some tens."""
NonNegativeInt = Annotated[int, Field(ge=0, lt=1 << 63)]
PositiveInt = Annotated[int, Field(gt=0, lt=1 << 63)]
TokenId = Annotated[int, Field(ge=0, lt=MAX_VOCAB_SIZE)]
SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=255)]
"""The name of a source, which is that of its directory: the form that `corpora/source.py` accepts."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)


class SpecialIds(_Section):
    """The id of each special token, by its role."""

    unk: TokenId | None = None
    cls: TokenId
    sep: TokenId
    pad: TokenId
    mask: TokenId


class TokenizerInfo(_Section):
    """What training needs to know of the tokenizer in `tokenizer/`.

    Attributes:
        sha256: of tokenizer.json.
        vocab_size: the largest id plus one.
        unmaskable_ids: ids that do not stand for text: special and unused tokens, and ids without a token.
    """

    sha256: str = ""
    vocab_size: Annotated[int, Field(gt=0, le=MAX_VOCAB_SIZE)]
    special_ids: SpecialIds
    unmaskable_ids: list[TokenId]

    @model_validator(mode="after")
    def _check_ids(self) -> "TokenizerInfo":
        special = [number for number in dict(self.special_ids).values() if number is not None]
        if (largest := max([*special, *self.unmaskable_ids])) >= self.vocab_size:
            raise ValueError(f"token id {largest} is not below vocab_size ({self.vocab_size})")
        return self


class FileInfo(_Section):
    """A file that was read."""

    name: str
    bytes: NonNegativeInt
    sha256: str


class InputList(_Section):
    """A table of input files in the directory of their source, with their number and their bytes in all.

    Attributes:
        sha256: of the table.
    """

    name: FileName
    files: NonNegativeInt
    bytes: NonNegativeInt
    sha256: str


class AuditCounts(_Section):
    """Counts of what may identify a patient, see `phi.patterns.Audit`.

    Attributes:
        documents: that were searched.
        flagged: documents with any finding.
        kinds: findings by kind.
    """

    documents: NonNegativeInt
    flagged: NonNegativeInt
    kinds: dict[str, NonNegativeInt]


class WordCounts(_Section):
    """What a word is to the tokenizer, by the documents of a source, duplicates included.

    Attributes:
        tokens: without [CLS] and [SEP].
        words: the number of tokens that begin a word.
    """

    characters: NonNegativeInt
    tokens: NonNegativeInt
    words: NonNegativeInt

    @property
    def are_words(self) -> bool:
        """Whether words are short enough to be masked as one."""
        return self.tokens <= _LONGEST_MEAN_WORD * self.words


class SplitCounts(_Section):
    """The size of one split of one source.

    Attributes:
        segments: parts of documents of at most `seq_length` tokens; the key is `pieces`.
        tokens: padding not counted.
        fullness: tokens divided by the capacity of the packs.
    """

    documents: NonNegativeInt = 0
    segments: NonNegativeInt = Field(0, validation_alias="pieces", serialization_alias="pieces")
    tokens: NonNegativeInt
    packs: NonNegativeInt
    fullness: float = 0.0


class LeftOut(_Section):
    """What a reader found in the files and put into no text.

    Attributes:
        elements: of one kind, such as lists of references.
        characters: in them, white space not counted.
    """

    elements: NonNegativeInt
    characters: NonNegativeInt


class Deidentified(_Section):
    """What was replaced because it may identify a patient. What the search finds afterwards is in the audit.

    Attributes:
        replaced_by: `placeholder` or `surrogate`.
        kinds: findings that were replaced, by kind.
    """

    replaced_by: str
    kinds: dict[str, NonNegativeInt]


class SourceInfo(_Section):
    """One source.

    Attributes:
        public: whether the text may be read by anyone; None in old manifests that do not state it.
        synthetic: whether the text was generated, so that it concerns no patient.
        inputs: the files of the corpus, if they are not in `input_list`.
        input_list: the table that lists the files if they are more than 10,000; else the key is absent.
        duplicates: documents dropped because an earlier one has the same text.
        near_duplicates: documents dropped because an earlier one has nearly the same text.
        empty: documents dropped because they have no text.
        audit: None for public text, which is not searched for identifiers unless it is de-identified. Of text with
            surrogates, what was found in addition to them.
        cleaned: for each cleaning step, the number of documents that it changed.
        crosswalks: files that were read in addition to `inputs`; the key is absent if there are none.
        words: None in old manifests.
        deidentified: the key is absent if the recipe does not choose it.
        left_out: by kind, the largest first; the key is absent if nothing was left out, or not counted.
    """

    format: str = ""
    licence: str | None = None
    public: bool | None = None
    synthetic: bool | None = None
    inputs: list[FileInfo] = []
    input_list: InputList | None = Field(default=None, exclude_if=lambda files: files is None)
    duplicates: NonNegativeInt = 0
    near_duplicates: NonNegativeInt = 0
    empty: NonNegativeInt = 0
    audit: AuditCounts | None = None
    splits: dict[FileName, SplitCounts]
    cleaned: dict[str, NonNegativeInt] = {}
    crosswalks: list[FileInfo] = Field(default=[], exclude_if=lambda files: not files)
    words: WordCounts | None = Field(default=None, exclude_if=lambda words: words is None)
    deidentified: Deidentified | None = Field(default=None, exclude_if=lambda result: result is None)
    left_out: dict[str, LeftOut] = Field(default={}, exclude_if=lambda kinds: not kinds)


class DataManifest(_Section):
    """The manifest of a data set.

    Attributes:
        seq_length: capacity of a pack, in tokens.
        token_bytes: in which packs store a token; the key is absent if it is 2, as in all earlier manifests.
        sources: by name, in the order of the recipe.
        config: the recipe, as JSON. It is not parsed: its keys are those of the version that wrote it.
        packages: versions of the packages that decide what is written.
        signatures: by which scheme near duplicates were found, see `prepare/minhash.py`; the key is absent if they were
            not searched, and in manifests of versions that knew only one.
    """

    version: Literal[1]
    seq_length: PositiveInt
    token_bytes: Literal[2, 4] = Field(default=2, exclude_if=lambda width: width == 2)
    tokenizer: TokenizerInfo
    sources: dict[SourceName, SourceInfo]
    config: dict[str, Any] = {}
    packages: dict[str, str] = {}
    signatures: PositiveInt | None = Field(default=None, exclude_if=lambda scheme: scheme is None)
    _content: dict[str, Any] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_width(self) -> "DataManifest":
        if self.token_bytes < (needed := token_bytes(self.tokenizer.vocab_size)):
            raise ValueError(f"token_bytes is {self.token_bytes}; {self.tokenizer.vocab_size} tokens need {needed}")
        return self

    @classmethod
    def parse(cls, content: bytes) -> "DataManifest":
        """The manifest in a file's content.

        Raises:
            CorruptDataError: it is not JSON, or a field is missing or has a wrong value; the message names the field.
        """
        try:
            # Parsed by Python too: the hash of a manifest is that of what Python reads.
            parsed = parse_json(content)
            manifest = cls.model_validate_json(content)
        except ValidationError as error:
            raise CorruptDataError(f"not a manifest of version {VERSION}: {first_problem(error)}") from error
        except ValueError as error:
            raise CorruptDataError(f"not a manifest of version {VERSION}: not JSON ({error})") from error
        manifest._content = parsed
        return manifest

    def content(self) -> dict[str, Any]:
        """The manifest as JSON: the file's own content, unknown keys included, if it was read from one."""
        return self.model_dump(mode="json", by_alias=True) if self._content is None else self._content

    def to_json(self) -> str:
        """The content of manifest.json."""
        return json.dumps(self.content(), indent=2) + "\n"


def read_manifest(address: str) -> DataManifest:
    """The manifest of the data set at `address`, a directory or the URL of one in an object store.

    Raises:
        UserError: there is none, or it is corrupt.
    """
    return read(f"{address}/{NAME}", DataManifest.parse)


def manifest_hash(manifest: DataManifest) -> str:
    """A short hash of the file's content, stored in checkpoints: which data a model was trained on."""
    return hashlib.sha256(json.dumps(manifest.content(), sort_keys=True).encode()).hexdigest()[:16]
