"""Replicas that share nothing: what they answer, and when they need a token; `server_load.py` tries a cluster."""

import pytest
from fastapi.testclient import TestClient
from pictures import HOST

from swinir.errors import UsageError
from swinir.server import ServerOptions
from swinir.server.app import create_app


def test_a_replica_has_no_jobs_that_a_client_would_have_to_find_again(tmp_path):
    app = create_app(ServerOptions(data=tmp_path, models=("lightweight-x2",)), keeps_jobs=False)
    with TestClient(app, base_url=HOST) as client:
        paths = set(client.get("/openapi.json").json()["paths"])
        assert paths == {"/v1/restore", "/v1/models", "/health", "/ready", "/metrics"}
        assert client.get("/").status_code == 404
        assert client.post("/v1/jobs", content=b"x").status_code == 404


@pytest.mark.filterwarnings("ignore")  # Ray's own, on import
def test_replicas_beyond_this_machine_need_a_token():
    ray = pytest.importorskip("swinir.server.ray", reason="needs Ray Serve", exc_type=ImportError)
    with pytest.raises(UsageError, match="SWINIR_TOKEN"):
        ray.Arguments(allowed_hosts="pictures.example").options(None)
    options = ray.Arguments(models="real-x4, denoise", allowed_hosts="a.example").options("x" * 20)
    assert options.models == ("real-x4", "denoise")
    assert "a.example" in options.hosts
