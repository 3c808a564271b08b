"""What goes wrong around a job harms that job at most."""

import struct
import zlib

import psutil
from pictures import picture
from stubs import FakeRestorer, hold, post, state_of, wait_until

from corpus import hostile_files
from swinir.server import service as service_module


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
    service.read = lambda job_id, **how: read.append(job_id) or original(job_id, **how)
    service.find(jobs[1]).is_cancelled.set()
    restorer.is_released.set()
    wait_until(lambda: all(state_of(client, job) in ("done", "cancelled") for job in jobs), 60)
    assert [state_of(client, job) for job in jobs] == ["done", "cancelled", "done"]
    assert jobs[1] not in read


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


def test_files_that_are_made_to_do_harm_are_refused_in_one_sentence_each(start):
    client, service, _ = start()
    bombs = dict(hostile_files())
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200
    decoder = psutil.Process(service._decoder.process_id)
    before = decoder.memory_info().rss
    for name in (
        "large.gif",
        "flat.gif",
        "frames.gif",
        "flat.png",
        "unfolding.png",
        "scans.jpg",
        "pages.tif",
    ):
        refused = client.post("/v1/jobs", content=bombs[name], params={"scale": 2})
        assert refused.status_code == 422, name
        assert "the limit is" in refused.json()["detail"]
        assert "--" not in refused.json()["detail"]
    assert decoder.memory_info().rss - before < 200 * 2**20  # and it is still the same process
    assert not list(service.files.folder.iterdir())
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


def test_a_damaged_picture_is_restored_as_far_as_it_goes_where_that_is_asked_for(start):
    client, _, _ = start()
    cut = picture(200, 200)[:-40_000]
    refused = client.post("/v1/restore", content=cut, params={"scale": 2})
    assert refused.status_code == 422
    assert "salvage=true" in refused.json()["detail"]
    salvaged = client.post("/v1/restore", content=cut, params={"scale": 2, "salvage": True})
    assert salvaged.status_code == 200
    assert "missing" in salvaged.headers["x-swinir-notes"]
    job = post(client, cut, salvage=True)
    wait_until(lambda: state_of(client, job) == "done", 60)
    assert "missing" in client.get(f"/v1/jobs/{job}").json()["message"]


def test_nothing_of_a_polyglot_comes_back_but_its_pixels(start):
    client, _, _ = start()
    evil = b"<svg onload=alert(1)><script>alert(1)</script>"
    query = {"scale": 2, "name": "x.svg\r\nset-cookie: a=b"}
    response = client.post("/v1/restore", content=picture() + evil, params=query)
    assert response.status_code in (200, 422)
    assert b"alert" not in response.content
    assert "set-cookie" not in response.headers
