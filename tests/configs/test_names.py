"""Names from outside: none leads out of its directory, wherever such a name is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_data import write_small_data
from written_run import manifest_of, write_checkpoint, write_run

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.names import ignore_foreign, is_file_name
from clinical_modernbert.launcher.runs.status import read_status
from clinical_modernbert.model.weight_files import _load_shards
from clinical_modernbert.streaming_data.shards.manifest import DataManifest, read_manifest
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.training.checkpoint import files
from clinical_modernbert.training.checkpoint.attempts import _register, read_attempts
from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest

HOSTILE = (
    *(
        "",
        ".",
        "..",
        "../a",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..\\a",
        "C:\\a",
        "a\0",
        "a\n",
        "\ud800",
        "a\u202e",
        "x" * 300,
    ),
    *("./shard.00000.mds", "shard.00000.mds/", "shard.00000.mds\n", "rank00000-of-00001.safetensors\n", "notes/../.."),
)
hostile_names = st.sampled_from(HOSTILE) | st.text(max_size=20).map(lambda text: f"../{text}") | st.text(max_size=40)
any_case = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@any_case
@given(hostile_names)
def test_a_file_name_stays_in_its_directory(name: str) -> None:
    if is_file_name(name):
        directory = Path("/a/directory")
        assert (directory / name).parent == directory
        assert Path(f"{directory / name}").name == name
        assert not set(name) & {"\0", "\n", "/", "\\"}


@pytest.mark.parametrize("name", HOSTILE[:14])
def test_hostile_names_are_refused(name: str) -> None:
    assert not is_file_name(name)


@any_case
@given(hostile_names)
def test_a_checkpoint_manifest_names_only_files_of_ranks(name: str) -> None:
    content = manifest_of(4).model_dump(mode="json")
    content["files"] = {name: {"bytes": 1, "xxh3_128": "0"}}
    with pytest.raises(ValueError, match="files"):
        CheckpointManifest.model_validate(content)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "set", packs=4)


@any_case
@given(hostile_names)
def test_a_data_manifest_names_only_directories_of_sources(data: Path, name: str) -> None:
    content = json.loads((data / "manifest.json").read_text())
    content["sources"] = {name: content["sources"]["notes"]}
    try:
        manifest = DataManifest.parse(json.dumps(content).encode())
    except ValueError:
        return
    assert all((data / source).parent == data and source.isascii() for source in manifest.sources)


@any_case
@given(hostile_names)
def test_an_index_names_only_shards(data: Path, name: str) -> None:
    index = data / "codes/train/index.json"
    intact = index.read_text()
    content = json.loads(intact)
    content["shards"][0]["raw_data"]["basename"] = name
    try:
        index.write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"index\.json: not an index of packs"):
            PackReader(str(index.parent))
    finally:
        index.write_text(intact)


@any_case
@given(hostile_names)
def test_the_weights_of_a_model_are_in_its_directory(tmp_path: Path, name: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError):
        _load_shards(index)


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a copy": lambda run: shutil.copytree(run / "checkpoints/step00000008", run / "checkpoints/step00000008.bak"),
    "another form": lambda run: shutil.copytree(run / "checkpoints/step00000008", run / "checkpoints/step8"),
    "too many digits": lambda run: shutil.copytree(run / "checkpoints/step00000008", run / "checkpoints/step000000099"),
    "a directory": lambda run: (run / "checkpoints/steps_old").mkdir(),
    "a file": lambda run: (run / "checkpoints/step00000016").write_text("notes"),
    "a dangling link": lambda run: (run / "checkpoints/step00000016").symlink_to(run / "nowhere"),
    "other digits": lambda run: (run / "checkpoints/step٠٠٠٠٠٠٩٩").mkdir(),
    "notes among attempts": lambda run: (run / "attempts/notes.json").write_text("{}"),
    "a link among attempts": lambda run: (run / "attempts/00007x.json").symlink_to(run / "nowhere"),
    "a directory among attempts": lambda run: (run / "attempts/old.json").mkdir(),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_of_a_run_are_ignored_with_one_warning(
    tmp_path: Path, kind: str, every_progress: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path / "run", steps=12)
    for step in (4, 8, 12):
        write_checkpoint(run, step)
    FOREIGN[kind](run)
    ignore_foreign.cache_clear()
    before = read_status(run)
    assert before.checkpoint_step == 12
    assert len(read_attempts(run)) == 2
    assert [files.step_of(path) for path in files.require_checkpoints(run)] == [12, 8, 4]
    foreign = {path for path in (run / "checkpoints").iterdir() if not path.name.endswith(("04", "08", "12"))}
    # A copy is never counted: the two newest stay.
    assert [files.step_of(path) for path in files.prune(run / "checkpoints", keep_last=2)] == [12, 8]
    assert foreign <= set((run / "checkpoints").iterdir())
    assert _register(run, 12, ["node"]) == 3
    assert [message.count("ignoring") for message in every_progress.messages].count(1) == 1


def test_a_data_set_of_today_has_names_of_ours(data: Path) -> None:
    assert set(read_manifest(str(data)).sources) == {"notes", "codes"}
