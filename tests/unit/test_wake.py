"""Hints among the processes of one machine."""

import asyncio
import os
import socket
import struct
from contextlib import closing
from pathlib import Path

import pytest

from aurorasend import wake
from aurorasend.wake import Alone, Datagrams, Notifications, Wake


@pytest.mark.parametrize("name", ["wake", 150 * "a"], ids=["short", "longer than a socket's address"])
async def test_hints_go_both_ways_wherever_the_data_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder, heard = tmp_path / name, asyncio.Event()
    carrier = Datagrams(folder)
    await carrier.start(heard)
    monkeypatch.chdir(folder)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other:
        other.bind("other.sock")
        other.settimeout(5)
        await carrier.send()
        assert other.recv(16) == b"w"
        other.sendto(b"w", f"{os.getpid()}.sock")
        await asyncio.wait_for(heard.wait(), 5)
    await carrier.stop()
    assert [path.name for path in folder.iterdir()] == ["other.sock"]


async def test_what_cannot_be_removed_keeps_no_hint_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = Datagrams(tmp_path)
    await carrier.start(asyncio.Event())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1.sock").mkdir()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other:
        other.bind("other.sock")
        other.settimeout(5)
        await carrier.send()
        assert other.recv(16) == b"w"
    await carrier.stop()


class Faulty(Alone):
    """Its first hint meets a fault."""

    def __init__(self) -> None:
        self.sent = 0
        self.asked = asyncio.Event()

    async def send(self) -> None:
        self.sent += 1
        self.asked.set()
        if self.sent == 1:
            raise ValueError("a fault")


async def test_a_fault_costs_one_hint(caplog: pytest.LogCaptureFixture) -> None:
    carrier = Faulty()
    waking = Wake(carrier)
    await waking.start()
    async with asyncio.timeout(5):
        for _ in range(2):
            waking.work_added()
            await carrier.asked.wait()
            carrier.asked.clear()
    assert carrier.sent == 2 and "a fault" in caplog.text
    await waking.stop()


async def test_whatever_the_database_says_hints_are_listened_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it is cut off in the middle of its greeting."""
    monkeypatch.setattr(wake, "RECONNECT_S", 0.01)
    tries, thrice = 0, asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            thrice.set()
        if (await reader.read(1000))[4:8] == struct.pack("!i", 80877103):  # asks for TLS
            writer.write(b"N")
            await reader.read(1000)
        writer.write(b"R" + struct.pack("!i", 4))
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    listening = Notifications(f"postgresql://127.0.0.1:{server.sockets[0].getsockname()[1]}/?user=x")
    listening._heard = asyncio.Event()
    listening._lost()
    await asyncio.wait_for(thrice.wait(), 5)
    await listening.stop()
    server.close()
