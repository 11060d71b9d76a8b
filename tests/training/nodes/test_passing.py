"""Files that real ranks pass to each other, each in a directory of its own."""

import os
from pathlib import Path

from exchanging_ranks import pass_between

from clinical_modernbert.training.nodes.passing import arrival


def test_files_arrive_in_pieces_and_a_failure_keeps_no_other_waiting(tmp_path: Path) -> None:
    """Every rank sends to the next, and one of them to all; a file is empty, one absent, and one cannot be written."""
    ranks = 4
    sizes = {"a": 0, "b": 999, "c": 1000, "d": 123_456}
    content = {name: os.urandom(size) for name, size in sizes.items()}
    for rank, name in enumerate(content):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / name).write_bytes(content[name])
    around = [(name, sizes[name], rank, (rank + 1) % ranks) for rank, name in enumerate(content)]
    (tmp_path / "3" / "cannot").write_bytes(b"x" * 1500)
    arrival(tmp_path / "2" / "cannot").mkdir()
    pass_between(
        ranks,
        tmp_path,
        [*around, ("absent", 2500, 1, 2), ("cannot", 1500, 3, 2), *[("d", sizes["d"], 3, to) for to in (1, 2)]],
    )
    for target, names in {0: "d", 1: "ad", 2: "bd", 3: "c"}.items():
        for name in names:
            assert arrival(tmp_path / str(target) / name).read_bytes() == content[name]
    assert arrival(tmp_path / "2" / "absent").read_bytes() == bytes(2500)  # for the target to refuse
    assert not arrival(tmp_path / "2" / "cannot").is_file()
