"""Mistakes of the user end with one clear error and exit code 2, and leave the run unchanged."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from small_run import SmallRun

from clinical_modernbert.training.export.export import export_checkpoint


def errors(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("error: ")]


def test_more_ranks_than_packs_in_a_step(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    (error,) = errors(run.train(ranks=5, code=2))
    assert "batch.global_batch_size (4) is less than the number of ranks (5)" in error
    assert "use at most 4 ranks, or set batch.global_batch_size=5" in error
    assert not run.run_dir.exists()


def test_a_misspelled_key(new_run: Callable[[], SmallRun]) -> None:
    (error,) = errors(new_run().train("data.seq_lenght=1", code=2))
    assert "--set data.seq_lenght: unknown key; did you mean seq_length?" in error


def test_fewer_steps_than_are_completed(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    (error,) = errors(run.train("schedule.total_tokens=8192", code=2))
    assert (
        "12 steps are completed, but schedule.total_tokens is enough for 8 only: raise it, or start in another run_dir"
        in error
    )


def test_a_directory_without_data(new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    (error,) = errors(new_run().train(f"data.path={tmp_path}", code=2))
    assert f"{tmp_path}/manifest.json: no such file" in error


def test_data_of_another_pack_length(new_run: Callable[[], SmallRun]) -> None:
    (error,) = errors(new_run().train("data.seq_length=512", code=2))
    assert "set data.seq_length=256" in error


def test_a_model_for_another_tokenizer(new_run: Callable[[], SmallRun]) -> None:
    output = new_run().train("model.vocab_size=100", "model.cls_token_id=9", code=2)
    assert "cls_token_id is 9, not 1; vocab_size is 100, below 128" in output


def test_a_model_with_another_tokenizer(finished: SmallRun, new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    model, run = tmp_path / "model", new_run()
    export_checkpoint(finished.run_dir, model)
    continued = (f"initial_weights={model}", "model=null", "schedule.total_tokens=8192")
    run.train(*continued)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["w5"], vocabulary["w6"] = vocabulary["w6"], vocabulary["w5"]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (error,) = errors(new_run().train(*continued, code=2))
    assert f"was prepared with another tokenizer than that of {model}" in error


def test_a_missing_tokenizer(new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    run = new_run()
    data = shutil.copytree(run.data, tmp_path / "data")
    (data / "tokenizer/tokenizer.json").unlink()
    assert f"{data}/tokenizer/tokenizer.json: no such file" in run.train(f"data.path={data}", code=2)


def test_a_flipped_byte_in_a_shard_stops_both_ranks(new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    run = new_run()
    data = shutil.copytree(run.data, tmp_path / "data")
    for shard in (data / "notes/train").glob("*.mds"):
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    output = run.train(f"data.path={data}", ranks=2, code=2)
    assert f"error: {data}/notes/train/shard." in output
    assert "the file is corrupt; restore this file from its source, or prepare the data again" in output
    assert "Traceback" not in output


def test_changed_data_is_not_continued(finished: SmallRun, new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    shutil.rmtree(run.run_dir / "checkpoints/step00000012")
    before = sorted(run.run_dir.rglob("*"))
    output = run.train("seed=18", "data.weights={notes: 1, codes: 1}", ranks=2, code=2)
    assert "the data changed since this checkpoint" in output
    assert re.search(r"weights\.notes was 0\.8\d*, is 0\.5", output)
    assert "seed was 17, is 18" in output
    assert sorted(run.run_dir.rglob("*")) == before


def test_a_changed_model_is_not_continued(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    output = run.train("model.intermediate_size=64", ranks=2, code=2)
    assert "model.intermediate_size was 48, is 64" in output
    permitted = run.train("model.intermediate_size=64", "allow_changed=[model.intermediate_size]", ranks=2, code=2)
    assert "the model section changed" in permitted
    output = run.train("batch.global_batch_size=8", ranks=2, code=2)
    assert "48 packs were consumed in its 12 steps, but the batch section now plans 96: restore it" in output


def test_a_corrupt_manifest_of_the_data(new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    run = new_run()
    data = shutil.copytree(run.data, tmp_path / "data")
    manifest = data / "manifest.json"
    manifest.write_text(manifest.read_text()[:-20])
    (error,) = errors(run.train(f"data.path={data}", code=2))
    assert f"{manifest}: " in error
    assert "restore this file from its source, or prepare the data again" in error
    manifest.write_text(json.dumps({"version": 99}))
    assert f"{manifest}: " in run.train(f"data.path={data}", code=2)
