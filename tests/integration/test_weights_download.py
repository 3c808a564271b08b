"""A published file arrives whole and verified, or not at all; the server is one of this test."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from swinir.cli.main import main
from swinir.errors import DownloadError
from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.weights import (
    Model,
    Origin,
    Task,
    catalog,
    download,
    download_model,
    load_checkpoint,
    write_official,
)
from swinir.weights.download import cache_folder, mirror_url

CONFIG = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=8,
    depths=(2,),
    num_heads=(2,),
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)
TIMEOUT_S = 5.0
CUT_BYTES = 20_000


def weights_file(path: Path, config: SwinIRConfig = CONFIG) -> bytes:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = SwinIR(config).state_dict()
    state = {name: torch.rand(tensor.shape, generator=generator) for name, tensor in shapes.items()}
    write_official(path, config, state, training_size_px=16)
    return path.read_bytes()


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    body = weights_file(tmp_path_factory.mktemp("body") / "a.pth")
    assert len(body) > 2 * CUT_BYTES
    return body


class Server(ThreadingHTTPServer):
    """Answers with one content, with whatever is wrong with it or with the connection."""

    daemon_threads = True
    status = 200
    content = b""
    declares_length = True
    knows_ranges = True
    # How many bytes of each answer are sent before the connection closes, or before the server falls silent.
    cut_bytes: int | None = None
    silent_after_bytes: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # Path, host and range of each request.
        self.requests: list[tuple[str, str, str | None]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client hangs up."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append((self.path, self.headers["Host"], wanted))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        content, status = server.content, server.status
        if wanted is not None and server.knows_ranges and status == 200:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            content, status = content[start:], 206
        self.send_response(status)
        if server.declares_length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: server.cut_bytes or server.silent_after_bytes])
        if server.silent_after_bytes is not None:
            server.released.wait(TIMEOUT_S)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(body: bytes) -> Iterator[Server]:
    with Server() as server:
        server.content = body
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def server(body: bytes) -> Iterator[Server]:
    with serving(body) as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWINIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def model(server: Server, body: bytes) -> Model:
    return Model(
        name="tiny-x2",
        task=Task.SUPER_RESOLUTION,
        scale=2,
        variant=None,
        origin=Origin.PUBLISHED,
        file="a.pth",
        url=f"{server.url}/file",
        sha256=hashlib.sha256(body).hexdigest(),
        size_bytes=len(body),
        licence="CC0",
        figures={},
    )


def assert_fails(model: Model, complaint: str, timeout_s: float = TIMEOUT_S) -> None:
    with pytest.raises(DownloadError, match=complaint) as caught:
        download_model(model, timeout_s=timeout_s)
    assert "\n" not in str(caught.value)
    assert f"or save {model.url}" in str(caught.value)


def assert_nothing_arrives(model: Model, cache: Path, complaint: str, timeout_s: float = TIMEOUT_S) -> None:
    assert_fails(model, complaint, timeout_s)
    assert not list(cache.iterdir())


def ranges(server: Server) -> list[str | None]:
    return [wanted for _, _, wanted in server.requests]


def test_file_arrives_and_loads(model: Model, cache: Path, body: bytes) -> None:
    path = download_model(model, timeout_s=TIMEOUT_S)
    assert path == cache / "a.pth"
    assert path.read_bytes() == body
    assert [file.name for file in cache.iterdir()] == ["a.pth"]
    assert load_checkpoint(path)[0] == CONFIG
    assert catalog.is_available(model)


def test_redirect_is_followed(model: Model, server: Server) -> None:
    assert download_model(replace(model, url=f"{server.url}/moved"), timeout_s=TIMEOUT_S).is_file()


def test_progress_ends_at_the_whole(model: Model, server: Server, body: bytes) -> None:
    server.cut_bytes = CUT_BYTES
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
    assert len(server.requests) == 1


def test_damaged_file_is_fetched_again(model: Model, cache: Path, body: bytes) -> None:
    cache.mkdir()
    (cache / "a.pth").write_bytes(body[:-1])
    assert download_model(model, timeout_s=TIMEOUT_S).read_bytes() == body


def test_broken_connection_is_taken_up_again_where_it_broke(
    model: Model, server: Server, body: bytes
) -> None:
    server.cut_bytes = CUT_BYTES
    assert download_model(model, timeout_s=TIMEOUT_S).read_bytes() == body
    begins = range(CUT_BYTES, len(body), CUT_BYTES)
    assert ranges(server) == [None, *(f"bytes={begin}-" for begin in begins)]


def test_silence_in_the_middle_is_taken_up_again(model: Model, server: Server, body: bytes) -> None:
    server.silent_after_bytes = len(body) // 2 + 1
    assert download_model(model, timeout_s=0.2).read_bytes() == body
    assert len(server.requests) == 2


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_next_attempt_goes_on_from_what_has_arrived(
    model: Model, server: Server, cache: Path, body: bytes, knows_ranges: bool
) -> None:
    cache.mkdir()
    (cache / "a.pth.part").write_bytes(body[:CUT_BYTES])
    server.knows_ranges = knows_ranges
    assert download_model(model, timeout_s=TIMEOUT_S).read_bytes() == body
    assert ranges(server) == [f"bytes={CUT_BYTES}-"]
    assert [file.name for file in cache.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("surplus", [0, 1, 1000])
def test_what_is_left_of_another_file_is_thrown_away(
    model: Model, cache: Path, body: bytes, surplus: int
) -> None:
    cache.mkdir()
    (cache / "a.pth.part").write_bytes(b"x" * (CUT_BYTES if surplus == 0 else len(body) - 1 + surplus))
    assert download_model(model, timeout_s=TIMEOUT_S).read_bytes() == body


def test_connection_that_breaks_for_good_keeps_what_arrived(
    model: Model, server: Server, cache: Path, body: bytes
) -> None:
    server.cut_bytes, server.knows_ranges = CUT_BYTES, False
    assert_fails(
        model, f"{CUT_BYTES} bytes arrived, then the connection broke .* goes on from what has arrived"
    )
    assert {file.name: file.read_bytes() for file in cache.iterdir()} == {
        "a.pth.part": body[:CUT_BYTES],
        "a.pth.lock": b"",
    }


def test_error_page_is_not_kept(model: Model, server: Server, cache: Path) -> None:
    server.status = 404
    assert_nothing_arrives(model, cache, "the server answers 404 Not Found: try again later")


def test_page_in_place_of_a_file_is_not_kept(model: Model, server: Server, cache: Path) -> None:
    server.content = b"<!DOCTYPE html><title>Sign in</title>"
    assert_nothing_arrives(model, cache, "37 bytes arrived instead of")
    unknown = replace(model, sha256=None, size_bytes=None)
    assert_nothing_arrives(unknown, cache, "what arrived is no weights file")


def test_other_content_of_the_same_size_is_not_kept(model: Model, server: Server, cache: Path) -> None:
    server.content = b"x" + server.content[1:]
    assert_nothing_arrives(model, cache, f"has sha256 .* instead of {model.sha256}")


def test_answer_that_ends_early_without_a_length_is_not_kept(
    model: Model, server: Server, cache: Path
) -> None:
    server.content, server.declares_length = server.content[:1000], False
    assert_nothing_arrives(model, cache, "1000 of .* bytes arrived")


def test_endless_answer_is_cut(model: Model, server: Server, cache: Path) -> None:
    server.content += bytes(1_000_000)
    server.declares_length = False
    assert_nothing_arrives(model, cache, "the server sends more than")


def test_unknown_hash_is_replaced_by_a_look_inside(
    model: Model, server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "VARIANTS", {"tiny": CONFIG, "tinier": replace(CONFIG, embed_dim=4)})
    unknown = replace(model, sha256=None, size_bytes=None, variant="tiny")
    assert download_model(unknown, timeout_s=TIMEOUT_S).is_file()
    (cache / "a.pth").unlink()
    server.content = weights_file(tmp_path / "other.pth", replace(CONFIG, embed_dim=4))
    assert_nothing_arrives(unknown, cache, "another network than tiny")


def test_no_connection_says_what_to_fetch_and_where_to_put_it(model: Model, cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        wanted = f"or save {url} (sha256 {model.sha256}) as {cache / 'a.pth'} yourself"
        assert_nothing_arrives(
            replace(model, url=url), cache, f"no connection .*refused.*{re.escape(wanted)}"
        )


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


def test_stop_by_the_user_keeps_what_has_arrived(
    model: Model, server: Server, cache: Path, body: bytes
) -> None:
    def interrupt(received_bytes: int, total_bytes: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_model(model, progress=interrupt, timeout_s=TIMEOUT_S)
    assert (cache / "a.pth.part").is_file()
    assert not (cache / "a.pth").exists()
    assert download_model(model, timeout_s=TIMEOUT_S).read_bytes() == body
    assert ranges(server)[1] is not None


def test_two_that_fetch_one_file_fetch_it_once(model: Model, server: Server, body: bytes) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: download_model(model, timeout_s=TIMEOUT_S), range(2)))
    assert [path.read_bytes() for path in paths] == [body, body]
    assert len(server.requests) == 1


def test_cache_that_cannot_be_made_is_named(model: Model, cache: Path) -> None:
    cache.touch()
    with pytest.raises(DownloadError, match=r"cache/a\.pth cannot be written .*SWINIR_CACHE"):
        download_model(model, timeout_s=TIMEOUT_S)


def test_bundled_model_has_no_address(model: Model) -> None:
    with pytest.raises(ValueError, match="comes with the package"):
        download_model(replace(model, url=None))


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("", "https://a/b/c.pth"),
        ("https://m/x", "https://m/x/c.pth"),
        ("https://m/x/", "https://m/x/c.pth"),
        ("https://proxy/{url}", "https://proxy/https://a/b/c.pth"),
        ("https://m/{file}?raw=1", "https://m/c.pth?raw=1"),
    ],
)
def test_a_mirror_is_a_folder_or_a_pattern(mirror: str, url: str) -> None:
    assert mirror_url("https://a/b/c.pth", mirror) == url


def test_file_comes_from_the_mirror_and_is_checked_alike(
    model: Model, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = replace(model, url="http://nowhere.invalid/a.pth")
    download_model(away, mirror=server.url, timeout_s=TIMEOUT_S)
    assert [path for path, _, _ in server.requests] == ["/a.pth"]
    (cache / "a.pth").unlink()
    monkeypatch.setenv("SWINIR_MIRROR", f"{server.url}/folder/")
    server.content = b"x" + server.content[1:]
    with pytest.raises(DownloadError, match="sha256"):
        download_model(away, timeout_s=TIMEOUT_S)
    assert server.requests[-1][0] == "/folder/a.pth"


def test_proxy_of_the_environment_is_used(
    model: Model, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    download_model(replace(model, url="http://weights.example/file"), timeout_s=TIMEOUT_S)
    assert server.requests == [("http://weights.example/file", "weights.example", None)]


def test_nothing_is_fetched_while_offline_is_wanted(
    model: Model, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert_fails(model, f"HF_HUB_OFFLINE is set: .* as {re.escape(str(cache / 'a.pth'))} yourself")
    assert server.requests == []


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


def test_command_fetches_into_the_folder_that_is_named(
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: bytes,
) -> None:
    monkeypatch.setattr(catalog, "released_models", lambda: {model.name: model})
    assert main(["models", "download", "tiny-x2", "--dir", str(tmp_path / "models")]) == 0
    assert (tmp_path / "models" / "a.pth").read_bytes() == body
    shown = capsys.readouterr().out.replace("\n", "")
    assert f"tiny-x2 -> {tmp_path / 'models' / 'a.pth'}" in shown
    assert (
        main(
            [
                "models",
                "download",
                "tiny-x2",
                "--dir",
                str(tmp_path / "b"),
                "--mirror",
                "http://nowhere.invalid",
            ]
        )
        == 1
    )
    assert not list((tmp_path / "b").iterdir())
