"""Models from a server with the Hub's API: one commit, no code, the cache, and each error.

The client reads its environment when it is imported, so that each step is a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_download import DownloadServer

from clinical_modernbert.storage.hub import is_hub_name

FETCH = """
import sys
from pathlib import Path
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import hub
for name in sys.argv[2:]:
    try:
        found = getattr(hub, sys.argv[1])(Path(name))
        print(found.address, *sorted(path.name for path in found.directory.iterdir()))
    except UserError as error:
        print("error:", error)
"""


@pytest.fixture
def server() -> Iterator[DownloadServer]:
    served = DownloadServer()
    yield served
    served.close()


def fetch(
    server: DownloadServer, cache: Path, *names: str, function: str = "fetch", offline: bool = False
) -> list[str]:
    """What a process prints that fetches each name with this cache: its commit and its files, or the error."""
    settings = {"HF_ENDPOINT": server.address, "HF_HOME": str(cache), "HF_HUB_OFFLINE": str(int(offline))}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | settings
    command = [sys.executable, "-c", FETCH, function, *names]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, cwd=cache, env=environment)
    return ended.stdout.splitlines()


def write(directory: Path, **files: str) -> Path:
    directory.mkdir()
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return directory


@pytest.mark.slow
@pytest.mark.servers
def test_a_commit_is_fetched_without_code_and_found_again(server: DownloadServer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    files = {"config__json": "{}", "tokenizer__json": "{}", "model__safetensors": "1", "modeling__py": "evil"}
    first = server.publish("me/first", write(tmp_path / "first", **files, pytorch_model__bin="also"))
    pickled = server.publish("me/pickled", write(tmp_path / "pickled", config__json="{}", pytorch_model__bin="2"))
    settings = fetch(server, cache, "me/first", function="fetch_settings")
    assert settings == [f"me/first@{first} config.json tokenizer.json"]
    assert fetch(server, cache, "me/first", "me/pickled") == [
        f"me/first@{first} config.json model.safetensors tokenizer.json",
        f"me/pickled@{pickled} config.json pytorch_model.bin",
    ]
    newer = server.publish("me/first", write(tmp_path / "newer", config__json="{}", model__safetensors="3"))
    server.requests.clear()
    # A commit that was fetched needs no request and no network; main is now another one.
    again = [f"me/first@{first} config.json model.safetensors tokenizer.json"]
    assert fetch(server, cache, f"me/first@{first}") == again
    assert fetch(server, cache, f"me/first@{first}", "me/first", offline=True) == again * 2
    assert server.requests == []
    assert fetch(server, cache, "me/first") == [f"me/first@{newer} config.json model.safetensors"]


@pytest.mark.slow
@pytest.mark.servers
def test_every_failure_says_what_to_do(server: DownloadServer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    server.publish("me/closed", write(tmp_path / "closed", config__json="{}"))
    server.gated.add("me/closed")
    server.publish("me/bare", write(tmp_path / "bare", README__md=""))
    server.publish("me/settings", write(tmp_path / "settings", config__json="{}"))
    names = ("me/nowhere", "me/closed", "me/settings@v9", "me/bare", "me/settings", "a/b/c")
    expected = (
        "no such directory here, and no such repository at http://127.0.0.1",
        "access to it was not granted",
        "has no such revision",
        "no config.json on the Hub",
        "no weights on the Hub; expected model.safetensors",
        "expected OWNER/NAME",
    )
    for name, line, words in zip(names, fetch(server, cache, *names), expected, strict=True):
        assert line.startswith(f"error: {name}: "), line
        assert words in line, line
    [offline] = fetch(server, cache, "me/nowhere", offline=True)
    assert "HF_HUB_OFFLINE is set" in offline
    assert "cmbert import" in offline
    server.close()
    [down] = fetch(server, cache, "me/nowhere")
    assert "does not answer" in down


def test_what_is_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("me/a", "me/a.b-c@main", "me/a@" + "0" * 40, "me/a@refs/pr/1"):
        assert is_hub_name(Path(name)), name
    # A mistyped path below a directory that exists sends no request.
    for path in ("models/mistyped", "a", "/me/a", "../me/a", "./models", "me/a/b", "~/a", "me/a@"):
        assert not is_hub_name(Path(path)), path
