"""No file that is read can run code: a scan of our sources for pickle, and for libraries that would run a model's code.

`tests/streaming_data/prepare/` and `tests/evaluation/models/` try it with files that would.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if not {"tests", ".venv", "build"} & set(path.relative_to(ROOT).parts[:1]) and ".git" not in path.parts
)
FORBIDDEN = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
CAUGHT = {("model/hugging_face.py", "pickle")}
"""It catches `pickle.UnpicklingError`, which torch raises for a file that holds more than tensors."""
LOADS_MODELS = {"from_pretrained", "SentenceTransformer", "CrossEncoder", "load_dataset", "from_config", "pipeline"}
OURS = {"from_pretrained"}
"""`from_pretrained` as a plain name is that of `model/hugging_face.py`, which reads tensors only."""


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, str]]:
    """(call, the name of the object, the name of the function)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node, ast.unparse(node.func.value), node.func.attr
            elif isinstance(node.func, ast.Name):
                yield node, "", node.func.id


def problems(source: str, name: str = "x.py") -> list[str]:
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        found += [
            f"imports {module}"
            for module in modules
            if module.partition(".")[0] in FORBIDDEN and (name, module) not in CAUGHT
        ]
    for call, owner, function in _calls(tree):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if (owner, function) == ("torch", "load") and given.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        arrays = owner in ("np", "numpy") and function in ("load", "save", "savez", "savez_compressed")
        if arrays and given.get("allow_pickle") != "False":
            found.append(f"np.{function} without allow_pickle=False")
        if owner == "pickle" and name == "model/hugging_face.py":
            found.append(f"pickle.{function}")
        if owner in ("pd", "pandas") and function == "read_pickle":
            found.append("read_pickle")
        theirs = function in LOADS_MODELS and (owner or function not in OURS)
        if theirs and given.get("trust_remote_code") != "False":
            found.append(f"{function} without trust_remote_code=False")
        if function in ("eval", "exec") and not owner:
            found.append(function)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_reads_code_from_a_file(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import torch\ntorch.load(x)", "np.load(x)", "np.save(x, y)",
        "np.load(x, allow_pickle=True)", "torch.load(x, weights_only=False)", "AutoModel.from_pretrained(x)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)", "datasets.load_dataset(x)", "SentenceTransformer(x)",
        "eval(x)",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(source: str) -> None:
    assert problems(source)
