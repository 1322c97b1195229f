"""An HTTP client of the API for load with few costs: one kept connection, urlencoded or multipart forms."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

ANSWER_S = 30.0


class Client:
    """One connection, opened when needed. Raises OSError when it breaks or refuses, TimeoutError when no answer comes:
    what became of the request is not known then."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, fields: Mapping[str, str], file: bytes | None = None) -> dict[str, Any]:
        """The envelope. `file` goes along as the attachment `file.bin`."""
        kind, body = _urlencoded(fields) if file is None else _multipart(fields, file)
        _, answer = await self.exchange(path, kind, body)
        envelope: dict[str, Any] = msgspec.json.decode(answer)
        return envelope

    async def exchange(self, path: str, kind: str, body: bytes) -> tuple[str, bytes]:
        """Head, in lower case, and body of the answer to a POST."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._ask(head.encode() + body)
        except asyncio.IncompleteReadError as error:
            self.close()
            raise ConnectionResetError("closed before the answer") from error
        except (OSError, TimeoutError):
            self.close()
            raise

    async def _ask(self, request: bytes) -> tuple[str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
        answer = await reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return head, answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _urlencoded(fields: Mapping[str, str]) -> tuple[str, bytes]:
    return "application/x-www-form-urlencoded", urlencode(fields).encode()


def _multipart(fields: Mapping[str, str], file: bytes) -> tuple[str, bytes]:
    mark = secrets.token_hex(12)
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="attachments"; filename="file.bin"\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + file + f"\r\n--{mark}--\r\n".encode()
    return f"multipart/form-data; boundary={mark}", body
