"""`cmbert check-runtime` with servers: right ones, wrong ones, and ones that refuse."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner, Result

from clinical_modernbert.launcher.cli import app

TEXTS = ["w5 w6", "w7 " * 60]
Embed = Callable[[str], list[float]]


def cmbert(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check-runtime", *arguments], terminal_width=200)


def embedding(text: str) -> list[float]:
    return [float(value) for value in np.random.default_rng(len(text)).normal(size=8)]


@pytest.fixture(scope="module")
def model(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("model")
    source = small_data / "tokenizer" / "tokenizer.json"
    (directory / "tokenizer.json").write_bytes(source.read_bytes())
    tokenizer = Tokenizer.from_file(str(source))
    inputs = [{"text": text, "input_ids": tokenizer.encode(text).ids} for text in TEXTS]
    content = {"inputs": inputs, "outputs": {"mean_embedding": [embedding(text) for text in TEXTS]}}
    (directory / "reference.json").write_text(json.dumps(content))
    return directory


@pytest.fixture
def serve() -> Iterator[Callable[[Embed], str]]:
    """Starts a server of embeddings, with the paths and the answers of TEI and of OpenAI's API."""
    servers = []

    def start(embed: Embed) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer({"data": [{"id": "served"}]} if self.path == "/v1/models" else None)

            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/embed":
                    assert content["truncate"] is False
                    self.answer([embed(content["inputs"])])
                else:
                    assert (self.path, content["model"]) == ("/v1/embeddings", "served")
                    self.answer({"data": [{"embedding": embed(content["input"])}]})

            def answer(self, content: Any) -> None:
                self.send_response(200 if content else 413)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()


@pytest.mark.parametrize("runtime", ["tei", "openai"])
def test_servers(runtime: str, model: Path, serve: Callable[[Embed], str]) -> None:
    right = serve(lambda text: [value / 7 for value in embedding(text)])
    result = cmbert(str(model), "--runtime", runtime, "--url", f"{right}/")
    assert result.exit_code == 0, result.exception
    assert f"{runtime} computes what {model} does" in result.output
    cut = serve(lambda text: embedding(text[:40]))
    result = cmbert(str(model), "--runtime", runtime, "--url", cut)
    assert "inputs of up to 2 tokens agree and those of 60 or more do not" in str(result.exception)
    other = serve(lambda text: embedding(text)[:4])
    result = cmbert(str(model), "--runtime", runtime, "--url", other)
    assert "differs from" in str(result.exception)
    assert "no input agrees" in str(result.exception)


def test_what_prevents_a_comparison(model: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([str(model), "--runtime", "tei"], "--url: give the address of the server"),
        ([str(model), "--runtime", "onnx", "--url", "x"], "--url: give the address of the server"),
        ([str(model), "--runtime", "tei", "--url", "http://127.0.0.1:9"], "is the server running?"),
        ([str(model), "--runtime", "onnx"], "onnx/model.onnx: no such file; export the model with --onnx"),
        ([str(tmp_path), "--runtime", "tei", "--url", "x"], "reference.json: no such file"),
    ):
        assert message in str(cmbert(*arguments).exception), arguments
    content = json.loads((model / "reference.json").read_text())
    content["inputs"][1]["input_ids"][1] += 1
    (tmp_path / "reference.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    result = cmbert(str(tmp_path), "--runtime", "tei", "--url", "x")
    assert "its tokenizer gives other ids than the reference for input 2" in str(result.exception)
