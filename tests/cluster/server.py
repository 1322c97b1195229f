"""The real server as processes of their own: `aurorasend serve`, started, killed, stopped, and only by its own pids."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READY_S = 30.0
STOP_S = 40.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python(*arguments: str | Path) -> list[str]:
    return [sys.executable, *(str(argument) for argument in arguments)]


def command(*arguments: str | Path) -> list[str]:
    return python("-m", "aurorasend", *arguments)


class Node:
    """One `aurorasend serve` in a session of its own; with several workers it is a parent and its children.

    `settings` are `--set` pairs. `data` may be shared by several nodes (SQLite)."""

    def __init__(self, data: Path, settings: Mapping[str, str], *, workers: int = 1) -> None:
        self.data = data
        self.port = free_port()
        self.workers = workers
        self._settings = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self._log = data.parent / f"{data.name}.{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def bootstrap(self) -> dict[str, Any]:
        """The accounts for tests with their keys."""
        done = subprocess.run(
            command("bootstrap", "--data", self.data, *self._settings, "--json"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        accounts: dict[str, Any] = json.loads(done.stdout)["accounts"]
        return accounts

    def start(self) -> None:
        """Returns at once; see `ready`."""
        address = f"127.0.0.1:{self.port}"
        arguments = command("serve", "--data", self.data, "--http", address, "--workers", str(self.workers), *self._settings)
        self._spawn(arguments)

    def _spawn(self, arguments: Sequence[str]) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    async def ready(self, limit_s: float = READY_S) -> None:
        """Until it answers. Raises RuntimeError with the end of its log when it ends or does not."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if not self.lives:
                break
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(5):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    try:
                        writer.write(b"GET /nothing-here HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                        await reader.readuntil(b"\r\n\r\n")
                        return
                    finally:
                        writer.close()
            await asyncio.sleep(0.02)
        raise RuntimeError(f"the server does not answer: {self.log[-3000:]}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def worker_pids(self) -> list[int]:
        """The children of the parent; none with one worker, where the process itself is the worker."""
        with suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def kill(self) -> None:
        """SIGKILL to everything of it."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    async def stop(self) -> int:
        """SIGTERM; the exit status. What is left after STOP_S is killed, and the status is that of the kill."""
        process = self._process
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            return await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            self.kill()
