"""What docs/planning.md shows is what `cmbert plan` prints."""

import re
import runpy
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_page_is_up_to_date(repository: Path) -> None:
    page = (repository / "docs/planning.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(repository / "docs/site/planning.py"))
    assert re.findall(r"<!-- plan (\w+): begin -->", page) == [*script["BLOCKS"]]
    for expected, shown in zip(script["render"](page).splitlines(), page.splitlines(), strict=True):
        assert shown == expected, "run: make plan-tables"
