"""A server whose SQLite does not sync as it must, for the test that shows that its check finds this.

Program: `python -m tests.cluster.unsafe DATA PORT SYNCHRONOUS KEY=VALUE ...`.
"""

import asyncio
import socket
import sys
from pathlib import Path

import uvloop

from aurorasend.app import start
from aurorasend.clock import SystemClock
from aurorasend.config import Settings, load
from aurorasend.store.sqlite import SqliteStore


async def serve(settings: Settings, listening: socket.socket, synchronous: str) -> None:
    clock = SystemClock()
    await start(settings, [listening], clock, SqliteStore(settings.data / "aurorasend.db", clock, synchronous=synchronous))
    await asyncio.Event().wait()  # until it is killed


def main() -> None:
    data, port, synchronous, *assignments = sys.argv[1:]
    settings = load(Path(data), assignments=[*assignments, f"http.listen=127.0.0.1:{port}"])
    listening = socket.create_server(("127.0.0.1", int(port)), backlog=16)
    uvloop.run(serve(settings, listening, synchronous))


if __name__ == "__main__":
    main()
