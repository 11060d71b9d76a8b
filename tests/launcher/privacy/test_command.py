"""`cmbert privacy` on a run with planted canaries: what it writes, what it keeps, and what it refuses."""

import json
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from small_run import SmallRun

from clinical_modernbert.evaluation.models.model import open_model
from clinical_modernbert.evaluation.privacy import exposure
from clinical_modernbert.evaluation.privacy.report import read_report
from clinical_modernbert.evaluation.privacy.scorer import open_scorer
from clinical_modernbert.launcher import cli
from clinical_modernbert.launcher.privacy import attacks
from clinical_modernbert.streaming_data.canaries.file import canary_file, read_canaries
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.synthetic.notes import generate, write
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

pytestmark = pytest.mark.ranks

RECIPE = """
run_dir: {root}/run
model: {{vocab_size: 640, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 2,
        pad_token_id: {pad}, cls_token_id: {cls}, sep_token_id: {sep}}}
data: {{path: {root}/data, seq_length: 1024}}
batch: {{global_batch_size: 4}}
schedule: {{total_tokens: {tokens}, warmup_tokens: 4096}}
optimizer: {{lr: 3e-3}}
engine: {{precision: fp32, zero_stage: 0}}
checkpoint: {{every_steps: 3, keep_last: 2}}
metrics: {{tensorboard: false}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a data set, its canaries, and a run of six steps with two checkpoints."""
    root: Path = tmp_path_factory.mktemp("private")
    notes = [str(path) for path in write(root / "notes", 60, seed=3)]
    tokenizers.train([row["text"] for row, _ in zip(generate(3), range(60), strict=False)], 640, root / "tokenizer")
    config = PrepareConfig.model_validate(
        {
            "output": root / "data",
            "tokenizer": root / "tokenizer",
            "seq_length": 1024,
            "held_out": 0.4,
            "workers": 1,
            "sources": [{"name": "notes", "format": "mimic_notes", "paths": notes, "licence": "own"}],
            "privacy": {"canaries": {"sources": ["notes"], "count": 2, "repeats": [0, 3]}},
        }
    )
    prepare(config, lambda stage: lambda *counts: None)
    ids = tokenizers.load(root / "tokenizer").special_ids
    recipe = root / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=root, tokens=6 * 4 * 1024, **ids))
    SmallRun(recipe, root / "data", root / "run").train()
    return root


@pytest.fixture
def cmbert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    for name, value in (("ALTERNATIVES", 10), ("SCREENED", 40)):
        monkeypatch.setattr(exposure, name, value)
    monkeypatch.setattr(attacks, "MASKINGS", 2)

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["cmbert", "privacy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return code, captured.out + captured.err

    return run


def test_reports_of_all_checkpoints_their_page_and_what_is_kept(
    trained: Path, cmbert: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    run, data = trained / "run", trained / "data"
    code, output = cmbert(run, "--data", data, "--checkpoint", "all", "--samples", 6)
    assert code == 0, output
    assert "Next: cmbert export" in output
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert len(names) == 2
    reports = {name: read_report(run / "privacy" / name) for name in names}
    for name, report in reports.items():
        assert (report.checkpoint, report.samples) == (name, 6)
        assert {"exposure", "membership"} <= set(report.attacks())
        assert report.exposure is not None
        assert [(level.repeats, level.kept, level.canaries) for level in report.exposure.levels] == [
            (0, 0, 2), (3, 3, 2)
        ]  # fmt: skip
    exported = tmp_path / "model"
    assert _export(run / "checkpoints" / names[1], exported) == 0
    assert open_scorer(open_model(str(exported))).weights == reports[names[1]].weights != reports[names[0]].weights

    page = (run / "privacy" / "privacy.html").read_text()
    assert "Exposure by repeats" in page
    assert "<script src" not in page
    section = (run / "privacy" / names[1] / "privacy.md").read_text()
    assert section.startswith("## Privacy\n")
    for claim in ("lower bounds", "Finding nothing is no proof", "arXiv 1802.08232", "arXiv 2203.03929"):
        assert claim in section
    canaries = read_canaries(canary_file(data)).canaries
    for file in (run / "privacy").rglob("*"):
        if file.is_file():
            content = file.read_text()
            assert not any(canary.secret in content or canary.name in content for canary in canaries), file
            assert stat.S_IMODE(file.stat().st_mode) == 0o600  # the source is not public

    before = {path: path.read_bytes() for path in (run / "privacy").glob("*/privacy.*")}
    assert cmbert(run, "--data", data, "--samples", 6)[0] == 0  # nothing is computed again
    assert before == {path: path.read_bytes() for path in (run / "privacy").glob("*/privacy.*")}
    assert cmbert(run, "--samples", 1 + 1, "--out", tmp_path / "other")[0] == 0  # exposure needs the list alone
    assert read_report(tmp_path / "other" / names[1]).attacks() == ["exposure"]


def _export(checkpoint: Path, out: Path) -> int:
    from clinical_modernbert.training.export.export import export_checkpoint

    export_checkpoint(checkpoint, out)
    return 0


def test_what_the_attacks_lack_is_named(trained: Path, cmbert: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    run, data = trained / "run", trained / "data"
    listed = json.loads(canary_file(data).read_text())
    (tmp_path / "foreign.json").write_text(json.dumps(listed | {"data": "0123"}))
    shutil.copytree(data, tmp_path / "plain")
    manifest = json.loads((tmp_path / "plain/manifest.json").read_text())
    (tmp_path / "plain/manifest.json").write_text(json.dumps(manifest | {"seq_length": 512}))
    recipe = yaml.safe_load((run / "config.yaml").read_text())
    assert recipe["data"]["path"] == str(data)
    for arguments, words in (
        (["--canaries", tmp_path / "foreign.json"], "lists the canaries of data set 0123, but the checkpoint"),
        (["--canaries", tmp_path / "none.json"], "none.json: cannot be read"),
        (["--data", tmp_path / "plain"], "whose text it has seen is known of its own data set only"),
        (["--data", data, "--source", "letters"], "--source letters: the sources of"),
        (["--data", data, "--checkpoint", "step1"], "--checkpoint step1: expected newest, all or one of step"),
    ):
        code, output = cmbert(run, *arguments, "--out", tmp_path / "out")
        assert code == 2
        assert words in " ".join(output.split()), output
        assert not list((tmp_path / "out").rglob("*"))
    shutil.copytree(run, tmp_path / "moved")
    canary_file(data).rename(tmp_path / "hidden.json")
    try:
        code, output = cmbert(tmp_path / "moved")
    finally:
        (tmp_path / "hidden.json").rename(canary_file(data))
    assert code == 2
    assert "nothing to attack it with" in output


def test_losses_of_a_reference_are_subtracted(
    trained: Path, cmbert: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    run, data = trained / "run", trained / "data"
    [earlier, newest] = sorted((run / "checkpoints").iterdir())
    for checkpoint in (earlier, newest):
        _export(checkpoint, tmp_path / checkpoint.name)
    references = [part for one in (earlier, newest) for part in ("--reference", tmp_path / one.name)]
    code, output = cmbert(run, "--data", data, "--samples", 6, *references, "--out", tmp_path / "out")
    assert code == 0, output
    section = read_report(tmp_path / "out" / newest.name).membership
    assert section is not None
    found = {attack.reference: attack.documents.auc for attack in section.attacks if attack.score == "reference"}
    assert list(found) == ["untrained", earlier.name, newest.name]
    assert found[newest.name].value == found[newest.name].low == found[newest.name].high == 0.5  # less its own losses
    assert found[earlier.name].value != 0.5
    assert section.epochs is not None
    for wrong, words in (
        ([tmp_path / "nowhere/at/all"], "no such directory"),
        ([tmp_path / newest.name] * 2, f"{newest.name} is not the only one of its name"),
    ):
        named = [part for one in wrong for part in ("--reference", one)]
        code, output = cmbert(run, "--data", data, *named, "--out", tmp_path / "none")
        assert code == 2
        assert words in " ".join(output.split()), output
