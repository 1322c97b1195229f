"""The parent of several workers: what happens when it or a worker is killed, and that a stop ends all of them."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.server import Node, python


@contextlib.contextmanager
def two_workers(data: Path) -> Iterator[Node]:
    node = Node(data, {}, workers=2)
    try:
        node.start()
        asyncio.run(node.ready())
        yield node
    finally:
        node.kill()


def wait_until_dead(pids: list[int], limit_s: float) -> list[int]:
    """Those that still live at the end of the time."""
    until = time.monotonic() + limit_s
    while (left := [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]) and time.monotonic() < until:
        time.sleep(0.05)
    return left


@pytest.mark.slow
def test_the_address_is_free_again_when_the_parent_was_killed(tmp_path: Path) -> None:
    with two_workers(tmp_path / "data") as node:
        workers = node.worker_pids()
        assert len(workers) == 2
        os.kill(node.pid, signal.SIGKILL)
        assert wait_until_dead(workers, 10) == []
    node.start()  # at the same address
    try:
        asyncio.run(node.ready())
    finally:
        node.kill()


@pytest.mark.slow
def test_a_stop_just_after_a_worker_died_ends_all(tmp_path: Path) -> None:
    with two_workers(tmp_path / "data") as node:
        time.sleep(0.1)
        for pid in node.worker_pids():
            os.kill(pid, signal.SIGKILL)  # the parent waits a little before it starts others
        time.sleep(0.05)
        os.kill(node.pid, signal.SIGTERM)
        assert wait_until_dead([node.pid], 10) == []


SHORT_OF_PROCESSES = """
import os
from itertools import count
given, calls = os.fork, count(1)

def fork():
    if next(calls) == 3:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return given()

os.fork = fork
from aurorasend.cli import main
main()
"""


@pytest.mark.slow
def test_a_worker_that_cannot_be_started_just_then_is_started_later(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", {}, workers=2)
    address = f"127.0.0.1:{node.port}"
    try:
        node._spawn(python("-c", SHORT_OF_PROCESSES, "serve", "--data", node.data, "--http", address, "--workers", "2"))
        asyncio.run(node.ready())
        before = node.worker_pids()
        os.kill(before[0], signal.SIGKILL)
        until = time.monotonic() + 15
        while len(set(node.worker_pids()) - {before[0]}) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert "no worker can be started" in node.log
        assert len(set(node.worker_pids()) - {before[0]}) == 2 and before[1] in node.worker_pids()
        assert asyncio.run(node.stop()) == 0
    finally:
        node.kill()


@pytest.mark.slow
def test_the_connections_of_a_client_are_spread_over_the_workers(tmp_path: Path) -> None:
    with two_workers(tmp_path / "data") as node:
        until = time.monotonic() + 10
        while min(counts := spread(node)) < 16 and time.monotonic() < until:
            time.sleep(0.2)  # the second may not be there yet
        assert sum(counts) == 64
        assert min(counts) >= 16, counts


def spread(node: Node) -> list[int]:
    """How many of 64 kept connections each worker has."""
    with contextlib.ExitStack() as kept:
        for _ in range(64):
            client = kept.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=10))
            client.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 404")
        return [connections(pid, node.port) for pid in node.worker_pids()]


def connections(pid: int, port: int) -> int:
    """How many open connections to `port` a process has."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(file) in wanted
    return found
