"""An SMTP server that keeps what comes as it came: how a client cuts its words into packets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aurorasend.mx import Hop


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Hop, list[bytes]]]:
    """It takes all. A packet that a client writes whole is read whole as long as it is small."""
    packets: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        in_message, rest = False, b""
        while data := await reader.read(65536):
            packets.append(data)
            rest += data
            while True:
                part, end, left = rest.partition(b"\r\n.\r\n" if in_message else b"\r\n")
                if not end:
                    break
                rest = left
                writer.write(answer(part, in_message))
                in_message = part == b"DATA" and not in_message
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield Hop("peer.example", "127.0.0.1", server.sockets[0].getsockname()[1]), packets


def answer(part: bytes, in_message: bool) -> bytes:
    if in_message:
        return b"250 queued\r\n"
    special = {b"EHLO": b"250-peer\r\n250 PIPELINING\r\n", b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}
    return special.get(part[:4], b"250 ok\r\n")
