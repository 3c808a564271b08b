"""A browser for tests: Debian's Chromium, driven by Playwright, which then needs no download of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with Playwright")
DESKTOP, TELEPHONE = (1280, 900), (390, 844)


class Visitor:
    """Opens pages, and keeps what they complain of."""

    def __init__(self, browser: "playwright.Browser") -> None:
        self._browser = browser
        self.complaints: list[str] = []

    def open(self, path: Path, size: tuple[int, int] = DESKTOP) -> "playwright.Page":
        """Open a file in a window of a size; a narrow one is a telephone's."""
        is_narrow = size[0] < 500
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, is_mobile=is_narrow, has_touch=is_narrow
        )
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._check_is_local(request.url))
        page.goto(path.as_uri())
        return page

    def _check_is_local(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.complaints.append(f"asks the network for {url}")


@pytest.fixture
def visitor(browser: "playwright.Browser") -> Iterator[Visitor]:
    """A visitor whose pages must not complain."""
    visitor = Visitor(browser)
    yield visitor
    assert visitor.complaints == []
