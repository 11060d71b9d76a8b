"""The numbered attempts of a run."""

from pathlib import Path

from clinical_modernbert.training.checkpoint.attempts import Attempt, _register, read_attempts


def test_two_attempts_never_have_the_same_number(tmp_path: Path) -> None:
    numbers = [_register(tmp_path, 0, ["node1"]) for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert [Attempt(tmp_path, number).superseded() for number in numbers] == [True, True, False]
    (tmp_path / "attempts" / "00002.json").write_text('{"started": "2026')
    assert len(read_attempts(tmp_path)) == 2
