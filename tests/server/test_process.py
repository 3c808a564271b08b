"""The service as a process: silent clients, signals, and kill -9."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest
from pictures import picture
from stubs import wait_until

pytestmark = pytest.mark.slow


class Running:
    """One `swinir serve`, and its address."""

    def __init__(self, data: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "swinir", "serve", "--port", "0", "--data", str(data), *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
        )
        line = self.process.stdout.readline()
        self.url = re.search(r"http://[\d.]+:\d+", line)[0]
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.url, timeout=60)
        wait_until(self.is_up, 60)

    def close(self) -> int:
        """Ask the process to end, and return its status."""
        self.client.close()
        self.process.terminate()
        status = self.process.wait(60)
        self.process.stdout.close()
        return status

    def is_up(self) -> bool:
        try:
            return self.client.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    def states(self, jobs: list[str]) -> list[str]:
        return [self.client.get(f"/v1/jobs/{job}").json().get("state", "lost") for job in jobs]

    def submit(self, *sizes: int) -> list[str]:
        query = {"model": "lightweight-x2"}
        return [
            self.client.post("/v1/jobs", params=query, content=picture(size, size)).json()["id"]
            for size in sizes
        ]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("service"))
    yield running
    assert running.close() == 0


def seconds_until_closed(port: int, start: bytes) -> float:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(start)
        connection.settimeout(30)
        began = time.monotonic()
        while connection.recv(4096):
            pass
        return time.monotonic() - began


def test_half_a_header_is_not_waited_for(running):
    assert seconds_until_closed(running.port, b"POST /v1/jobs HTTP/1.1\r\nHost: 127") < 17


def test_half_a_body_is_answered_with_408(running):
    head = b"POST /v1/jobs?scale=2 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\nabc"
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall(head)
        connection.settimeout(30)
        assert b"408" in connection.recv(4096).splitlines()[0]


def test_a_client_that_leaves_frees_its_place(running):
    warm_up = running.client.post("/v1/restore", params={"model": "lightweight-x2"}, content=picture())
    assert warm_up.status_code == 200
    body = picture(300, 300)
    head = "POST /v1/restore?model=lightweight-x2 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: "swinir_jobs_running 1.0" in running.client.get("/metrics").text, 30)
    wait_until(lambda: "swinir_jobs_running 0.0" in running.client.get("/metrics").text, 10)
    assert 'swinir_jobs_finished_total{state="cancelled"}' in running.client.get("/metrics").text


def test_jobs_survive_kill_9_and_the_next_process_does_them(tmp_path):
    running = Running(tmp_path)
    jobs = running.submit(120, 24, 90, 24)
    running.process.kill()
    running.close()
    again = Running(tmp_path)
    wait_until(lambda: again.states(jobs) == ["done"] * len(jobs), 120)
    assert again.close() == 0


def test_sigterm_ends_with_0_and_keeps_what_waits(tmp_path):
    running = Running(tmp_path)
    jobs = running.submit(300, 300, 24)
    assert running.close() == 0
    children = subprocess.run(["pgrep", "-P", str(running.process.pid)], capture_output=True, check=False)
    assert not children.stdout
    import sqlite3

    states = sqlite3.connect(tmp_path / "jobs.sqlite").execute("SELECT id, state FROM jobs").fetchall()
    assert {job for job, state in states if state in ("queued", "done")} == set(jobs)


def test_a_second_sigterm_ends_everything_at_once(tmp_path):
    running = Running(tmp_path)
    running.submit(700)
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert children
    running.process.terminate()
    wait_until(lambda: not running.is_up())
    assert running.close() == 128 + signal.SIGTERM
    wait_until(lambda: not any(child.is_running() for child in children))


def test_the_load_script_finds_no_leak():
    script = Path(__file__).parents[2] / "benchmarks" / "server_load.py"
    command = [sys.executable, str(script), "leak", "--smoke"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    row = json.loads(result.stdout)
    assert set(row["statuses"]) == {"200", "422"}
    assert row["growth"]["fds"] <= 0
