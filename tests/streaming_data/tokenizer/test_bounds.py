"""tokenizer.json and its settings, damaged or hostile: refused with a message, whatever the library does."""

import json
import shutil
from pathlib import Path

import pytest

from clinical_modernbert.configs import limits
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers


@pytest.fixture
def copy(tmp_path: Path, small_data: Path) -> Path:
    shutil.copytree(small_data / "tokenizer", tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b'{"a":' * 200_000, b"null", b"[]", b'"x"', b"", b"\xff", b" " * (limits.TOKENIZER_BYTES + 1)],
)
def test_another_kind_of_file_is_refused(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match="not a Hugging Face tokenizer") as refusal:
        tokenizers.load(copy)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("token", [[], {}, {"content": []}, 7, None])
def test_a_role_of_another_type_is_refused(copy: Path, token: object) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(config | {"mask_token": token}))
    with pytest.raises(UserError, match="mask_token is"):
        tokenizers.load(copy)
