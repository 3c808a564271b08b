"""Whatever is sent to any route of the description is answered, and never with 500."""

import pytest
from http_fuzz import IDS, ODD, TYPES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import picture
from stubs import HeldRestorer

BODIES = [b"", b"x", picture(), picture()[:60], b"GIF89a" + b"\xff" * 40, b"--x\r\n\r\n", b"\xff\xd8\xff"]
texts = st.sampled_from((*ODD, "\udcff")) | st.text(max_size=20)


@pytest.fixture
def routes(client, service, monkeypatch):
    restorer = HeldRestorer()
    restorer.is_released.set()
    monkeypatch.setattr(service.models, "load", lambda name: restorer)
    return [
        (method, path, [each["name"] for each in about.get("parameters", ()) if each["in"] == "query"])
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method, about in methods.items()
    ]


@settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(data=st.data())
def test_nothing_is_answered_with_500(client, routes, data):
    method, path, names = data.draw(st.sampled_from(routes))
    if "{" in path:
        path = path.replace("{job_id}", data.draw(st.sampled_from((*IDS, "é"))))
    query = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), texts, max_size=3))
    query = {name: value.encode(errors="replace").decode() for name, value in query.items()}
    headers = {"content-type": data.draw(st.sampled_from(TYPES))}
    body = data.draw(st.sampled_from(BODIES)) if method == "post" else None
    response = client.request(method, path, params=query, content=body, headers=headers)
    assert response.status_code < 500 or response.status_code in (503, 507), (method, path, query)
    if response.status_code >= 400:
        assert "Traceback" not in response.text
        assert "detail" in response.json() or path == "/ready"
