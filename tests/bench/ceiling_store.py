"""Ceilings of the store: durable rows of 1 KB per second with 64 waiting clients and group commit, nothing else.

Program: `ceiling_store.py sqlite DIRECTORY SECONDS` or `ceiling_store.py postgres DSN SECONDS`; prints one JSON object.
Each client hands over one row and waits until it is durable; all rows that wait together share one commit, as
requests do in the product.
"""

import asyncio
import json
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import uvloop

CLIENTS = 64
PAYLOAD = os.urandom(1024)
Commit = Callable[[list[int]], Awaitable[None]]


class Group:
    """Collects what waits, commits it at once, and wakes everybody."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None
        self.commits = 0

    def put(self, key: int) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._drain())
        return future

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._commit([key for key, _ in batch])
            self.commits += 1
            for _, future in batch:
                future.set_result(None)


async def measure(commit: Commit, seconds: float) -> dict[str, object]:
    group = Group(commit)
    begin = time.monotonic()
    until = begin + seconds
    waits: list[float] = []

    async def client() -> None:
        while (asked := time.monotonic()) < until:
            await group.put(len(waits))
            waits.append(time.monotonic() - asked)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    wall = time.monotonic() - begin
    waits.sort()
    return {
        "rate": len(waits) / wall,
        "commits": group.commits / wall,
        "p50_ms": waits[len(waits) // 2] * 1e3,
        "p99_ms": waits[len(waits) * 99 // 100] * 1e3,
        "us": time.process_time() / len(waits) * 1e6,
    }


async def sqlite_rate(directory: Path, seconds: float) -> dict[str, object]:
    file = sqlite3.connect(directory / "ceiling.db", isolation_level=None, check_same_thread=False)
    file.execute("PRAGMA journal_mode=WAL")
    file.execute("PRAGMA synchronous=FULL")
    file.execute("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, payload BLOB)")

    def write(keys: list[int]) -> None:
        file.execute("BEGIN IMMEDIATE")
        file.executemany("INSERT INTO entry (payload) VALUES (?)", [(PAYLOAD,) for _ in keys])
        file.execute("COMMIT")

    with ThreadPoolExecutor(1) as writer:
        loop = asyncio.get_running_loop()
        try:
            return await measure(lambda keys: loop.run_in_executor(writer, write, keys), seconds)
        finally:
            await loop.run_in_executor(writer, file.close)


async def postgres_rate(dsn: str, seconds: float) -> dict[str, object]:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS entry (id bigserial PRIMARY KEY, payload bytea)")

    async def write(keys: list[int]) -> None:
        await connection.copy_records_to_table("entry", records=[(PAYLOAD,) for _ in keys], columns=["payload"])

    try:
        return await measure(write, seconds)
    finally:
        await connection.close()


def main() -> None:
    kind, place, seconds = sys.argv[1:4]
    work = postgres_rate(place, float(seconds)) if kind == "postgres" else sqlite_rate(Path(place), float(seconds))
    print(json.dumps(uvloop.run(work)))


if __name__ == "__main__":
    main()
