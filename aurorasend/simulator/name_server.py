"""An authoritative name server for everything, UDP and TCP, that can also fail on purpose."""

import asyncio
import struct
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT

IN = dns.rdataclass.IN
UDP_BYTES = 512  # RFC 1035 §2.3.4, without EDNS
TCP_IDLE_S = 5.0
SILENT = "TIMEOUT"  # a way to be broken: no answer at all


class NameServer:
    """Names are compared without case and without the final dot. Names under `invalid` never exist (RFC 6761 §6.4)."""

    def __init__(self, port: int = 0, ttl_s: int = 0) -> None:
        self.address = "127.0.0.1"
        self.port = port
        self.catch_all = ""  # the mail host of every domain that has no record of its own
        self.questions: list[tuple[str, str]] = []  # (name, kind) as asked, the latest 1000
        self._ttl_s = ttl_s
        self._records: dict[tuple[str, str], list[dns.rdata.Rdata]] = {}
        self._broken: dict[str, str] = {}
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self) -> None:
        """UDP and TCP on the same port. Raises OSError."""
        self._tcp = await asyncio.start_server(self._serve_tcp, self.address, self.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), (self.address, self.port))

    async def close(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    # -- zones

    def add(self, name: str, kind: str, *values: str) -> None:
        """Add records in zone file form: add("a.example", "MX", "10 mx.example.")."""
        for value in values:
            rdata = dns.rdata.from_text(IN, dns.rdatatype.from_text(kind), value, relativize=False)
            self._records.setdefault((_key(name), kind), []).append(rdata)

    def add_mx(self, domain: str, host: str, preference: int = 10) -> None:
        self.add(domain, "MX", f"{preference} {host}.")

    def add_null_mx(self, domain: str) -> None:
        """RFC 7505."""
        self.add(domain, "MX", "0 .")

    def add_txt(self, name: str, text: str) -> None:
        """Of any length: a DKIM key is cut in strings of 255 octets."""
        octets = text.encode()
        strings = [octets[n : n + 255] for n in range(0, len(octets), 255)] or [b""]
        self._records.setdefault((_key(name), "TXT"), []).append(TXT(IN, dns.rdatatype.TXT, strings))

    def remove(self, name: str, kind: str = "") -> None:
        """Forget the records of `name`, or those of one kind."""
        for key in [key for key in self._records if key[0] == _key(name) and kind in ("", key[1])]:
            del self._records[key]

    def fail(self, name: str, how: str = "SERVFAIL") -> None:
        """Answer every question for `name` with an rcode ("SERVFAIL", "REFUSED", "NXDOMAIN"), or SILENT; "" mends it."""
        self._broken.pop(_key(name), None)
        if how:
            self._broken[_key(name)] = how

    # -- questions

    def answer(self, query: bytes, limit: int = 0) -> bytes | None:
        """The answer to one question in wire form, None for silence. `limit` is UDP's, else 0."""
        try:
            message = dns.message.from_wire(query)
            question = message.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        name, kind = _key(question.name.to_text()), dns.rdatatype.to_text(question.rdtype)
        self.questions = [*self.questions[-999:], (name, kind)]
        how = self._broken.get(name, "")
        if how == SILENT:
            return None
        response = dns.message.make_response(message, recursion_available=True)
        response.set_rcode(dns.rcode.from_text(how) if how else self._fill(response, name, kind))
        return _pack(response, max(limit, min(message.payload, 4096)) if limit else 65535)

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> dns.rcode.Rcode:
        owner = response.question[0].name
        for _ in range(8):
            alias = self._records.get((name, "CNAME")) if kind != "CNAME" else None
            if not alias:
                break
            response.answer.append(dns.rrset.from_rdata_list(owner, self._ttl_s, alias))
            owner = cast("dns.name.Name", alias[0].target)  # type: ignore[attr-defined]
            name = _key(owner.to_text())
        found = self._records.get((name, kind)) or self._caught(name, kind)
        if found:
            response.answer.append(dns.rrset.from_rdata_list(owner, self._ttl_s, found))
        return dns.rcode.NOERROR if found or self._exists(name) else dns.rcode.NXDOMAIN

    def _caught(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        if not self.catch_all or kind != "MX" or self._exists(name) or name.split(".")[-1] == "invalid":
            return []
        return [dns.rdata.from_text(IN, dns.rdatatype.MX, f"10 {self.catch_all}.")]

    def _exists(self, name: str) -> bool:
        return any(known == name or known.endswith(f".{name}") for known, _ in self._records)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TCP_IDLE_S):
                while True:
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                    answer = self.answer(await reader.readexactly(size))
                    if answer is None:
                        return
                    writer.write(struct.pack("!H", len(answer)) + answer)
        except (asyncio.IncompleteReadError, OSError):  # TimeoutError is an OSError
            pass
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, UDP_BYTES)
        if answer is not None:
            self._transport.sendto(answer, addr)


def _pack(response: dns.message.Message, limit: int) -> bytes:
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC  # ask again by TCP
        return response.to_wire()


def _key(name: str) -> str:
    return name.rstrip(".").lower()
