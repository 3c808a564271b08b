"""Who may ask: host names, origins, the token; and the headers of every response.

A page of another site can make a browser send requests here, and can have its own name resolve to this machine. So a
request names one of the service's own hosts, and what changes something comes from the service's own page.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from swinir.server.options import ServerOptions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Reached without a token: the page, which asks for one, and what tells whether the service is there.
OPEN_PATHS = frozenset({"/", "/health", "/ready"})
OPEN_FOLDERS = ("/static/",)
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Refuses requests of strangers; an ASGI application around another."""

    def __init__(self, app: Application, options: ServerOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Parts of a result are of no use here, and thousands of them in one header cost time.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in (b"range", b"if-range")]
        path = path_of(scope)
        is_page = path == "/" or path.startswith(OPEN_FOLDERS)
        protected = _with_headers(send, PAGE_POLICY if is_page else DATA_POLICY)
        if (refusal := self._refusal(scope, path)) is not None:
            await refusal(scope, receive, protected)
            return
        await self._app(scope, receive, protected)

    def _refusal(self, scope: Scope, path: str) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if name_of_host(host) not in self._options.hosts:
            return _refuse(421, "this service does not answer to that host name; see --allowed-hosts")
        if scope["method"] not in SAFE_METHODS and not self._is_own_origin(headers, host):
            return _refuse(403, "a request from another site may not change anything here")
        if headers.get("sec-fetch-site") == "cross-site" and path not in OPEN_PATHS:
            return _refuse(403, "a request from another site is not answered")
        if self._options.token is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), self._options.token.encode())
        if kind.lower() != "bearer" or not is_right:
            return _refuse(
                401, "send the service's token: Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
            )
        return None

    def _is_own_origin(self, headers: Headers, host: str) -> bool:
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return False
        origin = headers.get("origin")
        # Programs send none; browsers always do with what changes something.
        return origin is None or origin.partition("://")[2].lower() == host.lower()


def path_of(scope: Scope) -> str:
    """Return the path of a request within the service, without the prefix of a proxy."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    return path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path


def name_of_host(host: str) -> str:
    """Return the name in a Host header: lower case, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": message}, status_code=status, headers=headers)


def _with_headers(send: Send, policy: str) -> Send:
    async def send_protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers["content-security-policy"] = policy
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_protected
