"""The `cmbert data` and `cmbert tokenizer` commands, and that they print no private text."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import DatasetCard
from transformers import AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner, Result

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import save_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.inspection import summary as inspect
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.synthetic.notes import MARK

SECRET = "Mr. Undisclosed"


def cmbert(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), terminal_width=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set and its recipe: notes that may be shown, and letters that may not."""
    root: Path = tmp_path_factory.mktemp("data")
    letters = [{"mrn": str(number), "text": f"{SECRET} was seen {number} times."} for number in range(50)]
    (root / "letters.jsonl").write_text("".join(json.dumps(letter) + "\n" for letter in letters))
    recipe = {
        "output": str(root / "data"),
        "tokenizer": str(root / "tokenizer"),
        "seq_length": 1024,
        "held_out": 0.1,
        "workers": 1,
        "sources": [
            {
                "name": "letters",
                "format": "table",
                "paths": [str(root / "letters.jsonl")],
                "split_by": "mrn",
                "licence": "the hospital's own",
            },
            {
                "name": "notes",
                "format": "mimic_notes",
                "paths": [str(root / "notes" / "*.csv")],
                "licence": "Apache-2.0",
                "synthetic": True,
            },
        ],
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for arguments in (
        ["data", "synthesize", "--out", str(root / "notes"), "--notes", "80"],
        ["tokenizer", "train", str(root / "recipe.yaml"), "--vocab-size", "600"],
        ["data", "prepare", str(root / "recipe.yaml")],
    ):
        result = cmbert(*arguments)
        assert result.exit_code == 0, result.output
    return root


def test_only_the_owner_can_read_the_data(folder: Path) -> None:
    paths = [folder / "data", *(folder / "data").rglob("*")]
    assert len(paths) > 5
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}


def test_inspect_shows_every_split_and_only_public_text(folder: Path) -> None:
    result = cmbert("data", "inspect", str(folder / "data"))
    assert result.exit_code == 0
    for name in ("letters/train", "letters/held_out", "notes/train", "notes/held_out"):
        assert name in result.output
    assert MARK in result.output
    assert SECRET not in result.output


def test_a_tokenizer_of_restricted_text_is_readable_by_its_owner_only(folder: Path) -> None:
    modes = []
    for public in ("false", "true"):
        out = folder / f"tokenizer-{public}"
        os.umask(0o022)  # the command before changed it
        arguments = ["tokenizer", "train", str(folder / "recipe.yaml"), "--vocab-size", "600", "--out", str(out)]
        assert cmbert(*arguments, "--set", f"sources.0.public={public}").exit_code == 0
        modes.append({path.stat().st_mode & 0o777 for path in (out, *out.iterdir())})
    assert modes == [{0o700, 0o600}, {0o755, 0o644}]


def test_too_little_text_for_the_vocabulary_is_reported(folder: Path) -> None:
    arguments = ["tokenizer", "train", str(folder / "recipe.yaml"), "--vocab-size"]
    result = cmbert(*arguments, "576", "--out", str(folder / "enough"))
    assert result.stdout == f"tokenizer: {folder / 'enough'}, 576 tokens\n"
    assert "warning" not in result.stderr
    result = cmbert(*arguments, "60000", "--out", str(folder / "few-words"))
    size = len(AutoTokenizer.from_pretrained(folder / "few-words"))
    assert [line for line in result.output.splitlines() if not line.startswith("Next: ")] == [
        f"tokenizer: {folder / 'few-words'}, {size:,} tokens",
        "warning: there is too little text for 60,000 tokens",
    ]
    assert size < 10_000


def test_unwritable_outputs_are_refused_before_the_work(folder: Path) -> None:
    recipe, file = str(folder / "recipe.yaml"), folder / "recipe.yaml"
    for arguments, stage in (
        (["data", "prepare", recipe, "--set", f"output={file / 'data'}"], "tokenizing"),
        (["data", "prepare", recipe, "--set", "output=/proc/data"], "tokenizing"),
        (["data", "prepare", recipe, "--share", "0/2", "--set", f"output={file / 'data'}"], "tokenizing"),
        (["tokenizer", "train", recipe, "--out", str(file / "tokenizer")], "tokens"),
        (["tokenizer", "extend", recipe, "--out", str(file / "tokenizer")], "tokens"),
        (["data", "inspect", str(folder / "data"), "--plots", str(file)], "notes/train"),
    ):
        result = cmbert(*arguments)
        assert isinstance(result.exception, UserError), arguments
        assert "cannot be written: " in str(result.exception)
        assert stage not in result.output


def test_a_bad_upload_address_is_refused_before_the_work(folder: Path) -> None:
    output = folder / "uploaded"
    arguments = ["data", "prepare", str(folder / "recipe.yaml"), "--set", f"output={output}", "--upload", "/tmp/foo"]
    assert "/tmp/foo: expected s3://bucket/path" in str(cmbert(*arguments).exception)
    assert not output.exists()


def test_names_in_brackets_are_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    named = folder / "Süd [alpha]"
    named.symlink_to(folder / "data")
    result = cmbert("data", "inspect", named.name, "--plots", "[beta]")
    assert "Süd [alpha]: packs of 1,024 tokens" in result.output
    assert "wrote [beta]/lengths.png" in result.output


def test_inspect_writes_plots(folder: Path) -> None:
    result = cmbert("data", "inspect", str(folder / "data"), "--plots", str(folder / "plots"))
    assert result.exit_code == 0, result.output
    plots = sorted((folder / "plots").iterdir())
    assert [plot.name for plot in plots] == ["lengths.png", "sources.png"]
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)


def test_inspect_computes_fertility_and_the_share_of_duplicates(folder: Path) -> None:
    manifest = json.loads((folder / "data/manifest.json").read_text())
    special = set(manifest["tokenizer"]["special_ids"].values())
    for view in inspect.inspect(str(folder / "data"), 10_000):
        reader = PackReader(str(folder / "data" / view.source / view.split))
        packs = [reader[number] for number in range(len(reader))]
        words = sum(int(pack.word_starts.sum()) for pack in packs)
        assert sum(view.pack_tokens) == view.counts.tokens
        assert view.fertility == sum(token not in special for pack in packs for token in pack.tokens.tolist()) / words
        assert view.fertility >= 1
        entry = manifest["sources"][view.source]
        total = entry["duplicates"] + sum(split["documents"] for split in entry["splits"].values())
        assert view.dropped == entry["duplicates"] / total


def test_the_dataset_card_is_valid_and_holds_no_text(folder: Path) -> None:
    text = (folder / "data/README.md").read_text()
    assert DatasetCard(text).data.to_dict()["task_categories"] == ["fill-mask"]
    manifest = json.loads((folder / "data/manifest.json").read_text())
    for name, source in manifest["sources"].items():
        assert f"| {name} | {source['format']} | {source['licence']} |" in text
        assert f"| train | {source['splits']['train']['documents']:,} |" in text
    assert "letters may hold text of patients" in text
    assert manifest["tokenizer"]["sha256"] in text
    assert SECRET not in text
    assert MARK not in text


def test_show_text_shows_restricted_text(folder: Path) -> None:
    assert SECRET in cmbert("data", "inspect", str(folder / "data"), "--show-text").output


def test_prepare_prints_counts_and_no_text(folder: Path) -> None:
    result = cmbert("data", "prepare", str(folder / "recipe.yaml"), "--set", f"output={folder / 'again'}")
    held_out = json.loads((folder / "again/manifest.json").read_text())["sources"]["letters"]["splits"]["held_out"]
    assert "letters: 4" in result.output
    assert f"{held_out['documents']} documents, {held_out['tokens']} tokens held out; 0 duplicates" in result.output
    assert "without text" not in result.output
    assert "warning: no document was held out" not in result.output
    assert SECRET not in result.output


def test_prepare_reports_empty_documents_and_an_empty_held_out_split(folder: Path) -> None:
    letters = folder / "few.jsonl"
    letters.write_text('{"mrn": 1, "text": "once"}\n{"mrn": 2, "text": " "}\n{"mrn": 3, "text": null}\n')
    few = [f"output={folder / 'few'}", f"sources.0.paths=[{letters}]", "held_out=1e-9"]
    result = cmbert("data", "prepare", str(folder / "recipe.yaml"), *(f"--set={option}" for option in few))
    assert "letters: 1 documents" in result.output
    assert "0 documents, 0 tokens held out; 2 without text, 0 duplicates dropped" in result.output
    assert "warning: no document was held out" in result.output


def test_prepare_says_what_it_left_out(folder: Path) -> None:
    """The same counts are printed, in the manifest and in the card, whatever the number of files."""
    note = "<table-wrap><table><tr><td>{0}</td></tr></table></table-wrap>"
    for number in range(3):
        front = f'<article-meta><article-id pub-id-type="pmc">{number}</article-id></article-meta>'
        body = f"<p>Text {number} [<xref ref-type='bibr'>1</xref>].</p>{note.format(number)}"
        text = f"<article><front>{front}</front><body>{body}</body></article>"
        (folder / f"{number}.nxml").write_text(text)
    source = f"{{name: pmc, format: pmc, paths: ['{folder}/*.nxml'], licence: CC BY}}"
    recipe = folder / "left_out.yaml"
    tokenizer = yaml.safe_load((folder / "recipe.yaml").read_text())["tokenizer"]
    recipe.write_text(f"output: {folder}/left_out\ntokenizer: {tokenizer}\nheld_out: 0\nsources:\n- {source}\n")
    result = cmbert("data", "prepare", str(recipe))
    assert (
        "pmc: left out: numbers of references (3 elements, 9 characters), cells of tables (3 elements, 3 characters), "
        "metadata (3 elements, 3 characters)\n" in result.output
    )
    manifest = json.loads((folder / "left_out/manifest.json").read_text())["sources"]["pmc"]
    assert manifest["left_out"] == {
        "numbers of references": {"elements": 3, "characters": 9},
        "cells of tables": {"elements": 3, "characters": 3},
        "metadata": {"elements": 3, "characters": 3},
    }
    card = (folder / "left_out/README.md").read_text()
    assert "\n\n## In the files and in no text\n| source | kind |" in card
    assert "| pmc | numbers of references | 3 | 9 |" in card


def test_extend_grows_the_tokenizer_and_its_model(folder: Path) -> None:
    config = ModelConfig(
        vocab_size=640,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
    )
    model = MaskedLM(config)
    initialize(model, seed=0)
    save_pretrained(model.state_dict(), config, folder / "model")
    out = folder / "extended"
    arguments = ["tokenizer", "extend", str(folder / "recipe.yaml"), "--tokens", "100", "--out", str(out)]
    result = cmbert(*arguments, "--model", str(folder / "model"))
    assert result.exit_code == 0, result.output
    assert "100 tokens added, 768 in total" in result.output
    found = re.search(r"notes: ([\d.]+) tokens per word before, ([\d.]+) after", result.output)
    assert found is not None
    before, after = found.groups()
    assert float(after) < float(before)
    assert SECRET not in result.output
    tokenizer, grown = AutoTokenizer.from_pretrained(out), AutoModelForMaskedLM.from_pretrained(out)
    assert grown.config.vocab_size == len(tokenizer) == 768
    with torch.no_grad():
        logits = grown(**tokenizer("The patient was [MASK].", return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
    result = cmbert(*arguments)
    assert "exists already" in str(result.exception)


def test_a_user_error_exits_with_code_2_and_one_message(folder: Path) -> None:
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "data", "prepare", str(folder / "recipe.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {folder / 'data'}: exists already, and a data set is never overwritten")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "recipe.yaml", "--set", "sources.0.splitby=x"], "did you mean split_by?"),
        (["prepare", "recipe.yaml", "--set", "sources.0.format=tabel"], "did you mean table?"),
        (["inspect", "none"], "none/manifest.json: no such file"),
    ],
)
def test_errors_name_the_key_or_file(folder: Path, arguments: list[str], message: str) -> None:
    command, path, *others = arguments
    result = cmbert("data", command, str(folder / path), *others)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_the_demo_recipe_is_valid_and_has_only_public_sources() -> None:
    config = load(PrepareConfig, find_recipe("data/demo"))
    assert [source.name for source in config.sources] == ["pubmed", "icd10cm", "notes", "pmc"]
    assert all(source.public for source in config.sources)
    assert config.seq_length == 8192
