"""Of the ranks on a node one hashes a cached shard; a receipt that could be anybody's is not believed."""

import os
from pathlib import Path

import pytest

from clinical_modernbert.streaming_data.shards.receipts import confirm, is_confirmed


@pytest.fixture(autouse=True)
def rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "MASTER_PORT": "29500", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard.00000.mds"
    path.write_bytes(b"content")
    assert not is_confirmed(path, "hash")
    confirm(path, "hash")
    assert is_confirmed(path, "hash")
    return path


def test_the_receipt_counts_for_this_file_hash_and_attempt(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_confirmed(shard, "another")
    for name, value in (
        ("MASTER_PORT", "29501"),
        ("SLURM_JOB_ID", "8"),
        ("SLURM_RESTART_COUNT", "1"),
        ("WORLD_SIZE", "1"),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert not is_confirmed(shard, "hash"), name
    status = shard.stat()
    os.utime(shard, ns=(status.st_atime_ns + 10**9, status.st_mtime_ns))
    assert is_confirmed(shard, "hash")  # it was read
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert not is_confirmed(shard, "hash")
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert is_confirmed(shard, "hash")
    shard.with_suffix(".new").write_bytes(b"content")
    shard.with_suffix(".new").replace(shard)
    assert not is_confirmed(shard, "hash")
    shard.unlink()
    assert not is_confirmed(shard, "hash")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_receipt_that_others_can_write_does_not_count(shard: Path, mode: int) -> None:
    shard.with_suffix(".intact").chmod(mode)
    assert not is_confirmed(shard, "hash")


@pytest.mark.parametrize("mode", [0o722, 0o770, 0o777, 0o1777])
def test_a_shard_that_others_could_have_put_there_does_not_count(shard: Path, mode: int) -> None:
    shard.parent.chmod(mode)
    assert not is_confirmed(shard, "hash")
    shard.parent.chmod(0o700)
    assert is_confirmed(shard, "hash")
    shard.chmod(0o620)
    assert not is_confirmed(shard, "hash")
    shard.chmod(0o600)
    elsewhere = shard.with_name("elsewhere.mds")
    shard.rename(elsewhere)
    shard.symlink_to(elsewhere)
    confirm(shard, "hash")
    assert not is_confirmed(shard, "hash")


def test_other_content_a_link_and_a_pipe_do_not_count(shard: Path) -> None:
    receipt = shard.with_suffix(".intact")
    content = receipt.read_bytes()
    for other in (b"", b"{}", b"[1]", b"\xff", content[:-1], content.replace(b'"hash"', b'"Hash"')):
        receipt.write_bytes(other)
        assert not is_confirmed(shard, "hash")
    receipt.rename(receipt.with_name("elsewhere"))
    receipt.with_name("elsewhere").write_bytes(content)
    receipt.symlink_to("elsewhere")
    assert not is_confirmed(shard, "hash")
    receipt.unlink()
    os.mkfifo(receipt, 0o600)
    assert not is_confirmed(shard, "hash")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_receipt_of_another_user_does_not_count(shard: Path) -> None:
    for path in (shard.with_suffix(".intact"), shard, shard.parent):
        os.chown(path, 4321, 4321)
        assert not is_confirmed(shard, "hash"), path
        os.chown(path, os.geteuid(), os.getegid())
        assert is_confirmed(shard, "hash")
