"""Servers for this machine alone."""

from __future__ import annotations

import os
import socket

import pytest
import requests

from alstm_helpers.loopback import HOST, bypass_proxy, free_port, listening


def test_an_answer_does_not_wait_for_the_client_s_word_on_its_first_packet():
    """Head and body are two packets; without this each request takes 40 ms more."""
    port = free_port()
    with listening(port) as listener, socket.create_connection((HOST, port)), listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("before, after", [("", HOST), ("a.org", f"a.org,{HOST}"), (f"{HOST},b.org", f"{HOST},b.org")])
def test_this_machine_is_reached_without_a_proxy(monkeypatch, before, after):
    monkeypatch.setenv("http_proxy", "http://a.proxy:80")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, before)
    bypass_proxy()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == after
    assert not requests.utils.get_environ_proxies(f"http://{HOST}:8080/predict")
    assert requests.utils.get_environ_proxies("http://c.org/")["http"] == "http://a.proxy:80"
