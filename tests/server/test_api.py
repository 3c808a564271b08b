"""The HTTP interface: results, jobs, and one sentence for everything that is refused."""

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pictures import HOST, picture, picture_with_markup
from stubs import HeldRestorer, wait_until

from swinir import imaging
from swinir.engine import MODEL_OF_SCALE
from swinir.server import ServerOptions
from swinir.server.app import create_app
from swinir.server.models import Operation, default_names


@pytest.fixture
def held(service, monkeypatch) -> HeldRestorer:
    restorer = HeldRestorer()
    monkeypatch.setattr(service.models, "load", lambda name: restorer)
    yield restorer
    restorer.is_released.set()
    wait_until(lambda: not service._jobs, 60)


@pytest.fixture
def folders(service) -> Callable[[], set[Path]]:
    """List the folders of jobs that are new since the test began."""
    before = set(service.files.folder.iterdir())
    return lambda: set(service.files.folder.iterdir()) - before


def job_of(response) -> str:
    assert response.status_code == 202, response.text
    return response.json()["id"]


def state_of(client, job: str) -> str:
    return client.get(f"/v1/jobs/{job}").json()["state"]


def test_a_picture_comes_back_twice_as_large(client):
    response = client.post("/v1/restore", params={"model": "lightweight-x2"}, content=picture())
    assert response.status_code == 200, response.text
    restored = imaging.read(response.content)
    assert (restored.width, restored.height) == (48, 32)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-disposition"].startswith("attachment")


def test_a_form_does_what_a_body_does(client):
    files = {"image": ("../../nasty <name>.png", picture(), "image/png")}
    response = client.post("/v1/restore", params={"model": "denoise", "format": "webp"}, files=files)
    assert response.status_code == 200, response.text
    assert imaging.read(response.content).width == 24
    name = response.headers["content-disposition"]
    assert "/" not in name
    assert "<" not in name
    assert name.endswith("_denoise.webp")


def test_metadata_are_kept_as_on_the_command_line(client):
    pixels = np.full((16, 16, 3), 90, np.uint8)
    metadata = imaging.Metadata(resolution=(11.811, 11.811))
    source = imaging.encode(imaging.Image(pixels=pixels, metadata=metadata), "png")[0]
    response = client.post("/v1/restore", params={"operation": "denoise"}, content=source)
    resolution = imaging.read(response.content).metadata.resolution
    assert resolution == pytest.approx((11.811, 11.811), abs=1e-2)


def test_what_a_picture_says_of_itself_is_no_markup_anywhere(client, held):
    held.is_released.set()
    files = {"image": ("<b>.png", picture_with_markup(), "image/png")}
    job = job_of(client.post("/v1/jobs", params={"scale": 2}, files=files))
    wait_until(lambda: state_of(client, job) == "done", 60)
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/result", "/metrics"):
        response = client.get(path)
        assert not response.headers["content-type"].startswith("text/html")
        assert not any("script>" in value for value in response.headers.values())
    assert "script" not in client.get(f"/v1/jobs/{job}").text


def test_a_job_waits_runs_and_is_fetched(client):
    job = job_of(client.post("/v1/jobs", params={"scale": 2, "name": "holiday.jpg"}, content=picture()))
    wait_until(lambda: state_of(client, job) == "done", 60)
    status = client.get(f"/v1/jobs/{job}").json()
    assert status["fraction"] == 1.0
    assert status["name"] == "holiday.jpg"
    assert imaging.read(client.get(f"/v1/jobs/{job}/result").content).width == 48


def test_events_end_with_the_job(client, held):
    job = job_of(client.post("/v1/jobs", params={"scale": 2}, content=picture(700, 700)))
    held.has_begun.wait(10)
    held.is_released.set()
    with client.stream("GET", f"/v1/jobs/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        states = [
            json.loads(line[6:])["state"] for line in response.iter_lines() if line.startswith("data: ")
        ]
    assert states[-1] == "done"


def test_several_results_come_as_one_zip_with_names_of_their_own(client, held):
    held.is_released.set()
    jobs = [
        job_of(client.post("/v1/jobs", params={"scale": 2, "name": "same.png"}, content=picture(seed=seed)))
        for seed in range(3)
    ]
    wait_until(lambda: all(state_of(client, job) == "done" for job in jobs), 60)
    archive = zipfile.ZipFile(io.BytesIO(client.get("/v1/results.zip", params={"job": jobs}).content))
    assert len(set(archive.namelist())) == 3
    assert archive.testzip() is None


def test_a_running_job_is_cancelled_within_two_seconds(client, held, folders):
    job = job_of(client.post("/v1/jobs", params={"scale": 2}, content=picture(700, 700)))
    assert held.has_begun.wait(10)
    assert client.delete(f"/v1/jobs/{job}").status_code == 200
    wait_until(lambda: state_of(client, job) == "cancelled", 2)
    assert client.delete(f"/v1/jobs/{job}").status_code == 200
    assert client.delete(f"/v1/jobs/{job}").status_code == 404
    assert not folders()


def test_a_waiting_job_is_cancelled_at_once_and_a_result_is_not_to_be_had(client, held):
    job_of(client.post("/v1/jobs", params={"scale": 2}, content=picture(700, 700)))
    assert held.has_begun.wait(10)
    second = job_of(client.post("/v1/jobs", params={"scale": 2}, content=picture(700, 700, seed=1)))
    assert client.get(f"/v1/jobs/{second}/result").status_code == 409
    client.delete(f"/v1/jobs/{second}")
    assert state_of(client, second) == "cancelled"


def test_small_pictures_that_wait_together_are_restored_together(client, held, service):
    first = job_of(client.post("/v1/jobs", params={"scale": 2}, content=picture(700, 700)))
    assert held.has_begun.wait(10)
    jobs = [
        job_of(client.post("/v1/jobs", params={"scale": 2}, content=picture(seed=seed))) for seed in range(5)
    ]
    held.is_released.set()
    wait_until(lambda: all(state_of(client, job) == "done" for job in (first, *jobs)))
    assert held.together == [1, 5]


def test_a_full_queue_answers_429_and_loses_nothing(tmp_path, monkeypatch):
    options = ServerOptions(data=tmp_path, models=("lightweight-x2",), max_queue=2)
    with TestClient(create_app(options), base_url=HOST) as client:
        restorer = HeldRestorer()
        monkeypatch.setattr(client.app.state.service.models, "load", lambda name: restorer)
        accepted = [job_of(client.post("/v1/jobs", content=picture(700, 700), params={"scale": 2}))]
        assert restorer.has_begun.wait(10)
        accepted += [
            job_of(client.post("/v1/jobs", content=picture(), params={"scale": 2})) for _ in range(2)
        ]
        refused = client.post("/v1/jobs", content=picture(), params={"scale": 2})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        restorer.is_released.set()
        wait_until(lambda: all(state_of(client, job) == "done" for job in accepted))
        assert client.get("/ready").status_code == 200


def test_a_service_is_ready_when_its_model_is_loaded(client, service):
    wait_until(lambda: client.get("/ready").status_code == 200, 30)
    assert service.models.preferred() in service.models._loaded


def test_a_full_disk_answers_507_and_the_service_lives(client, service, monkeypatch):
    monkeypatch.setattr(service.files, "num_bytes", lambda: 2**60)
    refused = client.post("/v1/jobs", content=picture(), params={"scale": 2})
    assert refused.status_code == 507
    monkeypatch.undo()
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


@pytest.mark.parametrize(
    "content", [b"", b"<html><script>alert(1)</script>", b"\x89PNG\r\n\x1a\n" + b"\0" * 50]
)
def test_what_is_no_picture_is_refused_in_one_sentence(client, content, service, folders):
    response = client.post("/v1/jobs", content=content, params={"scale": 2})
    assert response.status_code in (400, 422)
    assert isinstance(response.json()["detail"], str)
    assert str(service.options.data) not in response.text
    assert not folders()


def test_a_picture_beyond_the_limits_is_refused_before_it_is_decoded(tmp_path):
    options = ServerOptions(
        data=tmp_path, models=("lightweight-x2",), max_pixels=100, max_output_pixels=10_000
    )
    with TestClient(create_app(options), base_url=HOST) as client:
        assert client.post("/v1/jobs", content=picture(), params={"scale": 2}).status_code == 422


def test_a_result_beyond_the_limit_is_refused(tmp_path):
    options = ServerOptions(data=tmp_path, models=("lightweight-x2",), max_output_pixels=1000)
    with TestClient(create_app(options), base_url=HOST) as client:
        response = client.post("/v1/jobs", content=picture(), params={"scale": 2})
        assert response.status_code == 422
        assert "1,536" in response.json()["detail"]


@pytest.mark.parametrize("value", ["-1", "0", "1000000000", "NaN", "1e400", "2.5", "x"])
@pytest.mark.parametrize("name", ["scale", "quality"])
def test_numbers_out_of_range_are_refused(client, name, value):
    response = client.post("/v1/jobs", content=picture(), params={"operation": "denoise", name: value})
    assert response.status_code == 422, response.text


@pytest.mark.parametrize(
    ("name", "value"), [("scale", "abc"), ("quality", 0), ("format", "bmp"), ("operation", "bogus")]
)
def test_parameters_that_are_none_are_one_sentence(client, name, value):
    refused = client.post("/v1/restore", content=picture(), params={name: value})
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(f"{name}: ")


@pytest.mark.parametrize("scale", MODEL_OF_SCALE)
def test_a_scale_takes_the_model_that_the_command_takes(scale):
    assert default_names(Operation.UPSCALE, scale)[0] == MODEL_OF_SCALE[scale]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/restore"])
@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "lightweight-x2/../lightweight-x2",
        "C:\\lightweight-x2",
        "lightweight-x2\0",
        "LIGHTWEIGHT-X2",
        "http://evil.example/x.pth",
        "file:///etc/passwd",
        "hf://someone/model",
        "s3://bucket/x.pth",
        "classical-x8-df2k",
        "",
    ],
)
def test_models_are_chosen_by_name_from_the_list_only(client, path, name):
    response = client.post(path, content=picture(), params={"model": name})
    assert response.status_code == 422
    assert {model["name"] for model in client.get("/v1/models").json()} == {"lightweight-x2", "denoise"}


def traversals() -> list[str]:
    steps = ["..", "%2e%2e", "..%2f", "%2e%2e%2f", "..%5c", "%00", "....//", "%c0%ae%c0%ae", "~", "C:"]
    targets = ["etc/passwd", "jobs.sqlite", "windows/win.ini", "upload"]
    payloads = [f"{step * depth if '/' in step else '/'.join([step] * depth)}/{target}"
                for step in steps for depth in (1, 2, 4) for target in targets]  # fmt: skip
    return [*payloads, "/etc/passwd", "//etc/passwd", "..", ".", "a" * 5000, "%0d%0aX: y"]


@pytest.mark.parametrize("place", ["/v1/jobs/{}", "/v1/jobs/{}/result", "/static/{}"])
def test_no_path_leads_out_of_the_jobs_folder(client, place):
    (client.app.state.service.options.data / "secret").write_text("root:")
    for payload in traversals():
        response = client.get(place.format(payload))
        # What a client itself shortens to the service's own pages is one of them.
        assert response.status_code in (404, 405, 422) or response.url.path in ("/", "/v1/models"), payload
        assert "root:" not in response.text
        assert "SQLite" not in response.text


@pytest.mark.parametrize("host", ["evil.example", "", "127.0.0.1.evil.example", "localhost.evil.example:80"])
def test_unknown_host_names_are_not_answered(client, host):
    for path in ("/", "/v1/models", "/health"):
        assert client.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("headers", [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:81"},
    {"sec-fetch-site": "cross-site"},
    {"origin": "http://evil.example", "content-type": "text/plain"},
])  # fmt: skip
def test_another_site_changes_nothing(client, headers):
    response = client.post("/v1/jobs", content=picture(), params={"scale": 2}, headers=headers)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_the_own_page_may_ask(client, held):
    held.is_released.set()
    headers = {"origin": HOST, "sec-fetch-site": "same-origin"}
    assert (
        client.post("/v1/restore", content=picture(), params={"scale": 2}, headers=headers).status_code == 200
    )


PATHS = "/ /static/page.js /static/nothing.js /v1/models /v1/jobs/x /metrics /openapi.json /nothing"


@pytest.mark.parametrize("path", PATHS.split())
def test_every_response_has_the_protective_headers(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_a_thousand_ranges_are_one_result(client, held):
    held.is_released.set()
    job = job_of(client.post("/v1/jobs", params={"scale": 2}, content=picture()))
    wait_until(lambda: state_of(client, job) == "done", 60)
    ranges = "bytes=" + ",".join(f"{i}-{i + 1}" for i in range(0, 2000, 2))
    response = client.get(f"/v1/jobs/{job}/result", headers={"range": ranges})
    assert response.status_code == 200
    assert len(response.content) == len(client.get(f"/v1/jobs/{job}/result").content)


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(tmp_path):
    options = ServerOptions(data=tmp_path, models=("lightweight-x2",), max_upload_bytes=1000)
    big = b"x" * 200_000

    def chunks():
        for _ in range(100):
            yield b"x" * 2000

    with TestClient(create_app(options), base_url=HOST) as client:
        for path in ("/v1/jobs", "/v1/restore", "/v1/models", "/nothing"):
            assert client.post(path, content=big).status_code == 413
        assert client.post("/v1/jobs", params={"scale": 2}, content=chunks()).status_code == 413
        assert (
            client.post("/v1/jobs", params={"scale": 2}, files={"image": ("a.png", big)}).status_code == 413
        )
        assert not list((tmp_path / "jobs").glob("*"))


def test_compressed_bodies_are_refused(client):
    assert client.post("/v1/jobs", content=picture(), headers={"content-encoding": "gzip"}).status_code == 415


def test_forms_of_many_parts_are_refused(client):
    fields = {f"field{number}": "x" for number in range(1000)}
    files = {"image": ("a.png", picture())}
    response = client.post("/v1/jobs", params={"scale": 2}, data=fields, files=files)
    assert response.status_code == 400


def test_a_token_opens_what_it_protects(tmp_path):
    token = "a-token-of-many-characters"
    with TestClient(create_app(ServerOptions(data=tmp_path, token=token)), base_url=HOST) as client:
        assert client.get("/").status_code == 200
        assert client.get("/health").status_code == 200
        for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/jobs/x"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
        headers = {"authorization": f"Bearer {token}"}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_metrics_count_what_happened(client, held):
    def count(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    held.is_released.set()
    before = count('swinir_jobs_finished_total{state="done"}')
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200
    assert client.post("/v1/restore", content=b"no picture", params={"scale": 2}).status_code == 422
    assert count('swinir_jobs_finished_total{state="done"}') == before + 1
    assert count("swinir_queue_depth") == 0


def test_the_description_names_every_route(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        "/v1/restore",
        "/v1/jobs",
        "/v1/jobs/{job_id}",
        "/v1/models",
        "/health",
        "/ready",
        "/metrics",
    } <= set(paths)
