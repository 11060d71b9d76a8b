"""One article of PMC: whether it is selected, by its metadata, and its XML, with the MD5 that the metadata give."""

import hashlib
import logging
import re
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from ...configs.limits import XML_BYTES, TooLargeError
from ...configs.spelling import did_you_mean
from .pmc_bucket import MD5, Bucket, Candidate, key_of
from .pmc_package import Article, pack
from .publishers import CHECKED
from .web import MissingError, RefusedError, WrongContentError, is_page

logger = logging.getLogger(__name__)

ANY = "any"
TEXT_MINING = "TDM"
COMMERCIAL = ("CC BY", "CC BY-ND", "CC BY-SA", "CC0")
LICENCES = (*COMMERCIAL, "CC BY-NC", "CC BY-NC-SA", "CC BY-NC-ND", TEXT_MINING)
"""The codes that were known on the date of the addresses; PMC may add others."""
_TRIES = 3
_METADATA_BYTES = 1 << 24


class Selection(BaseModel):
    """Which articles a directory holds.

    Attributes:
        licences: values of `license_code`; `any` for all of the open-access subset.
        retracted: whether retracted articles are included.
        scanned: whether articles are included whose text was recognized from scans.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    licences: tuple[str, ...] = COMMERCIAL
    retracted: bool = False
    scanned: bool = False

    def reason_against(self, metadata: "Metadata") -> str | None:
        """Why an article is left out; None if it is selected."""
        # Author manuscripts may be mined, but are outside the open-access subset.
        mined = metadata.is_manuscript and TEXT_MINING in self.licences
        if metadata.is_retracted and not self.retracted:
            return "retracted"
        if not metadata.is_pmc_openaccess and not mined:
            return "outside the open-access subset"
        if ANY not in self.licences and metadata.license_code not in self.licences:
            return f"licence {metadata.license_code or 'without a code'}"
        if metadata.is_historical_ocr and not self.scanned:
            return "recognized from a scan"
        return None if metadata.xml_url else "without XML"


class Metadata(BaseModel):
    """What PMC says about one version of an article; what decides about its use must be there."""

    pmcid: str
    version: int
    is_pmc_openaccess: bool
    is_retracted: bool
    license_code: str | None
    is_manuscript: bool = False
    is_historical_ocr: bool = False
    xml_url: str | None = None


class Brought(NamedTuple):
    """An article as it came: its record and, if it is selected, its member of the package."""

    article: Article
    member: bytes | None
    size: int = 0


def licence_codes(names: list[str]) -> tuple[str, ...]:
    """The codes as PMC writes them, sorted: `cc-by-nc` is `CC BY-NC`. A code that is not known gives a warning."""
    known = {re.sub(r"[\W_]", "", code).lower(): code for code in (*LICENCES, ANY)}
    codes = {known.get(re.sub(r"[\W_]", "", name).lower(), name) for name in names}
    for code in sorted(codes - set(known.values())):
        logger.warning(
            f"--licence {code}: not a code that was known on {CHECKED}{did_you_mean(code, known.values())} "
            f"(known: {', '.join(known.values())})"
        )
    return tuple(sorted(codes))


def bring(bucket: Bucket, selection: Selection, candidate: Candidate) -> Brought:
    """An article with its metadata, after a few tries. What is wrong with it is in its record, so that others go on."""
    for _ in range(_TRIES - 1):
        brought = _try(bucket, candidate, selection)
        if not brought.article.failed:
            return brought
    return _try(bucket, candidate, selection)


def _try(bucket: Bucket, candidate: Candidate, selection: Selection) -> Brought:
    name, record = candidate.name, partial(Article, name=candidate.name, etag=candidate.etag)
    try:
        metadata, size = _metadata(bucket, name)
        if reason := selection.reason_against(metadata):
            return Brought(record(license_code=metadata.license_code, left_out=reason), None, size)
        data, md5 = _xml(bucket, metadata)
    except WrongContentError as error:  # or it was replaced in the meantime
        return Brought(record(left_out=str(error), failed=True), None)
    except _WithdrawnError:
        return Brought(record(left_out="in the inventory, but not there"), None)
    except RefusedError as error:
        return Brought(record(left_out=str(error).partition(";")[0], failed=True), None)
    except TooLargeError:
        return Brought(record(left_out=f"more than {XML_BYTES:,} bytes"), None)
    return Brought(record(license_code=metadata.license_code, md5=md5), pack(f"{name}.xml", data), size + len(data))


class _WithdrawnError(Exception):
    """The article has no metadata any more."""


def _metadata(bucket: Bucket, name: str) -> tuple[Metadata, int]:
    """The metadata of an article and their size in bytes."""
    content = None
    for key in (f"metadata/{name}.json", f"{name}/{name}.json"):
        try:
            content = bucket.read(key, _METADATA_BYTES)
            break
        except MissingError:
            continue
    if content is None:
        raise _WithdrawnError
    if MD5.fullmatch(content.etag) and _md5(content.data) != content.etag:
        raise WrongContentError(f"its metadata have an MD5 other than their ETag ({content.etag})")
    try:
        metadata = Metadata.model_validate_json(content.data)
    except ValidationError as error:
        first = error.errors()[0]
        seen = "an HTML page" if is_page(content.data) else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise WrongContentError(f"its metadata are not as expected ({seen})") from error
    if f"{metadata.pmcid}.{metadata.version}" != name:
        raise WrongContentError(f"its metadata are those of {metadata.pmcid}.{metadata.version}")
    return metadata, len(content.data)


def _xml(bucket: Bucket, metadata: Metadata) -> tuple[bytes, str]:
    """The XML of an article and its MD5, which its metadata or, if these have none, its ETag confirm."""
    assert metadata.xml_url is not None
    content = bucket.read(key_of(metadata.xml_url), XML_BYTES)
    md5 = _md5(content.data)
    (stated,) = parse_qs(urlsplit(metadata.xml_url).query).get("md5", [""])[:1]
    for expected, source in ((stated.lower(), "metadata give"), (content.etag, "ETag gives")):
        if MD5.fullmatch(expected):
            if md5 != expected:
                raise WrongContentError(f"its XML has another MD5 ({md5}) than its {source} ({expected})")
            break
    if is_page(content.data):
        raise WrongContentError("is an HTML page instead of XML")
    return content.data, md5


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
