"""What goes wrong around a job harms that job at most."""

import sqlite3
import struct
import zlib

import pytest
from pictures import picture
from stubs import HeldRestorer, wait_until

from swinir import imaging
from swinir.server import service as service_module
from swinir.server.service import Service


class FakeRestorer(HeldRestorer):
    """Restores at once, and fails on pictures of one width."""

    def __init__(self, broken_width: int | None = None) -> None:
        super().__init__()
        self.broken_width = broken_width
        self.is_released.set()

    def _enlarge(self, image: imaging.Image) -> imaging.Image:
        if image.width == self.broken_width:
            raise RuntimeError("a fault of the program")
        return super()._enlarge(image)


@pytest.fixture
def start(serve, monkeypatch):
    """Start a service whose restorer is a stub; return its client, the service and the stub."""

    def start(restorer: HeldRestorer | None = None, **options):
        client = serve(**options)
        service: Service = client.app.state.service
        restorer = restorer or FakeRestorer()
        wait_until(lambda: service._is_loaded, 60)
        monkeypatch.setattr(service.models, "load", lambda name: restorer)
        return client, service, restorer

    return start


def post(client, content: bytes, **query) -> str:
    response = client.post("/v1/jobs", content=content, params={"scale": 2} | query)
    assert response.status_code == 202, response.text
    return response.json()["id"]


def state_of(client, job: str) -> str:
    return client.get(f"/v1/jobs/{job}").json().get("state", "unknown")


def hold(client, restorer) -> str:
    """Keep the only worker busy, so that what comes next waits together."""
    restorer.is_released.clear()
    first = post(client, picture(700, 700))
    assert restorer.has_begun.wait(60)
    return first


def test_one_bad_picture_of_several_together_fails_alone(start, caplog):
    client, _, restorer = start(FakeRestorer(broken_width=31))
    hold(client, restorer)
    jobs = [post(client, picture(width)) for width in (24, 31, 25)]
    restorer.is_released.set()
    wait_until(lambda: {state_of(client, job) for job in jobs} <= {"done", "failed"}, 60)
    assert [state_of(client, job) for job in jobs] == ["done", "failed", "done"]
    assert "Traceback" not in client.get(f"/v1/jobs/{jobs[1]}").text
    assert "a fault of the program" in caplog.text


def test_a_job_that_is_cancelled_is_left_out_of_those_together(start):
    client, service, restorer = start()
    hold(client, restorer)
    jobs = [post(client, picture(width)) for width in (24, 25, 26)]
    read: list[str] = []
    original = service.read
    service.read = lambda job_id: read.append(job_id) or original(job_id)
    service.find(jobs[1]).is_cancelled.set()
    restorer.is_released.set()
    wait_until(lambda: all(state_of(client, job) in ("done", "cancelled") for job in jobs), 60)
    assert [state_of(client, job) for job in jobs] == ["done", "cancelled", "done"]
    assert jobs[1] not in read


def test_results_never_take_more_than_their_disk_space(start):
    client, service, _ = start(max_disk_bytes=20_000)
    job = post(client, picture(100, 100))
    wait_until(lambda: state_of(client, job) == "failed", 60)
    assert client.get(f"/v1/jobs/{job}").json()["message"].startswith("the results fill the disk space")
    assert service.files.num_bytes() < 20_000
    small = post(client, picture())
    wait_until(lambda: state_of(client, small) == "done", 60)


def test_a_job_that_cannot_be_stored_is_refused_and_leaves_nothing(start, monkeypatch):
    client, service, _ = start()
    with monkeypatch.context() as patch:
        patch.setattr(service._store, "add", _disk_full)
        assert client.post("/v1/jobs", content=picture(), params={"scale": 2}).status_code == 507
    assert not list(service.files.folder.iterdir())
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


def test_a_state_that_cannot_be_stored_is_stored_when_there_is_space(start, monkeypatch):
    monkeypatch.setattr(service_module, "SWEEP_S", 0.05)
    client, service, _ = start()
    with monkeypatch.context() as patch:
        patch.setattr(service._store, "update", _disk_full)
        job = post(client, picture())
        wait_until(lambda: state_of(client, job) == "done", 60)
        assert service._store.get(job).state == "queued"
    wait_until(lambda: service._store.get(job).state == "done", 60)
    assert client.get(f"/v1/jobs/{job}/result").status_code == 200
    assert client.delete(f"/v1/jobs/{job}").status_code == 200
    assert state_of(client, job) == "unknown"


def _disk_full(*_, **__):
    raise sqlite3.OperationalError("database or disk is full")


def test_results_expire_and_their_files_with_them(start, monkeypatch):
    monkeypatch.setattr(service_module, "SWEEP_S", 0.05)
    client, service, _ = start(result_s=1.0)
    job = post(client, picture())
    wait_until(lambda: not list(service.files.folder.iterdir()), 60)
    assert client.get(f"/v1/jobs/{job}").status_code == 404


def test_a_service_that_stops_takes_nothing_more_and_says_so(start):
    client, service, _ = start()
    assert client.get("/ready").status_code == 200
    service.queue.close()
    assert client.get("/ready").status_code == 503
    refused = client.post("/v1/jobs", content=picture(), params={"scale": 2})
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert client.get("/health").status_code == 200


def claim(width: int, height: int) -> bytes:
    """Write a PNG that says it is large, and has one row."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_what_claims_to_be_large_is_refused_by_its_header(start):
    client, service, _ = start()
    for size in (50_000, 50_000), (2**31 - 1, 1), (1, 2**31 - 1), (8000, 8000):
        assert client.post("/v1/restore", content=claim(*size), params={"scale": 2}).status_code == 422
    assert not list(service.files.folder.iterdir())
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


def test_nothing_of_a_polyglot_comes_back_but_its_pixels(start):
    client, _, _ = start()
    evil = b"<svg onload=alert(1)><script>alert(1)</script>"
    query = {"scale": 2, "name": "x.svg\r\nset-cookie: a=b"}
    response = client.post("/v1/restore", content=picture() + evil, params=query)
    assert response.status_code in (200, 422)
    assert b"alert" not in response.content
    assert "set-cookie" not in response.headers
