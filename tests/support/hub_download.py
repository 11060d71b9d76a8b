"""The part of the Hugging Face Hub's HTTP API from which the client downloads files."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class DownloadServer:
    """Repositories that are directories on this disk.

    Attributes:
        commits: directory of each commit, by repository and commit.
        heads: the commit of `main`, by repository.
        gated: repositories to which no one has access.
        requests: paths that were asked for, with their method.
    """

    def __init__(self) -> None:
        self.commits: dict[tuple[str, str], Path] = {}
        self.heads: dict[str, str] = {}
        self.gated: set[str] = set()
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *rest: Any) -> None:
                pass

            def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(code)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def handle_any(self) -> None:
                path = self.path.partition("?")[0].strip("/")
                hub.requests.append(f"{self.command} {path}")
                self.answer(*hub.respond(path))

            do_GET = do_HEAD = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def publish(self, repository: str, directory: Path) -> str:
        """Make a directory the newest commit of a repository, and return the commit."""
        number = sum(name == repository for name, _ in self.commits)
        commit = _digest(f"{repository}/{number}".encode())
        self.commits[repository, commit] = directory
        self.heads[repository] = commit
        return commit

    def respond(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            repository, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
            return self._describe(repository, revision, listing="tree" in parts)
        if parts[2:3] != ["resolve"]:
            return 404, b"", {}
        repository, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        commit = self._commit(repository, revision)
        file = self.commits[repository, commit] / name if commit else Path("/nonexistent")
        if not file.is_file():
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        content = file.read_bytes()
        return 200, content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": str(commit)}

    def _describe(self, repository: str, revision: str, listing: bool) -> tuple[int, bytes, dict[str, str]]:
        if repository in self.gated:
            return 403, b"{}", {"X-Error-Code": "GatedRepo"}
        if repository not in self.heads:
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        commit = self._commit(repository, revision)
        if commit is None:
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        paths = sorted(self.commits[repository, commit].iterdir())
        files = [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _digest(path.read_bytes())}
            for path in paths
        ]
        siblings = [{"rfilename": path.name} for path in paths]
        known = {"id": repository, "private": False, "tags": [], "siblings": siblings, "sha": commit}
        return 200, json.dumps(files if listing else known).encode(), {"Content-Type": "application/json"}

    def _commit(self, repository: str, revision: str) -> str | None:
        commit = self.heads.get(repository) if revision == "main" else revision
        return commit if (repository, commit) in self.commits else None
