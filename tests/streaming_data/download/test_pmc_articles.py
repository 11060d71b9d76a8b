"""One article: what is wrong with it is recorded, and what changed meanwhile is read again."""

import hashlib
import json
from pathlib import Path

import pytest
from pmc_mirror import Published

from clinical_modernbert.streaming_data.download import pmc_articles
from clinical_modernbert.streaming_data.download.pmc_articles import COMMERCIAL, Brought, Selection, licence_codes
from clinical_modernbert.streaming_data.download.pmc_bucket import Candidate
from clinical_modernbert.streaming_data.download.web import Content, MissingError


class Scripted:
    """A bucket that gives its objects one after the other."""

    def __init__(self, *objects: dict[str, bytes]) -> None:
        self.objects = list(objects)

    def read(self, key: str, limit: int) -> Content:
        current = self.objects[0]
        if key.endswith(".xml") and len(self.objects) > 1:
            self.objects.pop(0)
        if key not in current:
            raise MissingError(f"{key}: 404")
        return Content(current[key], hashlib.md5(current[key]).hexdigest())

    def keep(self, key: str, path: Path) -> Path:
        raise NotImplementedError

    def inventories(self) -> list[str]:
        return []


def bring(*objects: dict[str, bytes]) -> Brought:
    return pmc_articles.bring(Scripted(*objects), Selection(), Candidate(5, 1, "0" * 32))


def objects(article: Published = Published(5), **metadata: object) -> dict[str, bytes]:  # noqa: B008
    content = json.dumps({**article.metadata, **metadata}).encode()
    return {f"metadata/{article.name}.json": content, f"{article.name}/{article.name}.xml": article.xml}


def test_an_article_that_is_replaced_while_it_is_read_is_read_again() -> None:
    old = {**objects(), "PMC5.1/PMC5.1.xml": b"<article>the new one</article>"}
    new_md5 = hashlib.md5(old["PMC5.1/PMC5.1.xml"]).hexdigest()
    new = {
        **old,
        "metadata/PMC5.1.json": objects(xml_url=f"s3://b/PMC5.1/PMC5.1.xml?md5={new_md5}")["metadata/PMC5.1.json"],
    }
    article = bring(old, new).article
    assert (article.md5, article.left_out) == (new_md5, None)


def test_an_xml_without_a_stated_md5_is_compared_with_its_etag() -> None:
    article = bring(objects(xml_url="s3://b/PMC5.1/PMC5.1.xml")).article
    assert (article.md5, article.left_out) == (hashlib.md5(Published(5).xml).hexdigest(), None)


@pytest.mark.parametrize(
    ("content", "problem", "failed"),
    [
        ({}, "in the inventory, but not there", False),
        (objects(pmcid="PMC6"), "its metadata are those of PMC6.1", True),
        (objects(version=2), "its metadata are those of PMC5.2", True),
        (objects(is_retracted=None), "its metadata are not as expected (is_retracted: ", True),
        (objects(license_code=7), "its metadata are not as expected (license_code: ", True),
        ({"metadata/PMC5.1.json": b"<!doctype html>"}, "its metadata are not as expected (an HTML page)", True),
        (objects(xml_url="s3://b/PMC5.1/other.xml"), "PMC5.1/other.xml: 404", True),
    ],
)
def test_what_is_wrong_with_an_article_is_recorded(content: dict[str, bytes], problem: str, failed: bool) -> None:
    article, member, _ = bring(content)
    assert member is None
    assert problem in str(article.left_out)
    assert article.failed == failed


@pytest.mark.parametrize(
    ("written", "code"),
    [("cc by", "CC BY"), ("CC-BY-NC-nd", "CC BY-NC-ND"), ("cc0", "CC0"), ("tdm", "TDM"), ("ANY", "any"), ("x", "x")],
)
def test_licences_may_be_written_as_usual(written: str, code: str) -> None:
    assert licence_codes([written, "CC0"]) == tuple(sorted({code, "CC0"}))
    assert licence_codes(list(COMMERCIAL)) == COMMERCIAL


def test_an_unknown_licence_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert licence_codes(["CC BY-NX"]) == ("CC BY-NX",)
    (message,) = caplog.messages
    assert "--licence CC BY-NX: not a code that was known on 2026" in message
    assert "did you mean CC BY" in message
