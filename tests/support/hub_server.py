"""The part of the Hugging Face Hub's HTTP API that creates a repository and commits a folder to it."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HubServer:
    """Repositories in memory.

    Attributes:
        repositories: whether each is private, by name.
        files: contents of commits, by repository and path.
        blobs: large files by their sha256.
        received: bytes of large files received.
        failures: path prefixes; the next request that matches one gets status 500, once per entry.
        tokens: authorization headers received.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, bool] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.received = 0
        self.failures: list[str] = []
        self.tokens: set[str] = set()
        self.refuse = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *rest: Any) -> None:
                pass

            def answer(self, content: Any, code: int = 200) -> None:
                body = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.tokens.add(self.headers.get("Authorization", ""))
                path = self.path.partition("?")[0]
                failing = next((one for one in hub.failures if path.startswith(one)), None)
                if failing is not None:
                    hub.failures.remove(failing)
                    self.answer({"error": "broken"}, 500)
                elif hub.refuse:
                    self.answer({"error": "refused"}, 401)
                else:
                    self.answer(*hub.respond(self.command, path, body))

            do_GET = do_POST = do_PUT = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, method: str, path: str, body: bytes) -> tuple[Any, int]:
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}, 200
        if path.startswith("/blobs/"):
            if hashlib.sha256(body).hexdigest() != parts[1]:
                return {"error": "other content"}, 400
            self.blobs[parts[1]] = body
            self.received += len(body)
            return {}, 200
        if path.endswith("/info/lfs/objects/batch"):
            return {"transfer": "basic", "objects": [self._object(one) for one in json.loads(body)["objects"]]}, 200
        if path.startswith("/api/models/"):
            repository = "/".join(parts[2:4])
            if method == "GET":
                known = {"id": repository, "private": self.repositories[repository], "tags": [], "siblings": []}
                return {**known, "sha": "0" * 40}, 200
            if "preupload" in parts:
                modes = [
                    {"path": one["path"], "uploadMode": self._mode(one["path"]), "shouldIgnore": False}
                    for one in json.loads(body)["files"]
                ]
                return {"files": modes}, 200
            if "commit" in parts:
                self._commit(repository, body)
                return {"commitUrl": f"{self.address}/{repository}/commit/1", "commitOid": "1" * 40}, 200
        return {"error": f"unknown: {method} {path}"}, 404

    def _create(self, request: dict[str, Any]) -> tuple[Any, int]:
        name = f"{request.get('organization') or 'someone'}/{request['name']}"
        answer = {"url": f"{self.address}/{name}", "name": name, "id": name}
        if name in self.repositories:
            return {**answer, "error": "You already created this model repo"}, 409
        self.repositories[name] = bool(request.get("private")) or request.get("visibility") == "private"
        return answer, 200

    @staticmethod
    def _mode(path: str) -> str:
        return "lfs" if path.endswith(".safetensors") else "regular"

    def _object(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.blobs:
            return one
        return {**one, "actions": {"upload": {"href": f"{self.address}/blobs/{one['oid']}", "header": {}}}}

    def _commit(self, repository: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[repository, value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[repository, value["path"]] = self.blobs[value["oid"]]
