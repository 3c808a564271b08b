"""A service in the process of the tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from fastapi.testclient import TestClient
from pictures import HOST

from swinir.server import ServerOptions
from swinir.server.app import create_app
from swinir.server.service import Service


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> ServerOptions:
    data = tmp_path_factory.mktemp("data")
    return ServerOptions(data=data, models=("lightweight-x2", "denoise"), client_s=2.0, grace_s=5.0)


@pytest.fixture(scope="module")
def client(options: ServerOptions) -> Iterator[TestClient]:
    """Offer one service to all tests of a module: a test says what it adds, and never how much there is."""
    with TestClient(create_app(options), base_url=HOST) as client:
        yield client


@pytest.fixture
def service(client: TestClient) -> Service:
    return client.app.state.service


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Start a service with options of its own, whose restorer only repeats pixels."""
    with ExitStack() as services:

        def start(**options: Any) -> TestClient:
            options = {"data": tmp_path, "models": ("lightweight-x2",), "grace_s": 5.0} | options
            app = create_app(ServerOptions(**options))
            return services.enter_context(TestClient(app, base_url=HOST))

        yield start
