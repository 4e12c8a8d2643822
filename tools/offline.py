"""Run a command with no network but the loopback: ``python tools/offline.py make course``.

Linux only. Makes an empty network namespace, in which every name look-up and every connection to another machine
fails at once, and starts the loopback interface, which Jupyter needs to talk to its kernels. The exit status is the
command's, or 125 if the system does not allow this.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def enter_empty_network() -> None:
    """Leave the machine's network behind, as root or as an ordinary user.

    Raises:
        OSError: the system does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET if user == 0 else CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main() -> None:
    """Enter the empty network, make sure that nothing answers, and run the command."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        enter_empty_network()
    except (OSError, AttributeError) as error:
        print(f"offline: not allowed here ({error})", file=sys.stderr)
        sys.exit(125)
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("192.0.2.1", 80)) == 0:
            print("offline: the network still answers", file=sys.stderr)
            sys.exit(125)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
