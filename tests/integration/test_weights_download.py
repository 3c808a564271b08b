"""A published file arrives whole and verified, or not at all; the server is one of this test."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from swinir.errors import DownloadError
from swinir.model import VARIANTS, SwinIR, SwinIRConfig
from swinir.weights import Model, Origin, Task, catalog, download_model, load_checkpoint, write_official
from swinir.weights.download import cache_folder

CONFIG = VARIANTS["lightweight-x2"]
TIMEOUT_S = 5.0


def weights_file(path: Path, config: SwinIRConfig = CONFIG) -> bytes:
    with torch.device("meta"):
        shapes = SwinIR(config).state_dict()
    zeros = {name: torch.zeros(tensor.shape) for name, tensor in shapes.items()}
    write_official(path, config, zeros, training_size_px=16)
    return path.read_bytes()


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return weights_file(tmp_path_factory.mktemp("body") / "a.pth")


class Server(ThreadingHTTPServer):
    """Answers every request with one status, body and declared length."""

    daemon_threads = True
    status = 200
    content = b""
    declared_bytes: int | None = None
    num_requests = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client hangs up."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.num_requests += 1
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        self.send_response(self.server.status)
        if self.server.declared_bytes is not None:
            self.send_header("Content-Length", str(self.server.declared_bytes))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(body: bytes) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.content = body
        server.declared_bytes = len(body)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWINIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture
def model(server: Server, body: bytes) -> Model:
    return Model(
        name="published-lightweight-x2",
        task=Task.SUPER_RESOLUTION,
        scale=2,
        variant="lightweight-x2",
        origin=Origin.PUBLISHED,
        file="a.pth",
        url=f"http://127.0.0.1:{server.server_port}/file",
        sha256=hashlib.sha256(body).hexdigest(),
        size_bytes=len(body),
        licence="CC0",
        figures={},
    )


def assert_nothing_arrives(model: Model, cache: Path, complaint: str, timeout_s: float = TIMEOUT_S) -> None:
    with pytest.raises(DownloadError, match=complaint) as caught:
        download_model(model, timeout_s=timeout_s)
    assert "\n" not in str(caught.value)
    assert not list(cache.iterdir())


def test_file_arrives_and_loads(model: Model, cache: Path, body: bytes) -> None:
    path = download_model(model, timeout_s=TIMEOUT_S)
    assert path == cache / "a.pth"
    assert path.read_bytes() == body
    assert [file.name for file in cache.iterdir()] == ["a.pth"]
    assert load_checkpoint(path)[0] == CONFIG
    assert catalog.is_available(model)


def test_redirect_is_followed(model: Model, server: Server) -> None:
    moved = replace(model, url=f"http://127.0.0.1:{server.server_port}/moved")
    assert download_model(moved, timeout_s=TIMEOUT_S).is_file()


def test_progress_ends_at_the_whole(model: Model, body: bytes) -> None:
    reports: list[tuple[int, int | None]] = []
    download_model(
        model, progress=lambda received, total: reports.append((received, total)), timeout_s=TIMEOUT_S
    )
    assert len(reports) > 1
    assert reports == sorted(reports)
    assert reports[-1] == (len(body), len(body))


def test_whole_file_is_not_fetched_again(model: Model, server: Server) -> None:
    download_model(model, timeout_s=TIMEOUT_S)
    download_model(model, timeout_s=TIMEOUT_S)
    assert server.num_requests == 1


def test_damaged_file_is_fetched_again(model: Model, cache: Path, body: bytes) -> None:
    cache.mkdir()
    (cache / "a.pth").write_bytes(body[:-1])
    assert download_model(model, timeout_s=TIMEOUT_S).read_bytes() == body


def test_error_page_is_not_kept(model: Model, server: Server, cache: Path) -> None:
    server.status = 404
    assert_nothing_arrives(model, cache, "the server answers 404 Not Found: try again later")


def test_page_in_place_of_a_file_is_not_kept(model: Model, server: Server, cache: Path) -> None:
    server.content = b"<!DOCTYPE html><title>Sign in</title>"
    server.declared_bytes = len(server.content)
    assert_nothing_arrives(model, cache, "37 bytes arrived instead of")
    unknown = replace(model, sha256=None, size_bytes=None)
    assert_nothing_arrives(unknown, cache, "what arrived is no weights file")


def test_other_content_of_the_same_size_is_not_kept(model: Model, server: Server, cache: Path) -> None:
    server.content = b"x" + server.content[1:]
    assert_nothing_arrives(model, cache, "sha256")


def test_connection_that_breaks_is_named(model: Model, server: Server, cache: Path) -> None:
    server.content = server.content[:1000]
    assert_nothing_arrives(model, cache, "1000 of .* bytes arrived")


def test_endless_answer_is_cut(model: Model, server: Server, cache: Path) -> None:
    server.content += bytes(1_000_000)
    server.declared_bytes = None
    assert_nothing_arrives(model, cache, "the server sends more than")


def test_unknown_hash_is_replaced_by_a_look_inside(
    model: Model, server: Server, cache: Path, tmp_path: Path
) -> None:
    unknown = replace(model, sha256=None, size_bytes=None)
    assert download_model(unknown, timeout_s=TIMEOUT_S).is_file()
    (cache / "a.pth").unlink()
    server.content = weights_file(tmp_path / "other.pth", VARIANTS["lightweight-x3"])
    server.declared_bytes = len(server.content)
    assert_nothing_arrives(unknown, cache, "another network than lightweight-x2")


def test_no_connection_is_one_sentence(model: Model, cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        offline = replace(model, url=f"http://127.0.0.1:{unused.getsockname()[1]}/file")
        assert_nothing_arrives(offline, cache, "no connection .*refused.* or save http://.* yourself")


def test_unknown_host_is_one_sentence(model: Model, cache: Path) -> None:
    assert_nothing_arrives(replace(model, url="http://nowhere.invalid/file"), cache, "no connection")


def test_silent_server_is_given_up(model: Model, cache: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        waiting = replace(model, url=f"http://127.0.0.1:{silent.getsockname()[1]}/file")
        assert_nothing_arrives(waiting, cache, "no connection .*timed out", timeout_s=0.2)


def test_server_that_speaks_something_else_is_named(model: Model, cache: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def greet() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ready\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        waiting = replace(model, url=f"http://127.0.0.1:{other.getsockname()[1]}/file")
        assert_nothing_arrives(waiting, cache, "no connection")
        thread.join()


def test_stop_by_the_user_leaves_nothing(model: Model, cache: Path) -> None:
    def interrupt(received_bytes: int, total_bytes: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_model(model, progress=interrupt, timeout_s=TIMEOUT_S)
    assert not list(cache.iterdir())


def test_cache_that_cannot_be_made_is_named(model: Model, cache: Path) -> None:
    cache.touch()
    with pytest.raises(DownloadError, match=r"cache cannot be created .*SWINIR_CACHE"):
        download_model(model, timeout_s=TIMEOUT_S)


def test_bundled_model_has_no_address(model: Model) -> None:
    with pytest.raises(ValueError, match="comes with the package"):
        download_model(replace(model, url=None))


def test_cache_is_chosen_when_it_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWINIR_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("SWINIR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/swinir")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "swinir"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "swinir"
