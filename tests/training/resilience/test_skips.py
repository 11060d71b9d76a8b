"""Packs that are left out shift the order."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.resilience.skips import Skip, load_skips, order_offset


def test_skipped_packs_shift_the_order() -> None:
    skips = [Skip(after=8, packs=4), Skip(after=8, packs=8), Skip(after=12, packs=4)]
    assert [order_offset(skips, packs) for packs in (0, 4, 8, 12, 16)] == [0, 4, 20, 28, 32]


@pytest.mark.parametrize("content", ["{", "null", "{}", '[{"after": 8}]', '[{"after": -1, "packs": 2}]', "[" * 200_000])
def test_a_file_that_was_changed_is_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "skips.json").write_text(content)
    with pytest.raises(UserError, match=r"skips\.json: .*restore the file, or remove it"):
        load_skips(tmp_path)
