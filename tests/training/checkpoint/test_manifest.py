"""A checkpoint's manifest: what is written is read, and so are manifests of earlier versions."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rewritten import sign
from small_run import SmallRun
from written_run import manifest_of

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.checkpoint.manifest import FileEntry, read_manifest, write_manifest


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = manifest_of(step=4)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_the_keys_of_a_manifest_do_not_change(finished: SmallRun) -> None:
    content = json.loads((finished.newest_checkpoint() / "manifest.json").read_text())
    assert list(content) == [
        *(
            "version",
            "step",
            "world_size",
            "optimizer_step",
            "files",
            "parameters",
            "progress",
            "attempt",
            "scaling",
            "model",
            "tokenizer",
            "data",
        ),
        *(
            "skips",
            "data_manifest",
            "data_address",
            "sources",
            "initial_sources",
            "initial_weights",
            "config",
            "python",
            "packages",
            "git_revision",
        ),
        *("validation_loss", "averaged", "manifest_hash"),
    ]
    assert content["progress"].keys() == {"step", "packs", "tokens", "source_tokens"}
    assert content["scaling"] == {"skipped_steps": 0, "loss_scaler": {}, "recently_skipped": []}
    assert content["sources"]["notes"].keys() == {"licence", "public", "synthetic"}


def test_a_manifest_of_an_earlier_version_is_read_with_todays_names(tmp_path: Path) -> None:
    content = manifest_of(step=4).model_dump(mode="json")
    content["held_out_loss"] = content.pop("validation_loss")
    content["skips"] = [{"after": 8, "packs": 4}]
    content["config"] = {
        "batch": {"packs": 4, "micro_packs": 2, "warmup": [{"packs": 2, "until_tokens": 1024}]},
        "held_out": {"every_steps": 2},
        "rehearse": None,
    }
    content["version"], content["files"] = 1, {"rank00000-of-00001.safetensors": {"bytes": 4, "xxh3_128": "a"}}
    for key in ("parameters", "attempt", "scaling", "data_address"):  # added after version 1 was first written
        del content[key]
    sign(tmp_path, content)
    manifest = read_manifest(tmp_path)
    assert manifest.files == {"rank00000-of-00001.safetensors": FileEntry(bytes=4, xxh3_128=("a",))}
    assert manifest.parameters == {}
    assert manifest.validation_loss == manifest_of(step=4).validation_loss
    assert (manifest.skips[0].after, manifest.skips[0].packs) == (8, 4)
    assert manifest.config == {
        "batch": {
            "global_batch_size": 4,
            "micro_batch_size": 2,
            "warmup": [{"global_batch_size": 2, "until_tokens": 1024}],
        },
        "validation": {"every_steps": 2},
        "memory_check": None,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": "many"}, "step: Input should be a valid integer"),
        ({"version": 3}, "checkpoint version 3, expected 1 or 2"),
    ],
)
def test_another_manifest_is_one_error(tmp_path: Path, change: dict, message: str) -> None:
    sign(tmp_path, manifest_of(step=4).model_dump(mode="json") | change)
    with pytest.raises(UserError, match=rf"manifest\.json: {message}"):
        read_manifest(tmp_path)


def test_manifests_are_read_without_torch() -> None:
    program = "import sys; import clinical_modernbert.training.checkpoint.files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("content", ["null", '"a string"', "7", "[" * 200_000, '{"a":' * 200_000, "\udcff"])
def test_json_that_is_no_manifest_is_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"manifest\.json: "):
        read_manifest(tmp_path)
