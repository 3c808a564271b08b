"""A service in the process of the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from fastapi.testclient import TestClient
from pictures import HOST

from swinir.server import ServerOptions
from swinir.server.app import create_app
from swinir.server.service import Service


@pytest.fixture
def options(tmp_path: Path) -> ServerOptions:
    return ServerOptions(
        data=tmp_path / "data", models=("lightweight-x2", "denoise"), client_s=2.0, grace_s=5.0
    )


@pytest.fixture
def client(options: ServerOptions) -> Iterator[TestClient]:
    with TestClient(create_app(options), base_url=HOST) as client:
        yield client


@pytest.fixture
def service(client: TestClient) -> Service:
    return client.app.state.service
