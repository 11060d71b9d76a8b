"""Packages: there is none that is half written, and any program reads them."""

import gzip
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clinical_modernbert.streaming_data.download.pmc_package import (
    Article,
    pack,
    package_path,
    read_index,
    read_members,
    write_package,
)

ARTICLES = [
    Article(name="PMC5.1", etag="0" * 32, license_code="CC BY", md5="9dd4e461268c8034f5c8564e155c67a6"),
    Article(name="PMC6.1", etag="1" * 32, left_out="retracted"),
]
XML = b"x"


def write(path: Path, selection: str = "all") -> None:
    write_package(path, selection, ARTICLES, [pack("PMC5.1.xml", XML)])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = package_path(tmp_path, 5_000)
    assert path == tmp_path / "PMC0000005xxx.tar.gz"
    assert read_index(path, "all") == {}
    write(path)
    index = read_index(path, "all")
    assert list(index.values()) == ARTICLES
    assert read_members(path, index) == {"PMC5.1": XML}
    assert read_index(path, "another selection") == {}


def test_other_programs_read_a_package(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    write(path)
    assert len(gzip.decompress(path.read_bytes())) % tarfile.BLOCKSIZE == 0
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["index.json", "PMC5.1.xml"]
    listed = subprocess.run(["tar", "tzf", path], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["index.json", "PMC5.1.xml"]
    assert not listed.stderr


def test_a_package_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"

    def members(fails: bool) -> Iterator[bytes]:
        seen.append(path.read_bytes() if path.exists() else b"")
        yield pack("PMC5.1.xml", XML)
        if fails:
            raise OSError("the disk is full")

    seen: list[bytes] = []
    with pytest.raises(OSError, match="full"):
        write_package(path, "all", ARTICLES, members(fails=True))
    assert not list(tmp_path.iterdir())
    write(path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="full"):
        write_package(path, "other", ARTICLES, members(fails=True))
    write_package(path, "other", ARTICLES, members(fails=False))
    assert seen == [b"", before, before]
    assert path.read_bytes() != before
