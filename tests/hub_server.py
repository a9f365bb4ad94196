"""A small Hugging Face hub on the loopback address, for the hub's own client: repositories, commits, large files and tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN, USER = "hf_the_secret_of_this_test", "tester"
LARGE = (".safetensors", ".png")  # files that are kept outside of git


@dataclass
class Repository:
    """A repository: its commits, each a table of files, and what it asks of readers."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit with these files; return its id."""
        state = json.dumps([len(self.commits), {name: hashlib.sha1(content).hexdigest() for name, content in files.items()}])
        commit = hashlib.sha1(state.encode()).hexdigest()
        self.commits[commit], self.branches[branch] = files, commit
        return commit

    def files(self, revision: str = "main") -> dict[str, bytes] | None:
        """Return the files of a branch or commit."""
        return self.commits.get(self.branches.get(revision, revision))


class Hub:
    """The state of the hub.

    Attributes:
        repositories: by id.
        large: contents by SHA-256.
        claimed: sizes that the hub claims of files, by path, instead of the true ones.
        broken: kinds of requests ("commit", "content") after half of which the connection breaks off.
        asked: the method and the path of every request.
        sent: number of times that a large file was received.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.claimed: dict[str, int] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.sent = 0
        self.address = ""


def oid(content: bytes, name: str) -> str:
    """Return by what the hub knows a content: the SHA-256 of a large file, the git hash of another."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer by the path, with a refusal of wrong tokens first."""
        self.hub.asked.append(f"{self.command} {self.path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(self._chunks())
        path = unquote(urlsplit(self.path).path)
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.user = USER if given == TOKEN else None
        if given and self.user is None and not path.startswith("/lfs/"):
            self._refuse(401, "", "Invalid credentials in Authorization header")
            return
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, path):
                answer(self, *found.groups())
                return
        self._refuse(404, "", "no such page")

    do_HEAD = do_POST = do_PUT = do_GET

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200) -> None:
        self._answer(json.dumps(value).encode(), status, Content_Type="application/json")

    def _refuse(self, status: int, code: str, message: str) -> None:
        echo = f"{message} ({self.headers.get('Authorization', 'no token')})" if status == 418 else message
        self._answer(json.dumps({"error": echo}).encode(), status, X_Error_Code=code, X_Error_Message=echo)

    def _repository(self, name: str) -> Repository | None:
        """Return a repository that may be read, or refuse."""
        found = self.hub.repositories.get(name)
        if found is None or (found.private and self.user is None):
            self._refuse(404 if self.user else 401, "RepoNotFound", "Repository not found")
        elif found.gated:
            self._refuse(403, "GatedRepo", f"Access to model {name} is restricted")
        else:
            return found
        return None

    def whoami(self) -> None:
        """Tell whose the token is."""
        self._json({"name": USER, "type": "user"}) if self.user else self._refuse(401, "", "who?")

    def info(self, name: str, revision: str = "main") -> None:
        """Tell the files of a repository, and what its card says."""
        repository = self._repository(name)
        if repository is None:
            return
        if (files := repository.files(revision)) is None:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        commit = repository.branches.get(revision, revision)
        siblings = [{"rfilename": path, "size": self.hub.claimed.get(path, len(files[path]))} for path in files]
        front = re.match(rb"---\n(.*?)\n---\n", files.get("README.md", b""), re.DOTALL)
        card = yaml.safe_load(front[1]) if front else None
        self._json({"id": name, "sha": commit, "private": repository.private, "siblings": siblings, "cardData": card})

    def resolve(self, name: str, revision: str, path: str) -> None:
        """Send a file, or a part of it."""
        repository = self._repository(name)
        if repository is None:
            return
        content = (repository.files(revision) or {}).get(path)
        commit = repository.branches.get(revision, revision)
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"ETag": f'"{oid(content, path)}"', "X_Repo_Commit": commit}
        if self.command == "HEAD":
            self._answer(content, **headers)
        elif self.hub.broken & {"content", "gone"} and path.endswith(LARGE):
            self._break(content, headers)
        else:
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            self._answer(content[int(start[1]) :] if start else content, 206 if start else 200, **headers)

    def _break(self, content: bytes, headers: dict[str, str]) -> None:
        """Send half of a file, and from then on nothing."""
        if "gone" in self.hub.broken:
            self._refuse(503, "", "out of order")
            return
        self.hub.broken.add("gone")
        self.send_response(200)
        for header, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.close_connection = True

    def create(self) -> None:
        """Make a repository."""
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        if self.user is None or not name.startswith(f"{USER}/"):
            self._refuse(403 if self.user else 401, "", "You don't have the rights to create a model under this namespace")
        elif name in self.hub.repositories:
            self._json({"error": "You already created this model repo", "url": f"{self.hub.address}/{name}"}, 409)
        else:
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            self.hub.repositories[name] = Repository(private)
            self.hub.repositories[name].commit({".gitattributes": b""})
            self._json({"url": f"{self.hub.address}/{name}"})

    def validate(self) -> None:
        """Check the front matter of a card: YAML of a table with a licence, and figures in the hub's form."""
        front = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.DOTALL)
        card = yaml.safe_load(front[1]) if front else {}
        wrong = [f'"{name}" is missing' for name in ("license", "tags", "library_name") if not card.get(name)]
        for model in card.get("model-index", ()):
            for result in model["results"]:
                wrong += [f"no {key}" for key in ("task", "dataset", "metrics") if "type" not in str(result.get(key))]
        self._json({"errors": [{"message": message} for message in wrong], "warnings": []}, 400 if wrong else 200)

    def preupload(self, name: str, revision: str) -> None:
        """Tell of each file how to upload it, and what is there."""
        there = self.hub.repositories[name].files(revision) or {}
        told = [
            {
                "path": (path := file["path"]),
                "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": oid(there[path], path) if path in there else None,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._json({"files": told})

    def batch(self, name: str) -> None:
        """Tell where to send the large files that are not there yet."""
        objects: list[dict[str, Any]] = [{"oid": one["oid"], "size": one["size"]} for one in json.loads(self.body)["objects"]]
        for one in objects:
            if one["oid"] not in self.hub.large:
                one["actions"] = {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}
        self._json({"transfer": "basic", "objects": objects})

    def receive(self, digest: str) -> None:
        """Receive a large file."""
        if hashlib.sha256(self.body).hexdigest() != digest:
            self._refuse(400, "", "not what was announced")
            return
        self.hub.large[digest] = self.body
        self.hub.sent += 1
        self._answer(b"")

    def commit(self, name: str, revision: str) -> None:
        """Make a commit."""
        if "commit" in self.hub.broken:
            self.close_connection = True
            return
        repository = self.hub.repositories[name]
        files = dict(repository.files(revision) or {})
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(files, revision)
        self._json({"commitUrl": f"{self.hub.address}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def teapot(self, *_: str) -> None:
        """Refuse in an unusual way, and repeat what was sent, the token too."""
        self._refuse(418, "", "I'm a teapot")


_NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    (r"/api/whoami-v2", Handler.whoami),
    (r"/api/models/tester/teapot.*", Handler.teapot),
    (rf"/api/models/{_NAME}/revision/(.+)", Handler.info),
    (rf"/api/models/{_NAME}/preupload/(.+)", Handler.preupload),
    (rf"/api/models/{_NAME}/commit/(.+)", Handler.commit),
    (rf"/api/models/{_NAME}", Handler.info),
    (r"/api/repos/create", Handler.create),
    (r"/api/validate-yaml", Handler.validate),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (r"/lfs/([0-9a-f]{64})", Handler.receive),
    (rf"/{_NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
)


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub within the context."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
