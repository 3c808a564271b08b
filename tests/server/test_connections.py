"""Clients that send or read too slowly are left alone, and others are served meanwhile."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import httpx2 as httpx
import pytest
from pictures import picture
from stubs import FakeRestorer, wait_until

from swinir.server import ServerOptions, run
from swinir.server.models import ModelTable

HEAD = b"HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BODY = b"POST /v1/jobs?scale=2 " + HEAD + b"Content-Length: 100000\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve on a socket of this process, with little patience."""
    data = tmp_path_factory.mktemp("data")
    options = ServerOptions(data=data, port=0, models=("lightweight-x2",), client_s=0.7, grace_s=5.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelTable, "load", lambda self, name: FakeRestorer())
        listening = run.bind(options)
        server = run.create_server(options)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        server.address = listening.getsockname()
        wait_until(lambda: server.started, 60)
        yield server
        server.should_exit = True
        thread.join()


@pytest.fixture
def connect(server) -> Callable[[bytes], socket.socket]:
    """Connect to the service, and send the beginning of something."""
    with ExitStack() as sockets:

        def connect(start: bytes) -> socket.socket:
            connection = sockets.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
            connection.connect(server.address)
            connection.settimeout(30)
            connection.sendall(start)
            return connection

        yield connect
    wait_until(lambda: not server.server_state.connections, 30)


def is_closed_while_dripping(connection: socket.socket) -> bool:
    """Send one byte, and return whether the other side has closed the connection."""
    try:
        connection.sendall(b"x")
        connection.setblocking(False)
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.setblocking(True)


def receive_all(connection: socket.socket, pause_s: float = 0.0) -> bytes:
    received = b""
    while part := connection.recv(2**15):
        received += part
        time.sleep(pause_s)
    return received


def test_two_hundred_slow_clients_are_closed_and_another_one_is_served(server, connect):
    slow = [connect(b"GET /health HTT") for _ in range(100)] + [connect(BODY) for _ in range(100)]
    with httpx.Client(base_url="http://{}:{}".format(*server.address), timeout=30) as client:
        while slow:
            assert client.get("/health").status_code == 200
            slow = [connection for connection in slow if not is_closed_while_dripping(connection)]
            time.sleep(0.05)
        response = client.post("/v1/restore", params={"scale": 2}, content=picture())
    assert response.status_code == 200
    assert not list((server.config.app.state.service.files.folder).glob("*/upload"))


def test_a_body_that_comes_too_slowly_is_answered_with_408(connect):
    assert b" 408 " in connect(BODY).recv(4096).splitlines()[0]


def test_a_header_after_another_request_is_not_waited_for_either(connect):
    connection = connect(b"GET /health " + HEAD + b"\r\n")
    assert b" 200 " in connection.recv(4096).splitlines()[0]
    connection.sendall(b"GET /hea")
    wait_until(lambda: is_closed_while_dripping(connection), 8)


def test_a_body_that_nobody_wants_is_not_read_for_ever(connect):
    connection = connect(BODY.replace(b"scale=2", b"scale=0"))
    assert b" 422 " in connection.recv(4096).splitlines()[0]
    wait_until(lambda: is_closed_while_dripping(connection), 8)


def test_a_client_that_does_not_read_its_result_is_left(server, connect):
    body = picture(700, 700)
    head = b"POST /v1/restore?scale=2&format=tif " + HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    connection = connect(head + body)
    wait_until(lambda: server.server_state.connections)
    wait_until(lambda: not server.server_state.connections, 30)
    wait_until(lambda: not list(server.config.app.state.service.files.folder.iterdir()), 30)
    assert len(receive_all(connection)) < 1_000_000


def test_a_client_that_reads_slowly_gets_all_of_its_result(server, connect):
    body = picture(400, 400)
    head = (
        b"POST /v1/restore?scale=2 " + HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    connection = connect(head + body)
    head, _, content = receive_all(connection, 0.03).partition(b"\r\n\r\n")
    length = next(int(line[16:]) for line in head.splitlines() if line.lower().startswith(b"content-length"))
    assert len(content) == length > 500_000
