"""A key file is for its owner alone."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.deidentify.key import read_key


def test_a_key_that_others_may_read_or_that_is_too_short_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    with pytest.raises(UserError, match=r"cannot be read .*head -c 32"):
        read_key(key)
    key.write_bytes(bytes(range(32)))
    for mode in (0o644, 0o640, 0o604, 0o660):
        key.chmod(mode)
        with pytest.raises(UserError, match=rf"mode {mode:04o}.*chmod 600 {key}"):
            read_key(key)
    key.chmod(0o600)
    assert read_key(key) == bytes(range(32))
    short = tmp_path / "short"
    short.write_bytes(b"secret")
    short.chmod(0o600)
    with pytest.raises(UserError, match="6 bytes; a key has 32 to 4,096") as refused:
        read_key(short)
    assert "secret" not in str(refused.value)
    with pytest.raises(UserError, match="not a file"):
        read_key(tmp_path)
