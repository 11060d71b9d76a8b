"""Where the files of a task come from, under which licence, and whether they are the ones that were published."""

import gzip
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

if TYPE_CHECKING:
    from .suite import Evaluation

logger = logging.getLogger(__name__)

GitId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class Origin(BaseModel):
    """The section `origin` of a task file. A checksum that is not known is absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(description="address of the files")
    licence: str = Field(description="as the source states it")
    unpack: str | None = Field(None, description="what has to be done with the files")
    files: dict[str, GitId] = Field({}, description="checksum of each file, as `git hash-object FILE` prints it")
    archives: dict[str, Md5] = Field({}, description="MD5 of each archive, as its publisher states it")


def check_published(evaluation: "Evaluation") -> None:
    """Warn of files that differ from the published ones: their scores compare with no published score."""
    if evaluation.origin is None:
        return
    for name in evaluation.task.files():
        published = evaluation.origin.files.get(name.removesuffix(".gz"))
        path = evaluation.data / name
        if published and path.is_file() and git_id(path) != published:
            logger.warning(
                "%s: this file differs from the published one (git hash-object %s, not %s); its scores cannot be "
                "compared with published ones",
                path,
                git_id(path)[:12],
                published[:12],
            )


def git_id(path: Path) -> str:
    """What `git hash-object` prints of a file, of its content if it is gzipped."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
