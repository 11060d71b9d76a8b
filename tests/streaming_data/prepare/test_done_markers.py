"""Done markers of finished tasks: plain arrays; a marker of another form runs its task again and runs no code."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from clinical_modernbert.streaming_data.prepare.done_markers import any_done, mark_done, read_result


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


def test_arrays_come_back(tmp_path: Path) -> None:
    assert read_result(tmp_path / "a") is None
    summary = np.frombuffer(json.dumps({}).encode(), np.uint8)
    arrays: dict[str, np.ndarray] = {"digests": np.arange(3, dtype=np.uint64), "summary": summary}
    mark_done(tmp_path / "a", arrays)
    read = read_result(tmp_path / "a")
    assert read is not None
    assert {name: (array.dtype, array.tolist()) for name, array in read.items()} == {
        name: (array.dtype, array.tolist()) for name, array in arrays.items()
    }
    assert any_done(tmp_path)


def _npz_with_a_pickle() -> bytes:
    file = io.BytesIO()
    np.savez(file, digests=np.array([Bomb()], object))
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [pickle.dumps(Bomb()), _npz_with_a_pickle(), b"", b"PK\x03\x04", b"{}"], ids=lambda c: repr(c[:4])
)
def test_other_content_counts_as_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.done").write_bytes(content)
    assert read_result(tmp_path / "a") is None
    assert not (tmp_path / "exploded").exists()
