"""A Restorer that takes as long as a test wants, and what tests say to a service."""

import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np
from pictures import picture

from swinir import imaging


class HeldRestorer:
    """Enlarges by repetition, once it is released; reports progress meanwhile."""

    def __init__(self, scale: int = 2) -> None:
        self.scale = scale
        self.has_begun = threading.Event()
        self.is_released = threading.Event()
        self.together: list[int] = []

    def __call__(self, image: imaging.Image, progress=lambda done, total: None) -> imaging.Image:
        self.has_begun.set()
        progress(0, 10)
        while not self.is_released.wait(0.02):
            progress(1, 10)
        self.together.append(1)
        return self._enlarge(image)

    def restore_many(self, images: Iterable[imaging.Image]) -> Iterator[imaging.Image]:
        images = list(images)
        self.together.append(len(images))
        yield from map(self._enlarge, images)

    def _enlarge(self, image: imaging.Image) -> imaging.Image:
        pixels = np.repeat(np.repeat(image.pixels, self.scale, 0), self.scale, 1)
        return image.with_pixels(pixels, None)


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


def wait_until(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


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
