"""Bounded load on a service of this machine: throughput, leaks, slow clients, kills, random requests, lost replicas.

    python benchmarks/server_load.py load leak slow kill fuzz [ray] [--smoke]

Each part prints a line of JSON, and the exit status is 1 where a pass figure is missed. Random requests are sent for
ten minutes, or as many as FUZZ_MINUTES says.
"""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import psutil
from http_fuzz import draw_request
from parts import measure_parts

from swinir import imaging

MODEL = "lightweight-x2"
TIMEOUT_S = 600
# Pass figures.
LEAST_OF_FOLDER = 0.9
MOST_HEALTH_S = 0.1
MOST_GROWTH_BYTES = 32 * 2**20
MOST_CLOSED_S = 15
MOST_OF_IDLE = 2


def draw(width: int, height: int, seed: int = 0) -> bytes:
    """Return a PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return imaging.encode(imaging.Image(pixels=pixels), "png")[0]


class Running:
    """One ``swinir serve`` in a process of its own."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "swinir", "serve", "--port", "0", "--data", str(data)]
        command += ["--models", MODEL]
        environment = {**os.environ, "COLUMNS": "200"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", self.process.stdout.readline())
        assert found is not None, "the service did not start"
        self.client = httpx.Client(base_url=found[0], timeout=TIMEOUT_S)
        self.stats = psutil.Process(self.process.pid)
        wait_until(self.is_ready)

    def is_ready(self) -> bool:
        """Return whether it accepts jobs."""
        try:
            return self.client.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    def cpu_s(self) -> float:
        """Return the processor time of the service and its decoder so far."""
        times = [each.cpu_times() for each in (self.stats, *self.stats.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def end(self, how: int = signal.SIGTERM) -> int:
        """End it, and return its status."""
        self.client.close()
        self.process.send_signal(how)
        status = self.process.wait(TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to pass")
        time.sleep(0.02)


def restore(client: httpx.Client, content: bytes) -> int:
    """Send one picture, and return the status of the answer."""
    return client.post("/v1/restore", params={"model": MODEL}, content=content).status_code


def measure_load(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Send 1 to 64 pictures at the same time, and compare their processor time with that of a folder run."""
    side, numbers = (32, (1, 4)) if is_smoke else (256, (1, 2, 8, 64))
    running = Running(folder / "data")
    pictures = [draw(side, side, seed) for seed in range(numbers[-1])]
    restore(running.client, pictures[0])
    statuses: Counter[int] = Counter()
    seconds: dict[int, float] = {}
    health_s: list[float] = []
    is_over = threading.Event()

    def look() -> None:
        with httpx.Client(base_url=running.client.base_url, timeout=TIMEOUT_S) as client:
            while not is_over.wait(0.05):
                began = time.perf_counter()
                client.get("/health")
                health_s.append(time.perf_counter() - began)

    looking = threading.Thread(target=look)
    looking.start()
    for number in numbers:
        before = running.cpu_s()
        with ThreadPoolExecutor(number) as pool:
            statuses.update(pool.map(lambda content: restore(running.client, content), pictures[:number]))
        seconds[number] = (running.cpu_s() - before) / number
    is_over.set()
    looking.join()
    running.end()
    ratio = folder_cpu_s(folder, pictures) / seconds[numbers[-1]]
    return {
        "statuses": dict(statuses),
        "cpu_s_per_picture": {number: round(value, 3) for number, value in seconds.items()},
        "throughput_of_folder_run": round(ratio, 3),
        "health_p99_ms": round(1e3 * float(np.quantile(health_s, 0.99)), 1),
        "is_pass": set(statuses) == {200} and (is_smoke or ratio >= LEAST_OF_FOLDER),
    }


def folder_cpu_s(folder: Path, pictures: list[bytes]) -> float:
    """Return the processor time of one more picture in a folder run."""
    spent: list[float] = []
    for number in (1, len(pictures)):
        source = folder / f"in-{number}"
        source.mkdir()
        for place, content in enumerate(pictures[:number]):
            (source / f"{place}.png").write_bytes(content)
        command = [
            sys.executable,
            "-m",
            "swinir",
            "upscale",
            str(source),
            "-o",
            str(folder / f"out-{number}"),
        ]
        before = os.times()
        subprocess.run([*command, "--model", MODEL, "--quiet"], check=True)
        after = os.times()
        spent.append(after[2] + after[3] - before[2] - before[3])
    return (spent[1] - spent[0]) / (len(pictures) - 1)


def measure_leak(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Send good and bad pictures again and again: memory, descriptors, threads and files stay."""
    warm, number = (5, 15) if is_smoke else (100, 1000)
    running = Running(folder / "data")
    good, bad = draw(24, 16), draw(24, 16)[:60]

    def state() -> dict[str, int]:
        files = sum(1 for _ in (folder / "data" / "jobs").rglob("*"))
        stats = running.stats
        return {
            "rss": stats.memory_info().rss,
            "fds": stats.num_fds(),
            "threads": stats.num_threads(),
            "files": files,
        }

    def send(count: int) -> Counter[int]:
        return Counter(restore(running.client, bad if place % 4 == 3 else good) for place in range(count))

    # Together, so that every thread that waits for requests is there: pools add theirs when all others are busy.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: send(1), range(warm)))
    before = state()
    statuses = send(number)
    wait_until(lambda: state()["files"] <= before["files"])
    after = state()
    running.end()
    growth = {name: after[name] - before[name] for name in before}
    is_flat = (
        growth["rss"] <= MOST_GROWTH_BYTES and max(growth["fds"], growth["threads"], growth["files"]) <= 0
    )
    return {"statuses": dict(statuses), "growth": growth, "is_pass": is_flat and set(statuses) == {200, 422}}


def measure_slow(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Serve one client as fast beside 200 that send a byte now and then, and close those."""
    number, each = (6, 10) if is_smoke else (100, 60)
    running = Running(folder / "data")
    address = (running.client.base_url.host, running.client.base_url.port)
    content = draw(24, 16)

    def seconds(count: int) -> list[float]:
        taken: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            assert restore(running.client, content) == 200
            taken.append(time.perf_counter() - began)
        return taken

    seconds(10)
    idle_s = seconds(each)
    head = b"HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    starts = (b"GET /health HTT", b"POST /v1/jobs?scale=2 " + head + b"Content-Length: 100000\r\n\r\n")
    slow = [socket.create_connection(address) for _ in range(2 * number)]
    began = time.monotonic()
    for place, connection in enumerate(slow):
        connection.sendall(starts[place % 2])
    beside_s = seconds(each)
    while slow and time.monotonic() - began < TIMEOUT_S:
        slow = [connection for connection in slow if not is_closed_while_dripping(connection)]
        beside_s += seconds(1)
        time.sleep(0.1)
    closed_s = time.monotonic() - began
    running.end()
    ratio = float(np.quantile(beside_s, 0.95) / np.quantile(idle_s, 0.95))
    return {
        "sockets": 2 * number,
        "closed_s": round(closed_s, 1),
        "p95_ms_idle": round(1e3 * float(np.quantile(idle_s, 0.95)), 1),
        "p95_of_idle": round(ratio, 2),
        "is_pass": closed_s <= MOST_CLOSED_S and (is_smoke or ratio < MOST_OF_IDLE),
    }


def is_closed_while_dripping(connection: socket.socket) -> bool:
    """Send one byte, and return whether the other side has closed the connection."""
    try:
        connection.sendall(b"x")
        connection.setblocking(False)
        # What was answered before the end: a body that came too slowly is told so.
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    else:
        return True
    finally:
        connection.setblocking(True)


def measure_kills(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Kill the service at random moments; every accepted job is done, or said to be interrupted."""
    draws = random.Random(0)
    data, jobs, ready_s = folder / "data", list[str](), list[float]()
    for _ in range(2 if is_smoke else 50):
        began = time.monotonic()
        running = Running(data)
        ready_s.append(time.monotonic() - began)
        for _ in range(3):
            size = draws.choice((24, 48, 96))
            status = running.client.post("/v1/jobs", params={"model": MODEL}, content=draw(size, size)).json()
            jobs.append(status["id"])
        time.sleep(draws.uniform(0, 0.5))
        running.end(signal.SIGKILL)
    running = Running(data)

    def states() -> Counter[str]:
        found = (running.client.get(f"/v1/jobs/{job}").json() for job in jobs)
        return Counter(job.get("state", "lost") for job in found)

    wait_until(lambda: not {"queued", "running"} & set(states()))
    last = states()
    whole = [running.client.get(f"/v1/jobs/{job}/result") for job in jobs]
    num_whole = sum(bool(each.status_code == 200 and imaging.read(each.content).width) for each in whole)
    running.end()
    return {
        "jobs": len(jobs),
        "states": dict(last),
        "ready_s_max": round(max(ready_s), 1),
        "is_pass": num_whole == last["done"] and set(last) <= {"done", "failed"},
    }


def measure_fuzz(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Send random requests to every route: none is answered with 500, and the process stays the same."""
    draws = random.Random(0)
    seconds = 3.0 if is_smoke else 60 * float(os.environ.get("FUZZ_MINUTES", "10"))
    running = Running(folder / "data")
    pictures = [draw(24, 16), b"GIF89a" + b"\xff" * 40, b"<svg onload=alert(1)>", b"\xff\xd8\xff"]
    description = running.client.get("/openapi.json").json()
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        request = draw_request(draws, description, pictures)
        response = running.client.request(**request)
        statuses[response.status_code] += 1
        if response.status_code == 500 or "Traceback" in response.text:
            faults.append(repr(request)[:500])
    is_alive = restore(running.client, pictures[0]) == 200
    return {
        "statuses": dict(statuses),
        "faults": faults[:10],
        "is_pass": not faults and is_alive and running.end() == 0,
    }


def measure_ray(folder: Path, *, is_smoke: bool) -> dict[str, Any]:
    """Kill one of two replicas of Ray Serve under load; only what was in flight there is lost."""
    import ray  # noqa: PLC0415  an extra of its own
    from ray import serve  # noqa: PLC0415

    from swinir.server.ray import REQUESTS_OF_REPLICA, Arguments, app  # noqa: PLC0415

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    serve.run(app(Arguments(replicas=2, models=MODEL)), name="swinir")
    replicas = [
        p for p in psutil.process_iter(["cmdline"]) if "ServeReplica" in " ".join(p.info["cmdline"] or ())
    ]
    client = httpx.Client(base_url="http://127.0.0.1:8000", timeout=TIMEOUT_S)
    number = 8 if is_smoke else 60
    pictures = [draw(48, 48, seed) for seed in range(number)]
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(restore, client, content) for content in pictures]
        wait_until(lambda: sum(each.done() for each in answers) >= number // 4)
        replicas[0].kill()
        statuses = Counter(each.result() for each in answers)
    after = Counter(restore(client, content) for content in pictures[:4])
    serve.shutdown()
    ray.shutdown()
    lost = number - statuses[200]
    return {
        "replicas": len(replicas),
        "statuses": dict(statuses),
        "after": dict(after),
        "is_pass": lost <= REQUESTS_OF_REPLICA and set(after) == {200},
    }


PARTS = {
    "load": measure_load,
    "leak": measure_leak,
    "slow": measure_slow,
    "kill": measure_kills,
    "fuzz": measure_fuzz,
    "ray": measure_ray,
}


if __name__ == "__main__":
    sys.exit(measure_parts("Load a service of this machine, within bounds.", PARTS))
