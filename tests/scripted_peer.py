"""A peer that plays a dialog of text: what an SMTP client meets outside, line by line."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aurorasend.mx import Hop


class Peer:
    """Plays a dialog. `<- line` is said with CRLF, `<! text` as it stands (with escapes), `-> line` must be heard, `...` reads
    a message up to its dot, `pause` waits, `quiet` waits and must hear nothing, `hold` waits until `go`, `eof` for the end of
    the connection; `close`, `reset` and `silence` end it. What else was heard is in `wrong`."""

    def __init__(self, *dialogs: str) -> None:
        """One for each connection; the last for all further ones too."""
        self.scripts = [[line.strip() for line in dialog.strip().splitlines()] for dialog in dialogs]
        self.wrong: list[str] = []
        self.done = asyncio.Event()
        self.holds = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for line in script:
                if not await self.step(line, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError) as problem:
            self.wrong.append(f"{type(problem).__name__} at {line}")
        finally:
            self.done.set()
            writer.close()

    async def step(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        verb, _, rest = line.partition(" ")
        match verb:
            case "<-":
                writer.write(rest.encode() + b"\r\n")
            case "<!":
                writer.write(rest.encode().decode("unicode_escape").encode("latin-1"))
            case "->":
                heard = (await reader.readuntil(b"\r\n"))[:-2].decode()
                if heard != rest:
                    self.wrong.append(f"{heard} instead of {rest}")
            case "...":
                await reader.readuntil(b"\r\n.\r\n")
            case "close":
                return False
            case "reset":
                writer.transport.abort()
                return False
            case "pause":
                await asyncio.sleep(0.05)
            case "quiet":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        self.wrong.append(f"{await reader.read(100)!r} instead of nothing")
            case "eof":
                with contextlib.suppress(ConnectionError):
                    if heard := await reader.read():
                        self.wrong.append(f"{heard!r} instead of the end")
                self.ended.set()
            case "hold":
                self.holds.set()
                await self.go.wait()
            case "silence":
                self.done.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
                return False
            case _:
                raise AssertionError(f"not a line of a dialog: {line}")
        await writer.drain()
        return True


@asynccontextmanager
async def playing(*dialogs: str) -> AsyncIterator[tuple[Peer, Hop]]:
    peer = Peer(*dialogs)
    server = await asyncio.start_server(peer.play, "127.0.0.1", 0)
    try:
        yield peer, Hop("peer.example", "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in peer.tasks:
            task.cancel()
        await asyncio.gather(*peer.tasks, return_exceptions=True)
