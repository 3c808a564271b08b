"""A disk that is full, or used up, refuses what needs it, and the service goes on when there is space again."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pictures import HOST, picture
from stubs import FakeRestorer, hold, post, state_of, wait_until

from swinir.server import ServerOptions
from swinir.server import service as service_module
from swinir.server.app import create_app
from swinir.server.models import ModelTable
from swinir.server.store import JobStore, StoreError


@contextmanager
def full_disk(num_bytes: int) -> Iterator[None]:
    """Let no file become longer than that; what is written there fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Offer one service to the tests here, with its stub of a restorer; it soon stores what it could not store."""
    restorer = FakeRestorer()
    options = ServerOptions(data=tmp_path_factory.mktemp("data"), models=("lightweight-x2",), grace_s=5.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelTable, "load", lambda self, name: restorer)
        patch.setattr(service_module, "SWEEP_S", 0.05)
        with TestClient(create_app(options), base_url=HOST) as client:
            yield client, client.app.state.service, restorer


@pytest.fixture
def folders(shared):
    """List the folders of jobs that are new since the test began."""
    _, service, _ = shared
    before = set(service.files.folder.iterdir())
    return lambda: set(service.files.folder.iterdir()) - before


@pytest.mark.parametrize(
    "body", [{"content": picture(200, 200)}, {"files": {"a": ("a.png", picture(200, 200))}}]
)
def test_an_upload_that_finds_no_space_is_refused_and_leaves_nothing(shared, folders, body):
    client, _, _ = shared
    with full_disk(50_000):
        refused = client.post("/v1/jobs", params={"scale": 2}, **body)
    assert refused.status_code == 507
    assert refused.json()["detail"].startswith("there is no space for the upload")
    assert int(refused.headers["retry-after"]) > 0
    assert not folders()
    assert client.post("/v1/restore", params={"scale": 2}, **body).status_code == 200


def test_a_job_that_finds_no_space_in_the_list_is_refused_and_leaves_nothing(shared, folders):
    client, _, _ = shared
    with full_disk(4096):  # the list is longer already
        refused = client.post("/v1/jobs", content=picture(), params={"scale": 2})
    assert refused.status_code == 507
    assert refused.json()["detail"].startswith("there is no space for the job")
    assert not folders()
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


def test_a_result_that_finds_no_space_fails_its_job_alone(shared):
    client, service, restorer = shared
    job = hold(client, restorer)
    with full_disk(4096):
        restorer.is_released.set()
        wait_until(lambda: state_of(client, job) == "failed", 60)
        status = client.get(f"/v1/jobs/{job}")
        assert status.json()["message"].startswith("there is no space for the result")
        assert str(service.options.data) not in status.text
        assert client.get("/health").status_code == 200
    wait_until(lambda: service._store.get(job).state == "failed", 60)
    wait_until(lambda: not list((service.files.folder / job).iterdir()), 60)
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


def test_what_is_forgotten_on_a_full_disk_is_forgotten(shared):
    client, service, _ = shared
    job = post(client, picture())
    wait_until(lambda: state_of(client, job) == "done", 60)
    with full_disk(4096):
        assert client.delete(f"/v1/jobs/{job}").status_code == 200
        assert client.get(f"/v1/jobs/{job}").status_code == 404
        assert not (service.files.folder / job).exists()
    wait_until(lambda: service._store.get(job) is None, 60)


def test_a_result_that_its_format_cannot_hold_is_no_matter_of_the_disk(shared):
    client, service, _ = shared
    job = post(client, picture(9000, 8), format="webp")
    wait_until(lambda: state_of(client, job) == "failed", 60)
    assert service.find(job).record.status == 422
    assert "the result" in service.find(job).record.message


def test_a_folder_of_jobs_has_one_service(tmp_path, monkeypatch):
    monkeypatch.setattr("swinir.server.store.LOCKED_S", 0.1)
    store = JobStore(tmp_path)
    with pytest.raises(StoreError, match="another service uses it"):
        JobStore(tmp_path)
    store.close()
    JobStore(tmp_path).close()


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file .*--data"):
        JobStore(tmp_path / "file")


def test_results_never_take_more_than_their_disk_space(start):
    client, service, _ = start(max_disk_bytes=20_000)
    job = post(client, picture(100, 100))
    wait_until(lambda: state_of(client, job) == "failed", 60)
    assert client.get(f"/v1/jobs/{job}").json()["message"].startswith("uploads and results fill the disk")
    assert service.files.num_bytes() < 20_000
    small = post(client, picture())
    wait_until(lambda: state_of(client, small) == "done", 60)


@pytest.mark.parametrize("kind", ["content", "files"])
def test_an_upload_never_takes_more_than_the_disk_space_of_jobs(start, kind):
    client, service, _ = start(max_disk_bytes=3 * 2**20)
    kept = service.files.num_bytes()
    upload = bytes(5 * 2**20)
    body = {kind: upload if kind == "content" else {"a": ("a.png", upload)}}
    refused = client.post("/v1/restore", params={"scale": 2}, **body)
    assert refused.status_code == 507
    assert refused.json()["detail"].startswith("uploads and results fill the disk space")
    assert service.files.num_bytes() == kept
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


def test_space_is_counted_while_jobs_end(shared, monkeypatch):
    """Folders go away between being listed and being looked into."""
    _, service, _ = shared
    kept = service.files.num_bytes()
    gone = service.files.folder / "gone"
    gone.mkdir()
    (gone / "upload").write_bytes(bytes(100))
    scandir = os.scandir

    def vanish(folder):
        if isinstance(folder, str | Path) and Path(folder) == gone:
            with monkeypatch.context() as patch:
                patch.setattr(os, "scandir", scandir)
                shutil.rmtree(gone)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", vanish)
    assert service.files.num_bytes() == kept
    assert not gone.exists()


def test_a_job_that_cannot_be_stored_is_refused_and_leaves_nothing(shared, folders, monkeypatch):
    client, service, _ = shared
    with monkeypatch.context() as patch:
        patch.setattr(service._store, "add", _disk_full)
        assert client.post("/v1/jobs", content=picture(), params={"scale": 2}).status_code == 507
    assert not folders()
    assert client.post("/v1/restore", content=picture(), params={"scale": 2}).status_code == 200


def test_a_state_that_cannot_be_stored_is_stored_when_there_is_space(shared, monkeypatch):
    client, service, _ = shared
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
    raise StoreError("database or disk is full")
