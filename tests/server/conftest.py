"""A service in the process of the tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from fastapi.testclient import TestClient
from pictures import HOST
from stubs import FakeRestorer, HeldRestorer, wait_until

from swinir.server import ServerOptions
from swinir.server.app import create_app
from swinir.server.models import ModelTable
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
    """Start a service with options of its own."""
    with ExitStack() as services:

        def start(**options: Any) -> TestClient:
            options = {"data": tmp_path, "models": ("lightweight-x2",), "grace_s": 5.0} | options
            app = create_app(ServerOptions(**options))
            return services.enter_context(TestClient(app, base_url=HOST))

        yield start


@pytest.fixture
def start(serve, monkeypatch):
    """Start a service whose restorer is a stub; return its client, the service and the stub."""

    def start(restorer: HeldRestorer | None = None, **options):
        restorer = restorer or FakeRestorer()
        monkeypatch.setattr(ModelTable, "load", lambda self, name: restorer)
        client = serve(**options)
        service: Service = client.app.state.service
        wait_until(lambda: service._is_loaded, 60)
        return client, service, restorer

    return start
