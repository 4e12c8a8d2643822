"""Servers for this machine alone."""

from __future__ import annotations

import os
import socket

import pytest
import requests

from alstm_helpers.loopback import HOST, bypass_proxy, free_port, listening, listens


def test_an_answer_does_not_wait_for_the_client_s_word_on_its_first_packet():
    """Head and body are two packets; without this each request takes 40 ms more."""
    port = free_port()
    with listening(port) as listener, socket.create_connection((HOST, port)), listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_probe_that_meets_itself_is_no_server(monkeypatch):
    port = free_port()

    class Probe(socket.socket):
        def connect_ex(self, address):
            self.bind(address)  # as the system may choose
            return super().connect_ex(address)

    monkeypatch.setattr(socket, "socket", Probe)
    assert not listens(port)


def test_a_server_is_seen():
    with socket.create_server((HOST, 0)) as server:
        assert listens(server.getsockname()[1])


@pytest.mark.parametrize("before, after", [("", HOST), ("a.org", f"a.org,{HOST}"), (f"{HOST},b.org", f"{HOST},b.org")])
def test_this_machine_is_reached_without_a_proxy(monkeypatch, before, after):
    monkeypatch.setenv("http_proxy", "http://a.proxy:80")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, before)
    bypass_proxy()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == after
    assert not requests.utils.get_environ_proxies(f"http://{HOST}:8080/predict")
    assert requests.utils.get_environ_proxies("http://c.org/")["http"] == "http://a.proxy:80"
