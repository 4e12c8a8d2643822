"""Servers on this machine for this machine: nothing here listens on any address but the loopback."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from alstm_helpers.errors import AlstmError

HOST = "127.0.0.1"


def listens(port: int) -> bool:
    """Tell whether a program accepts connections on a port."""
    with socket.socket() as probe:
        # A probe may be given that very port as its own, and then connects to itself.
        return probe.connect_ex((HOST, port)) == 0 and probe.getsockname() != (HOST, port)


def require_free(port: int) -> None:
    """Check that no program listens on a port.

    Raises:
        AlstmError: one does.
    """
    if listens(port):
        raise AlstmError(f"port {port}", "another program is listening there", f"pass another port, such as {port + 1}")


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port, whose connections send what they have at once.

    Raises:
        AlstmError: the port is taken, or the system does not give it to this user.
    """
    require_free(port)  # Windows lets two programs listen
    try:
        listener = socket.create_server((HOST, port))
        # Without it the body of an answer waits 40 ms for the client's word that the head has come.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise AlstmError(f"port {port}", str(error.strerror or error), "pass another port, such as 8081") from None


def free_port() -> int:
    """Return a port that no program is using at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def bypass_proxy() -> None:
    """Let requests of this process, and of those that it starts, come to this machine without a proxy.

    Where the system names one for all addresses, it would be asked for 127.0.0.1, too, and knows another machine by it.
    """
    for name in ("no_proxy", "NO_PROXY"):
        exceptions = os.environ.get(name, "").split(",")
        if HOST not in exceptions:
            os.environ[name] = ",".join(filter(None, (*exceptions, HOST)))


def start_server(
    arguments: Sequence[str], port: int, *, wait_seconds: float = 30, by_hand: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start Python with arguments that make it a server, and wait until it listens; the caller terminates it.

    Args:
        arguments: of Python.
        port: that the server listens at.
        wait_seconds: how long it may take.
        by_hand: the command with which a user can see why it does not start, if it is not Python with the arguments.

    Raises:
        AlstmError: the port is taken, or the server did not start.
    """
    require_free(port)
    bypass_proxy()  # the caller is about to ask it
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + wait_seconds
    try:
        while time.monotonic() < deadline and process.poll() is None:
            if listens(port):
                return process
            time.sleep(0.1)
    except BaseException:  # Ctrl-C
        process.kill()
        raise
    process.terminate()
    command = shlex.join(by_hand or ["python", *arguments])
    raise AlstmError(f"port {port}", "the server did not start", f"run it by hand: {command}")
