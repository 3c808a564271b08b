"""Random requests to every route that a service's own description in OpenAPI names."""

import random
from typing import Any

ODD = (
    "",
    "0",
    "-1",
    "1e9",
    "NaN",
    "1e400",
    "2.5",
    "null",
    "true",
    "../x",
    "\x00",
    "é",
    "a" * 300,
    "[]",
    "2",
    "png",
)
IDS = ("x", "%00", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a" * 24, "%C3%A9", "a" * 4000)
TYPES = (
    "application/octet-stream",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/html",
    "",
)
HEADERS = {
    "origin": ("http://evil.example", "null", ""),
    "range": ("bytes=0-", "bytes=0-0," * 500, "x"),
    "content-encoding": ("gzip", "identity"),
    "authorization": ("Bearer x", "Basic eDp4"),
    "x-forwarded-for": ("::1", "<script>"),
}


def draw_request(draws: random.Random, description: dict[str, Any], pictures: list[bytes]) -> dict[str, Any]:
    """Draw method, URL, query, headers and body of one request, as ``httpx.Client.request`` takes them."""
    path = draws.choice(sorted(description["paths"]))
    other = draws.choice(("put", "head", "options"))
    method = other if draws.random() < 0.05 else draws.choice(sorted(description["paths"][path]))
    about = description["paths"][path].get(method, {})
    names = [each["name"] for each in about.get("parameters", ()) if each["in"] == "query"]
    request: dict[str, Any] = {
        "method": method.upper(),
        "url": path.replace("{job_id}", draws.choice(IDS)),
        "params": {name: draws.choice(ODD) for name in names if draws.random() < 0.2},
        "headers": {name: draws.choice(values) for name, values in HEADERS.items() if draws.random() < 0.05},
    }
    if method == "post":
        request["headers"]["content-type"] = draws.choice(TYPES)
        request["content"] = _damage(draws, draws.choice(pictures))
    return request


def _damage(draws: random.Random, content: bytes) -> bytes:
    """Cut a file, change some of its bytes, or put it into the beginning of a form."""
    changed = bytearray(content)
    for _ in range(draws.choice((0, 0, 1, 20))):
        changed[draws.randrange(len(changed))] = draws.randrange(256)
    start = draws.choice((b"", b"", b'--x\r\ncontent-disposition: form-data; name="a"; filename="b"\r\n\r\n'))
    return start + bytes(changed[: draws.choice((len(changed), len(changed), len(changed) // 2, 0))])
