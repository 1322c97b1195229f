"""Wakes whoever waits for work: this process at once, other processes by a hint.

On SQLite the hint is a datagram to a socket of each process under DATA/wake; on PostgreSQL LISTEN and NOTIFY. A hint
may be lost: whoever waits looks again after a second (design §4).
"""

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import Protocol

import asyncpg

log = logging.getLogger(__name__)

QUIET_S = 0.02  # the first hint goes at once, what comes in so long after it goes together
CHANNEL = "aurorasend_work"
RECONNECT_S = 1.0
LONGEST_PATH = 100  # bytes; sockaddr_un has room for 104 on some systems, 108 on others


class Carrier(Protocol):
    """Brings hints to the other processes of the store, and theirs to `heard`."""

    async def start(self, heard: asyncio.Event) -> None: ...

    async def send(self) -> None: ...

    async def stop(self) -> None: ...


class Wake:
    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._work = asyncio.Event()
        self._hint = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._carrier.start(self._work)
        self._sender = asyncio.get_running_loop().create_task(self._send_hints())

    async def stop(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        await self._carrier.stop()

    def work_added(self) -> None:
        """Something is due: it was committed before this call."""
        self._work.set()
        self._hint.set()

    def work_here(self) -> None:
        """There may be something to do for this process only (room in a lane)."""
        self._work.set()

    async def wait(self, timeout_s: float) -> None:
        """Until there may be work, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._work.wait()
        except TimeoutError:
            pass
        self._work.clear()

    async def _send_hints(self) -> None:
        while True:
            await self._hint.wait()
            self._hint.clear()
            try:
                await self._carrier.send()
            except Exception:  # nobody else would send any ever again
                log.exception("no hint sent")
            await asyncio.sleep(QUIET_S)


class Alone:
    """No other process: nothing to carry."""

    async def start(self, heard: asyncio.Event) -> None:
        return

    async def send(self) -> None:
        return

    async def stop(self) -> None:
        return


class Datagrams:
    """Unix datagram sockets in `folder`, one per process; a socket whose process is gone is removed by who finds it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{os.getpid()}.sock"
        self._handle = -1  # of the folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def start(self, heard: asyncio.Event) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = os.open(self._folder, os.O_RDONLY)
        self._path.unlink(missing_ok=True)
        self._socket.setblocking(False)
        self._socket.bind(self._address(self._path))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._hear, heard)

    async def send(self) -> None:
        try:
            names = os.listdir(self._handle)
        except OSError as error:  # no file is left: who is not told looks once a second
            log.debug("no hints: %s", error)
            return
        for name in names:
            if not name.endswith(".sock") or name == self._path.name:
                continue
            path = self._folder / name
            try:
                self._socket.sendto(b"w", self._address(path))
            except (ConnectionRefusedError, FileNotFoundError):
                with contextlib.suppress(OSError):  # what cannot be removed keeps no hint from others
                    path.unlink()
            except OSError as error:  # its buffer is full: it has hints enough
                log.debug("no hint to %s: %s", path.name, error)

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        os.close(self._handle)
        self._path.unlink(missing_ok=True)

    def _address(self, path: Path) -> str:
        """A name of `path` that fits into the address of a socket."""
        whole = str(path)
        return whole if len(os.fsencode(whole)) <= LONGEST_PATH else f"/proc/self/fd/{self._handle}/{path.name}"

    def _hear(self, heard: asyncio.Event) -> None:
        try:
            while self._socket.recv(16):
                heard.set()
        except BlockingIOError:
            return


class Notifications:
    """LISTEN and NOTIFY on a connection of their own, opened again when it breaks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._heard: asyncio.Event | None = None
        self._opening: asyncio.Task[None] | None = None

    async def start(self, heard: asyncio.Event) -> None:
        self._heard = heard
        await self._open()

    async def send(self) -> None:
        connection = self._connection
        if connection is None or connection.is_closed():
            return
        try:
            await connection.execute(f"NOTIFY {CHANNEL}", timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.debug("no hint: %s", error)

    async def stop(self) -> None:
        self._heard = None
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.terminate()

    async def _open(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=10)
        await connection.add_listener(CHANNEL, lambda *_: self._hear())
        connection.add_termination_listener(lambda _: self._lost())
        self._connection = connection

    def _hear(self) -> None:
        if self._heard is not None:
            self._heard.set()

    def _lost(self) -> None:
        self._connection = None
        if self._heard is not None:
            self._opening = asyncio.get_running_loop().create_task(self._open_again())

    async def _open_again(self) -> None:
        while self._heard is not None and self._connection is None:
            await asyncio.sleep(RECONNECT_S)
            try:
                await self._open()
            except Exception as error:  # asyncpg has many, and nobody else would try ever again
                log.info("hints between nodes wait for the database: %s", type(error).__name__)
