"""A Dask cluster prepares the bytes of one process, whoever is killed. What workers lack is found before."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask_cluster import DaskCluster, pause, wait_for
from unshared_nodes import can_mount

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.dask_map import connect
from clinical_modernbert.streaming_data.division import ranges, survey
from clinical_modernbert.streaming_data.prepare import workers
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.prepare.workers import Session, check_session, join_session, on_workers
from clinical_modernbert.streaming_data.synthetic import notes as synthetic_notes
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

PREPARE = """
from clinical_modernbert.streaming_data.division import ranges
ranges.RANGE_BYTES = 20_000
from clinical_modernbert.launcher.cli import main
main()
"""


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tokenizer: LoadedTokenizer) -> PrepareConfig:
    """PubMed's files are scanned first, notes divided, and some receive canaries, for which they are read first."""
    folder: Path = tmp_path_factory.mktemp("inputs")
    for number in range(2):
        citations = "".join(
            f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article><ArticleTitle>Study {pmid}.</ArticleTitle>"
            "</Article></MedlineCitation></PubmedArticle>"
            for pmid in range(200 * number, 200 * number + 400)
        )
        (folder / f"{number}.xml").write_text(f"<PubmedArticleSet>{citations}</PubmedArticleSet>")
    notes = [str(path) for path in synthetic_notes.write(folder, 150, seed=1)]
    values = {
        "output": folder / "data",
        "tokenizer": tokenizer.directory,
        "seq_length": 512,
        "workers": 1,
        "near_duplicates": {"sources": ["pubmed"]},
        "privacy": {"canaries": {"count": 8, "repeats": [1, 2], "sources": ["notes"]}},
        "sources": [
            {"name": "pubmed", "format": "pubmed", "paths": [str(folder / "*.xml")], "licence": "own"},
            {"name": "notes", "format": "mimic_notes", "paths": notes, "licence": "own", "synthetic": True},
        ],
    }
    return PrepareConfig.model_validate(values)


@pytest.fixture(scope="module")
def reference(recipe: PrepareConfig) -> dict[str, str]:
    prepare(recipe, silent)
    return hashes(recipe.output)


@pytest.fixture(autouse=True)
def _many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 20_000)
    monkeypatch.setattr(survey, "UNPACK_BYTES", 0)


def hashes(directory: Path) -> dict[str, str]:
    """Of all files except the manifest, which names `output`; and the rest of the manifest."""
    digests = {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    manifest = json.loads((directory / "manifest.json").read_text())
    del manifest["config"]["output"]
    return digests | {"manifest": json.dumps(manifest)}


@pytest.mark.slow
def test_a_killed_worker_changes_no_byte(
    recipe: PrepareConfig,
    reference: dict[str, str],
    dask_cluster: DaskCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every stage that reads runs on workers. One of them is killed with a task. Relative paths begin where we are."""
    monkeypatch.chdir(tmp_path)
    config = recipe.model_copy(update={"output": Path("data")})
    reports: dict[str, list[tuple[int, int]]] = {}
    modes: set[int] = set()
    with connect(str(dask_cluster.scheduler_file)) as client:
        wait_for(lambda: len(client.nthreads()) >= 2, "two workers")
        alive = client.run(os.getpid)
        count = len(alive)

        def stages(stage: str) -> Any:
            def report(done: int, total: int, counted: int) -> None:
                reports.setdefault(stage, []).append((total, counted))
                if stage == "tokenizing":
                    modes.update(path.stat().st_mode & 0o777 for path in tmp_path.rglob("tokenized/*/*.segments"))
                    if 3 <= done < total and len(alive) == count:
                        address = next(iter(client.processing()))
                        os.kill(alive.pop(address), signal.SIGKILL)

            return report

        prepare(config, stages, client)
    assert len(alive) == count - 1, "a worker was killed"
    assert hashes(config.output) == reference
    assert modes == {0o644}, "files have the umask of the command"
    documents = {stage: max(counted for _, counted in found) for stage, found in reports.items()}
    assert documents["scanning"] > 0
    assert documents["tokenizing"] > 400
    assert reports["tokenizing"][0][0] > 10, "tasks"
    assert documents["checking"] == 0, "nothing was done again here"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.canaries.json"]
    dask_cluster.add_worker()


@pytest.mark.slow
def test_the_command_continues_after_a_kill(
    recipe: PrepareConfig, reference: dict[str, str], dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    config = recipe.model_copy(update={"output": tmp_path / "data"})
    file = tmp_path / "recipe.yaml"
    file.write_text(config.model_dump_json())
    command = [sys.executable, "-c", PREPARE, "data", "prepare", str(file), "--dask", str(dask_cluster.scheduler_file)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: any(tmp_path.rglob("tokenized/*/*.done")), "a finished task")
    first.kill()
    first.wait()
    assert not config.output.exists()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert hashes(config.output) == reference
    assert "notes: " in again.stdout


@pytest.mark.slow
def test_an_error_in_a_file_is_that_of_one_process(
    recipe: PrepareConfig, dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    """It names file and record, and quotes nothing of them, here and in the logs of the cluster."""
    path = tmp_path / "notes.csv"
    rows = "".join(f'N{number},P{number},"Zebedee was seen {number} times"\n' for number in range(1_000))
    path.write_text("note_id,subject_id,text\n" + rows + "N1000,,Zebedee again\n" + rows)
    notes = recipe.sources[1].model_copy(update={"paths": [str(path)]})
    config = recipe.model_copy(
        update={"output": tmp_path / "data", "sources": [notes], "near_duplicates": None, "privacy": None}
    )
    messages = []
    with connect(str(dask_cluster.scheduler_file)) as client:
        for where in (client, None):
            with pytest.raises(UserError) as caught:
                prepare(config, silent, where)
            messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "record 1001" in messages[0]
    assert "Zebedee" not in messages[0] + dask_cluster.log.read_text()


@pytest.mark.slow
def test_a_worker_on_another_disk_is_refused(recipe: PrepareConfig, dask_cluster: DaskCluster, tmp_path: Path) -> None:
    """It joins while the others work: its first task ends the command, and writes nothing where nobody looks."""
    if not can_mount():
        pytest.skip("mount namespaces are not permitted here")
    config = recipe.model_copy(update={"output": tmp_path / "shared" / "data"})
    own = tmp_path / "own"
    own.mkdir()
    config.output.parent.mkdir()
    script = f'mount --bind {own} {config.output.parent} && exec "$@"'
    with connect(str(dask_cluster.scheduler_file)) as client:
        count = len(client.nthreads())
        with on_workers(client, config, config.output.with_name("data.building")) as run:
            elsewhere = dask_cluster.add_worker(under=["unshare", "--mount", "sh", "-ec", script, "sh"])
            try:
                wait_for(lambda: len(client.nthreads()) == count + 1, "another worker")
                with pytest.raises(UserError, match="`output` must be in a directory that all workers see"):
                    run(pause, list(range(200)), silent(""))
                with pytest.raises(UserError, match=r"worker tcp://[^,]*: cannot read .*all workers see"):
                    prepare(config, silent, client)
            finally:
                elsewhere.kill()
                elsewhere.wait()
                wait_for(lambda: len(client.nthreads()) == count, "the end of that worker")
    assert not list(own.rglob("*"))


@pytest.fixture
def session(recipe: PrepareConfig, tmp_path: Path) -> Iterator[Path]:
    """The session of a command, without its cluster."""
    file = tmp_path / "session.json"
    file.write_text(workers._describe(recipe).model_dump_json())
    yield file
    workers._joined.pop(file, None)


def change(session: Path, **values: Any) -> Path:
    session.write_text(Session(**json.loads(session.read_text()) | values).model_dump_json())
    return session


def test_a_fit_worker_works_where_the_command_is(session: Path, tmp_path: Path) -> None:
    """In its directory and with its umask, both restored; and no longer once the command has ended."""
    before, seen = Path.cwd(), []
    (tmp_path / "there").mkdir()
    change(session, directory=str(tmp_path / "there"), umask=0o027)
    for _ in range(2):
        with join_session(session):
            Path("file").write_bytes(b"")
            seen.append((Path.cwd(), Path("file").stat().st_mode & 0o777))
            Path("file").unlink()
    assert seen == [(tmp_path / "there", 0o640)] * 2
    assert Path.cwd() == before
    session.unlink()
    with pytest.raises(UserError, match="has ended"), join_session(session):
        pass


def test_everything_that_a_worker_lacks_is_listed(session: Path, tmp_path: Path) -> None:
    found = json.loads(session.read_text())
    check_session(session)
    path, size, modified = found["files"][0]
    change(
        session,
        versions=found["versions"] | {"numpy": "1.0", "Python": "2.7", "fastokens": "0.0.1"},
        files=[(path, size + 1, modified), (f"{tmp_path}/absent", 1, 1), *found["files"][1:]],
    )
    with pytest.raises(UserError) as caught:
        check_session(session)
    lines = str(caught.value).splitlines()
    assert [line.split(" is ")[0] for line in lines[:3]] == ["Python", "fastokens", "numpy"]
    assert all(line.endswith("here: install the same versions") for line in lines[:3])
    assert lines[3].startswith(f"does not see {path} and 1 more as it is here")
    assert len(lines) == 4
    session.write_text('{"versions": {}}')
    with pytest.raises(UserError, match="written by another version of this program"):
        check_session(session)


def test_fractions_of_seconds_do_not_matter(session: Path) -> None:
    found = json.loads(session.read_text())["files"]
    change(session, files=[(path, size, modified // 10**9 * 10**9) for path, size, modified in found])
    check_session(session)
    change(session, files=[(path, size, modified + 10**9) for path, size, modified in found])
    with pytest.raises(UserError, match=rf"does not see .* and {len(found) - 1:,} more as it is here"):
        check_session(session)


def test_other_users_and_disks_are_refused(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cannot read .*absent\.json \(No such file or directory\)"):
        check_session(tmp_path / "absent.json")

    def refuse(directory: Path) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(workers, "prove_writable", refuse)
        with pytest.raises(UserError, match=rf"^cannot write in {tmp_path} \(Read-only file system\)$"):
            check_session(session)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(UserError, match=r"runs as user 12345, and .* belongs to user \d+"):
        check_session(session)
