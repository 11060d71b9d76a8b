"""Runs that start from a checkpoint of another run, and from a classifier on the Hub."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hub_download import DownloadServer
from small_run import CMBERT, SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.start import NEW_HEAD, open_start
from clinical_modernbert.training.checkpoint.manifest import read_manifest
from clinical_modernbert.training.checkpoint.save_load import consolidate

pytestmark = [pytest.mark.slow, pytest.mark.ranks]
FEW = ("model=null", "schedule.total_tokens=2048", "schedule.warmup_tokens=0", "schedule.decay_tokens=0")


def test_a_checkpoint_is_a_start(finished: SmallRun, new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    checkpoint = finished.newest_checkpoint()
    start = open_start(checkpoint)
    weights, expected = start.read(), consolidate(checkpoint)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    further = new_run()
    further.train(f"initial_weights={checkpoint}", *FEW, ranks=1)
    manifest = read_manifest(further.newest_checkpoint())
    assert manifest.initial_weights is not None
    assert (manifest.initial_weights.kind, manifest.initial_weights.address) == ("checkpoint", str(checkpoint))
    assert manifest.initial_sources.keys() == read_manifest(checkpoint).sources.keys()
    assert manifest.model == read_manifest(checkpoint).model
    damaged = Path(shutil.copytree(checkpoint.parent.parent, tmp_path / "damaged")) / "checkpoints" / checkpoint.name
    file = sorted(damaged.glob("*.safetensors"))[0]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="not as it was written"):
        open_start(damaged).read()


@pytest.mark.servers
def test_a_classifier_on_the_hub_is_a_start_and_its_commit_is_kept(
    new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    import transformers

    run, server = new_run(), DownloadServer()
    sizes = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    # As mmBERT's: the config's own ids are not those with which its tokenizer begins and ends texts.
    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.ModernBertConfig(**sizes, **ids, num_attention_heads=2)
    transformers.ModernBertForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
    for file in (Path(run.data) / "tokenizer").iterdir():
        shutil.copyfile(file, tmp_path / "classifier" / file.name)
    commit = server.publish("me/classifier", tmp_path / "classifier")
    environment = os.environ | {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "cache")}

    def train(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [*CMBERT, *run.arguments("initial_weights=me/classifier", *FEW, *overrides, ranks=2)]
        return subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)

    refused = train()
    assert (refused.returncode, "new_head=true takes its encoder" in refused.stderr) == (2, True), refused.stderr
    done = train("new_head=true")
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(run.newest_checkpoint())
    origin = manifest.initial_weights
    assert origin is not None
    assert (origin.kind, origin.address) == ("hub", f"me/classifier@{commit}")
    assert (origin.new_parameters, origin.new_from_seed) == (NEW_HEAD, 17)
    assert manifest.config["initial_weights"] == f"me/classifier@{commit}"
    assert (manifest.model.cls_token_id, manifest.model.sep_token_id) == (1, 2)
    # Continued after the repository has moved on, the run says where its weights came from, not what is there now.
    newer = Path(shutil.copytree(tmp_path / "classifier", tmp_path / "newer"))
    (newer / "config.json").write_text(json.dumps(json.loads((newer / "config.json").read_text()) | {"note": "new"}))
    server.publish("me/classifier", newer)
    further = train("new_head=true", "schedule.total_tokens=4096")
    assert further.returncode == 0, further.stderr
    later = read_manifest(run.newest_checkpoint())
    assert later.step > manifest.step
    assert later.initial_weights == origin
    server.close()
