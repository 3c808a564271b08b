"""A stand-in for the Hugging Face Hub: repositories in memory, behind that part of its interface that is used."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class Hub(ThreadingHTTPServer):
    """Repositories as branches of commits, a commit being its files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.objects: dict[str, bytes] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.requests: list[str] = []
        self.token: str | None = None
        self.loses_uploads = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo: str, files: Files, branch: str = "main") -> str:
        """Add files to a branch and return the commit."""
        branches = self.branches.setdefault(repo, {})
        before = self.commits.get(branches.get(branch, ""), {})
        after = before | files
        name = hashlib.sha1(repr((repo, sorted(after.items()), branches)).encode()).hexdigest()
        self.commits[name] = after
        branches[branch] = name
        return name

    def files(self, repo: str, revision: str = "main") -> Files:
        branches = self.branches[repo]
        return self.commits[branches.get(revision, revision)]

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client hangs up."""


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, code: str, status: int = 404) -> None:
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts: list[bytes] = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def files_of(self, repo: str, revision: str) -> tuple[str, Files] | None:
        """Return a commit and its files, or refuse."""
        if repo in self.server.gated:
            self.refuse("GatedRepo", 403)
        elif repo not in self.server.branches:
            self.refuse("RepoNotFound")
        elif (commit := self.server.branches[repo].get(revision, revision)) not in self.server.commits:
            self.refuse("RevisionNotFound")
        else:
            return commit, self.server.commits[commit]
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[0] != "api":
            repo, revision, file = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
            if (found := self.files_of(repo, revision)) is None:
                return
            commit, files = found
            if file not in files:
                self.refuse("EntryNotFound")
                return
            self.answer(
                files[file], ETag=f'"{hashlib.sha256(files[file]).hexdigest()}"', X_Repo_Commit=commit
            )
            return
        repo, kind = "/".join(parts[2:4]), parts[4] if len(parts) > 4 else "revision"
        if (found := self.files_of(repo, parts[5] if len(parts) > 5 else "main")) is None:
            return
        commit, files = found
        if kind == "tree":
            self.answer(
                [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for name, content in files.items()
                ]
            )
        else:
            self.answer({"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]})

    def do_PUT(self) -> None:
        content = self.body()
        if self.server.loses_uploads:
            self.answer({"error": "lost"}, 400)
            return
        self.server.objects[hashlib.sha256(content).hexdigest()] = content
        self.answer({})

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"POST {path}")
        body = self.body()
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.answer({"error": "Invalid username or password."}, 401)
            return
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            self.answer(
                {
                    "transfer": "basic",
                    "objects": [
                        wanted
                        | {"actions": {"upload": {"href": f"{self.server.url}/upload/{wanted['oid']}"}}}
                        for wanted in json.loads(body)["objects"]
                    ],
                }
            )
        elif parts[4] == "preupload":
            self.answer(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                            "shouldIgnore": False,
                        }
                        for file in json.loads(body)["files"]
                    ]
                }
            )
        elif parts[4] == "branch":
            repo = "/".join(parts[2:4])
            branches = self.server.branches[repo]
            branches.setdefault(parts[5], branches["main"])
            self.answer({})
        else:
            self.receive_commit("/".join(parts[2:4]), parts[5], body)

    def create(self, wanted: dict[str, object]) -> None:
        repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if repo in self.server.branches:
            self.answer({"error": "exists", "url": f"{self.server.url}/{repo}"}, 409)
            return
        self.server.commit(repo, {".gitattributes": b""})
        if wanted.get("private") or wanted.get("visibility") == "private":
            self.server.private.add(repo)
        self.answer({"url": f"{self.server.url}/{repo}", "name": repo, "id": repo})

    def receive_commit(self, repo: str, branch: str, body: bytes) -> None:
        files: Files = {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        commit = self.server.commit(repo, files, branch)
        self.answer(
            {
                "success": True,
                "commitOid": commit,
                "commitUrl": f"{self.server.url}/{repo}/commit/{commit}",
                "hookOutput": "",
            }
        )


@contextmanager
def serving_hub() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()
