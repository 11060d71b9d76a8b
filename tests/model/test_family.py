"""The published family: every config.json is imported with parity, as the table in docs/import.md says."""

import pytest
from family_table import PAGE, TABLE, published, table


@pytest.mark.slow
def test_the_page_has_the_table_of_the_family() -> None:
    """Each row is an import of that config, shrunk, with transformers' outputs compared; see `family_table.py`."""
    written = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert written is not None
    now = table()
    assert now.count("\n| ") == len(published()) >= 32
    assert "refused" not in now
    assert written[0] == now, "run `python tests/support/family_table.py --write`"
