"""What was accepted is there after any stop."""

import time

import pytest
from pictures import picture
from stubs import HeldRestorer, wait_until

from swinir.server.jobs import Job
from swinir.server.metrics import Metrics
from swinir.server.models import ModelTable
from swinir.server.options import ServerOptions
from swinir.server.service import MOST_ATTEMPTS, Service
from swinir.server.store import JobRecord, JobState, JobStore


def record(number: int = 0, **changes) -> JobRecord:
    values = {"id": f"{number:024}", "state": JobState.QUEUED, "model": "denoise", "format": "png"}
    values |= {"created_s": float(number), "updated_s": float(number)}
    return JobRecord(**(values | changes))


def test_a_record_is_read_as_it_was_written(tmp_path):
    store = JobStore(tmp_path)
    written = record(quality=80, name="<a> 'b'; DROP TABLE jobs", message="ok", is_kept=False)
    store.add(written)
    store.close()
    assert JobStore(tmp_path).get(written.id) == written


def test_a_change_is_seen_by_who_opens_the_file_next(tmp_path):
    store = JobStore(tmp_path)
    store.add(record())
    store.update(record(), state=JobState.DONE)
    store.close()
    found = JobStore(tmp_path).get(record().id)
    assert found.state is JobState.DONE


def test_unfinished_jobs_come_in_the_order_of_their_acceptance(tmp_path):
    store = JobStore(tmp_path)
    for number, state in ((3, JobState.QUEUED), (1, JobState.RUNNING), (2, JobState.DONE)):
        store.add(record(number, state=state))
    assert [found.created_s for found in store.unfinished()] == [1.0, 3.0]


@pytest.fixture
def furnish(tmp_path):
    services = []

    def create() -> tuple[Service, HeldRestorer]:
        options = ServerOptions(data=tmp_path, models=("denoise",), grace_s=2.0)
        service = Service(options, ModelTable(options.models, options.restorer), Metrics())
        restorer = HeldRestorer(1)
        service.models.load = lambda name: restorer
        services.append(service)
        return service, restorer

    yield create
    for service in services:
        if service._threads:
            service.stop()


def accept(service: Service) -> Job:
    job_id = service.reserve()
    service.files.upload(job_id).write_bytes(picture(600, 600))
    return service.submit(record(id=job_id, created_s=time.time()))


def test_jobs_of_a_service_that_stopped_are_done_by_the_next_one(furnish):
    first, restorer = furnish()
    first.start()
    jobs = [accept(first) for _ in range(3)]
    assert restorer.has_begun.wait(20)
    first.stop()
    second, restorer = furnish()
    restorer.is_released.set()
    second.start()
    wait_until(lambda: all(second.find(job.record.id).record.state is JobState.DONE for job in jobs), 30)
    assert all(second.files.result(job.record).is_file() for job in jobs)


def test_a_job_that_brings_the_service_down_again_and_again_is_given_up(furnish):
    service, _ = furnish()
    job = accept(service)
    service._store.update(job.record, state=JobState.RUNNING, num_attempts=MOST_ATTEMPTS)
    service._store.close()
    again, _ = furnish()
    again.start()
    found = again.find(job.record.id).record
    assert found.state is JobState.FAILED
    assert "interrupted" in found.message


def test_folders_of_no_job_are_removed_at_the_start(furnish):
    service, _ = furnish()
    service.reserve()
    service._store.close()
    again, _ = furnish()
    again.start()
    assert not list((again.options.data / "jobs").iterdir())


def test_results_are_forgotten_when_their_time_is_over(furnish):
    service, restorer = furnish()
    restorer.is_released.set()
    service.start()
    job = accept(service)
    wait_until(lambda: service.find(job.record.id).record.state is JobState.DONE, 30)
    for expired in service._store.finished_before(job.record.created_s + 1e6):
        service.forget(expired)
    assert service.find(job.record.id) is None
    assert not service.files.result(job.record).exists()


def test_a_result_that_cannot_be_written_fails_its_job_alone(furnish, monkeypatch, tmp_path):
    service, restorer = furnish()
    restorer.is_released.set()
    service.start()
    monkeypatch.setattr(service.files, "result", lambda record: tmp_path / "nowhere" / "result.png")
    job = accept(service)
    assert job.ended.result(30).status == 507
    monkeypatch.undo()
    assert accept(service).ended.result(30).state is JobState.DONE
