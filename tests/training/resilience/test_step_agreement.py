"""The exchange before each step: all ranks see the same counts, requests and mistakes."""

import socket
from pathlib import Path

import pytest
from agreeing_ranks import agree_thrice
from warm_start import server

RANKS = 3


@pytest.mark.ranks
def test_all_ranks_agree(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [server().Process(target=agree_thrice, args=(rank, RANKS, port, tmp_path)) for rank in range(RANKS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    lines = [
        "12 (24, 12) True False False ((0, 7), (1, 7), (2, 7))",
        "the ranks are out of step (rank 0: step 5, 2 micro-batches, rank 1: step 5, 2 micro-batches, "
        "rank 2: step 6, 2 micro-batches); the step was not taken",
        "the ranks are out of step (rank 0: step 6, 1 micro-batches, rank 1: step 6, 2 micro-batches, "
        "rank 2: step 6, 3 micro-batches); the step was not taken",
    ]
    for rank in range(RANKS):
        assert (tmp_path / str(rank)).read_text().splitlines() == lines
