"""Hints among the processes of one machine."""

import asyncio
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from aurorasend.wake import Datagrams


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
