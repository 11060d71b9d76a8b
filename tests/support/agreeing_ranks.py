"""A rank that exchanges counts with others, and writes what it learned to a file of its number."""

import os
import traceback
from concurrent.futures import Future
from pathlib import Path

import pytest


def agree_thrice(rank: int, ranks: int, port: int, results: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    import torch
    import torch.distributed as dist

    from clinical_modernbert.streaming_data.loader.batches import MicroBatch
    from clinical_modernbert.streaming_data.loader.order import PackAddress
    from clinical_modernbert.training.resilience import step_agreement

    def batches(count: int) -> "Future[list[MicroBatch]]":
        ids = torch.zeros(8, dtype=torch.int64)
        one = MicroBatch(ids, (8,), ids[: rank + 1], ids[: rank + 1], (PackAddress(rank % 2, 0, 0),), (5 + rank,))
        future: Future[list[MicroBatch]] = Future()
        future.set_result([one] * count)
        return future

    try:
        dist.init_process_group("gloo")
        group = step_agreement.host_group(1)
        agreed = step_agreement.agree(4, batches(2), 2, group, stop=lambda: rank == 1, own=(rank, 7))
        lines = [f"{agreed.masked} {agreed.source_tokens} {agreed.stop} {agreed.superseded} {agreed.lost} {agreed.own}"]
        for step, count in ((5 + (rank == 2), 2), (6, 1 + rank)):
            with pytest.raises(RuntimeError) as raised:
                step_agreement.agree(step, batches(count), 2, group)
            lines.append(str(raised.value))
        (results / str(rank)).write_text("\n".join(lines))
        dist.barrier()
    except BaseException:
        (results / str(rank)).write_text(traceback.format_exc())
    os._exit(0)
