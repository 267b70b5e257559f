"""Drawn pictures, tables of them, and a hub of our own that answers as the real one does."""

import io
import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def draw() -> Callable[[int], Image.Image]:
    """The picture of a number: coarse random blocks, unlike those of any other number."""

    def draw(number: int) -> Image.Image:
        dice = random.Random(number)
        blocks = Image.new("RGB", (7, 7))
        blocks.putdata([tuple(dice.randrange(256) for _ in range(3)) for _ in range(49)])
        return blocks.resize((56, 56), Image.Resampling.NEAREST)

    return draw


@pytest.fixture
def png(draw: Callable[[int], Image.Image]) -> Callable[[int], bytes]:
    """The same, as a PNG file's bytes."""

    def png(number: int) -> bytes:
        data = io.BytesIO()
        draw(number).save(data, "PNG")
        return data.getvalue()

    return png


@pytest.fixture
def table_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the `datasets` library's own files out of the user's cache."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets_cache")


@pytest.fixture
def parquet(tmp_path: Path, table_reader: None) -> Callable[..., Path]:
    """Writes rows as one split's parquet file, in the hub's layout, under a folder's name."""

    def write(
        rows: list[dict[str, Any]], folder: str = "table", split: str = "train", **features: Any
    ) -> Path:
        import pyarrow
        import pyarrow.parquet

        target = tmp_path / folder / "data"
        target.mkdir(parents=True, exist_ok=True)
        table = pyarrow.Table.from_pylist(rows)
        if features:
            from datasets import Features

            table = table.cast(Features(features).arrow_schema)
        pyarrow.parquet.write_table(table, target / f"{split}-00000-of-00001.parquet")
        return target.parent

    return write


@pytest.fixture
def unsafe_concepts(parquet: Callable[..., Path], png: Callable[[int], bytes]) -> Path:
    """A small UnsafeConcepts as the hub has it: eight pictures of three concepts, one split."""
    kinds = (
        [("Hate", "Swastika")] * 5
        + [("Violence", "Torture")] * 2
        + [("Deception", "The Illuminati")]
    )
    return parquet(
        [
            {
                "image": {"bytes": png(number), "path": f"{number}.png"},
                "category": category,
                "unsafe_concept": concept,
            }
            for number, (category, concept) in enumerate(kinds)
        ],
        "UnsafeConcepts",
    )


@dataclass
class FakeHub:
    """What the hub holds, who may see it, and what it was asked."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    broken: bool = False
    asked: list[str] = field(default_factory=list)

    def add(self, repo_id: str, folder: Path, *, gated: bool = False) -> None:
        self.files[repo_id] = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        if gated:
            self.gated.add(repo_id)


class _Answers(BaseHTTPRequestHandler):
    """The four addresses a download asks for, with the hub's own error headers."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(("/datasets/", "/api/datasets/")):
            self.hub.asked.append(path)  # the library also asks for things of its own
        if self.hub.broken:
            return self._refuse(500, "", "Internal Error")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        parts = path.strip("/").removeprefix("api/").split("/")
        repo_id = "/".join(parts[1:3])
        if parts[0] != "datasets" or repo_id not in self.hub.files:
            return self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        verb, revision = parts[3], parts[4]
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = self.hub.files[repo_id]
        if verb == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self._answer_json({"id": repo_id, "sha": COMMIT, "siblings": siblings})
        if verb == "tree":
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": str(len(data))}
                for name, data in files.items()
            ]
            return self._answer_json(entries)
        if repo_id in self.hub.gated and token not in self.hub.granted:
            message = f"Access to dataset {repo_id} is restricted."
            return self._refuse(403 if token else 401, "GatedRepo", message)
        name = "/".join(parts[5:])
        if name not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        return self._answer(200, files[name], {"ETag": f'"{hash(name)}"'})

    def _answer_json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(status, json.dumps({"error": message}).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"X-Repo-Commit": COMMIT}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine that `huggingface_hub` talks to; no token, an empty cache."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    held = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": held}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    held.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", held.url)
    template = held.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    close_session()
    yield held
    close_session()
    server.shutdown()
    thread.join()
    server.server_close()
