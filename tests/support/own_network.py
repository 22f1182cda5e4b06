"""A server that listens on every address, run where there are no addresses but its own loopback.

It gets a network namespace of its own (Linux, `unshare`), so nobody can reach it from outside; its ports appear on 127.0.0.1 here by way
of Unix sockets, which namespaces do not divide.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["can_have_own_network", "in_own_network"]

_UNSHARE = ["unshare", "--net", "--map-root-user"]


def can_have_own_network() -> bool:
    """Whether this machine lets us make a network namespace."""
    return (
        shutil.which("unshare") is not None and subprocess.run([*_UNSHARE, "true"], capture_output=True).returncode == 0
    )


@contextmanager
def in_own_network(command: Sequence[str], ports: Sequence[int], log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a network of its own and lend it `ports` of 127.0.0.1; what it prints goes to `log_file`."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(log_file.open("wb"))
        # not among the test's files: the address of a Unix socket must be short
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for port in ports:
            outside = stack.enter_context(socket.create_server(("127.0.0.1", port)))
            threading.Thread(
                target=_serve, args=(outside, socket.AF_UNIX, str(folder / str(port))), daemon=True
            ).start()
        process = subprocess.Popen(
            [*_UNSHARE, sys.executable, __file__, str(folder), ",".join(map(str, ports)), *command],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def _serve(listening: socket.socket, family: int, address: object) -> None:
    """Hand every connection on to `address`, until the listening socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            here, _ = listening.accept()
            there = socket.socket(family)
            try:
                there.connect(address)  # type: ignore[arg-type]
            except OSError:  # nobody listens there yet
                here.close()
                there.close()
                continue
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _inside(folder: Path, ports: Sequence[int], command: Sequence[str]) -> int:
    """In the namespace: loopback up, one Unix socket a port, then the server."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for port in ports:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(folder / str(port)))
        listening.listen()
        threading.Thread(target=_serve, args=(listening, socket.AF_INET, ("127.0.0.1", port)), daemon=True).start()
    server = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    return server.wait()


if __name__ == "__main__":
    sys.exit(_inside(Path(sys.argv[1]), [int(port) for port in sys.argv[2].split(",")], sys.argv[3:]))
