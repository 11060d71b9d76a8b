"""What disks keep of stored checkpoints. `test_unshared_disks.py` tries it with real nodes."""

from pathlib import Path

from clinical_modernbert.training.checkpoint.kept import KEPT, prune_kept


def test_the_newest_up_to_the_saved_one_are_kept(tmp_path: Path) -> None:
    """A later one is of an attempt that was given up. Nothing is kept when the ranks share a disk again."""
    attempts = ["20260101T000000-abcdef", "20260102T000000-abcdef"]
    names = [f"step000000{step}.{attempt}" for step in (12, 14, 16, 18) for attempt in attempts]
    for name in [*names, "step00000016.foreign"]:
        (tmp_path / KEPT / name).mkdir(parents=True)
        (tmp_path / KEPT / name / "file").touch()
    prune_kept(tmp_path, 3, newest_step=16)
    assert sorted(path.name for path in (tmp_path / KEPT).iterdir()) == [names[3], *names[4:6]]
    prune_kept(tmp_path, 0, newest_step=16)
    assert not [*(tmp_path / KEPT).iterdir()]
    prune_kept(tmp_path / "without", 1, newest_step=16)
