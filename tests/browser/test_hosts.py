"""Who may talk to the dashboard: its own page on this machine, under no foreign name and from no foreign page."""

import base64
import os
import socket
from urllib.parse import urlsplit

import pytest


def handshake(server, host, origin):
    """The status of the answer to a page of ``origin`` that opens the dashboard's web socket by the name ``host``."""
    port = urlsplit(server).port
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}:{port}",
        f"Origin: http://{origin}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    with socket.create_connection(("localhost", port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(100).split()[1])


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_the_dashboard_answers_its_own_page(server, name):
    assert handshake(server, name, name) == 101


@pytest.mark.parametrize(("host", "origin"), [("evil.example", "evil.example"), ("localhost", "evil.example")])
def test_a_foreign_page_is_refused_even_if_its_name_points_here(server, host, origin):
    assert handshake(server, host, origin) == 403
