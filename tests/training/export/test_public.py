"""No file of an export names the machine on which it was made."""

import json
import os
import re
import socket
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import SmallRun

from clinical_modernbert.training.export import export
from clinical_modernbert.training.export.public import public_name, public_tree

NAMES = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=8).filter(lambda n: set(n) != {"."})


@given(
    st.lists(NAMES, min_size=2, max_size=5),
    st.sampled_from(["/", "~/", "../", "s3://", "https://", "file:///", "C:\\"]),
)
def test_only_the_last_name_of_an_address_remains(parts: list[str], prefix: str) -> None:
    shown = public_tree({"a": [prefix + "/".join(["Private-mount", *parts])]})
    assert shown == {"a": [parts[-1]]}


@given(NAMES)
def test_a_host_alone_does_not_remain(name: str) -> None:
    assert public_name(f"https://internal-{name}:5000") == "-"


@pytest.mark.parametrize("text", ["whole_word", "runs/first", "CC BY 4.0", "made by the tests", "", "bf16", "a/b c"])
def test_other_texts_stay(text: str) -> None:
    assert public_name(text) == text


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.parametrize("onnx", [False, True])
def test_no_exported_file_names_the_machine(copy: SmallRun, tmp_path: Path, onnx: bool) -> None:
    if onnx:
        pytest.importorskip("onnxruntime", reason="an extra: pip install onnx onnxruntime onnxscript")
    config = copy.run_dir / "tokenizer" / "tokenizer_config.json"
    values = {**json.loads(config.read_text()), "name_or_path": "/home/someone/models/start", "cache_dir": "~/x/cache"}
    config.write_text(json.dumps(values))
    scores = {"ner": {f"{tmp_path}/a/model": {"f1": {"mean": 0.5, "deviation": None, "values": [0.5]}}}}
    (copy.run_dir / "evaluation").mkdir()
    (copy.run_dir / "evaluation" / "results.json").write_text(json.dumps(scores))
    out = tmp_path / "model"
    export.export_checkpoint(copy.run_dir, out, sentence_embedding=True, onnx=onnx)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) >= 8 + onnx
    ours = Path(export.__file__).resolve().parents[2]
    hidden = [str(Path.home()), str(tmp_path), str(copy.run_dir), str(copy.data), str(ours), "site-packages", "someone"]
    for path in files:
        content = path.read_bytes()
        assert [name for name in hidden if os.fsencode(name) in content] == [], path.name
        if path.suffix in (".json", ".md"):  # a short name of a host may be anywhere in weights
            assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", content.decode()), path.name
    training = json.loads((out / "training.json").read_text())
    assert training["config"]["data"]["path"] == training["data_address"] == Path(str(copy.data)).name
