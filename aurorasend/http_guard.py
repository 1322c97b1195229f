"""The one HTTP client for everything that goes out to addresses that customers choose: webhooks, and their probes.

Called by webhook and api. Calls resolver. Always: no connection is made to an address that is not public, unless the
operator allows its network; the check is on the very address that the socket connects to, so neither redirects nor a
name that changes its mind get round it. Nothing is raised for what the other side does: a Reply says it.
Redirects are not followed, proxies, cookies and credentials not used, and time and size are limited.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from aurorasend.address import BadAddress, ascii_domain
from aurorasend.resolver import Found, Resolver

MAX_URL = 2000  # characters; ours: what every server takes
MAX_BODY = 64 << 10  # octets of an answer that are read
CONNECTIONS = 200  # of one process

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Not public though `is_global` may say so: 6to4 relays, 6to4, Teredo and NAT64 lead to IPv4 addresses of any kind; clouds keep
# the secrets of a machine at addresses that only it sees, such as 192.0.0.192 (RFC 6890 §2.2.2) and Azure's 168.63.129.16.
_TUNNELS = ("192.88.99.0/24", "2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48")
_REFUSED = tuple(map(ipaddress.ip_network, (*_TUNNELS, "192.0.0.0/24", "168.63.129.16/32")))
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")  # RFC 4291 §2.4: all global unicast that was ever given out
_WEB_PORTS = (80, 443)  # of those under 1024; a GET must not reach a mail server
_unclean = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\]").search
_numeric = re.compile(r"0x[0-9a-f]*|[0-9]+").fullmatch  # a last label like this makes the host an IPv4 address, however written


class BadUrl(ValueError):
    """Not a URL that we would call. The text says what is wrong, without repeating the input."""


class Forbidden(PermissionError):
    """An address that is not ours to connect to; an OSError, as other failures to connect are."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a call. `status` 0 means no answer, and `why` tells the reason, for the log and the operator."""

    status: int
    body: bytes = b""
    why: str = ""


def checked_url(text: str) -> URL:
    """`text` as an http(s) URL. Raises BadUrl. Where its host leads is seen when it is called."""
    if len(text) > MAX_URL or _unclean(text):
        raise BadUrl("too long, or a character that no URL has")
    try:
        url = URL(text, encoded=text.isascii())
        host, port = url.raw_host or "", url.port
    except ValueError as problem:
        raise BadUrl("not a URL") from problem
    if url.scheme not in ("http", "https") or not host or not port:
        raise BadUrl("not an http or https URL")
    if url.user is not None or url.password is not None or "@" in url.raw_authority:
        raise BadUrl("credentials in the URL")
    if not _is_host(host):
        raise BadUrl("not a host name")
    return url


def is_public(address: Address) -> bool:
    """Whether anybody may be sent there: not private, loopback, link-local, shared (CGNAT), reserved, multicast, or a
    way to such an IPv4 address in the clothes of an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_V6:
        return False
    if any(address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast


class Outside:
    """One per process. Belongs to an event loop; `close` it."""

    def __init__(self, resolver: Resolver, allowed: Sequence[Network] = ()) -> None:
        """`allowed` networks may be called though they are private. The resolver is closed with the client."""
        self._resolver = resolver
        self._allowed = tuple(allowed)
        self._kept: aiohttp.ClientSession | None = None

    async def get(self, url: str, *, deadline_s: float) -> Reply:
        return await self._call(_Asked("GET", url, b"", {}, reuse=False), deadline_s)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float, reuse: bool = True) -> Reply:
        """With `reuse` on a connection that was left open, which the other side may be closing just then: for who repeats
        what failed."""
        return await self._call(_Asked("POST", url, body, headers, reuse), deadline_s)

    async def close(self) -> None:
        if self._kept is not None:
            await self._kept.close()
        await self._resolver.close()

    async def _call(self, asked: "_Asked", deadline_s: float) -> Reply:
        try:
            url = checked_url(asked.url)
            if url.port is not None and url.port < 1024 and url.port not in _WEB_PORTS:
                raise Forbidden("not a port of the web")
            async with asyncio.timeout(deadline_s):
                if asked.reuse:
                    self._kept = self._kept or self._open(reuse=True)
                    return await _exchange(self._kept, asked, url)
                async with self._open(reuse=False) as session:
                    return await _exchange(session, asked, url)
        except TimeoutError:
            return Reply(0, why=f"no answer within {deadline_s:g} s")
        except (BadUrl, OSError, aiohttp.ClientError, ValueError) as problem:  # ValueError: what a server can make aiohttp say
            return Reply(0, why=_reason(problem))

    def _open(self, *, reuse: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=_Names(self._resolver),
            socket_factory=self._socket,
            use_dns_cache=False,  # the resolver keeps answers as long as they may be kept
            limit=CONNECTIONS,
            force_close=not reuse,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "aurorasend"},
            auto_decompress=False,  # a small answer stays small
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None),  # each call has its own deadline
        )

    def _socket(self, info: Any) -> socket.socket:
        """The last gate: `info` has the address that is connected to next, literal or resolved."""
        family, kind, protocol, _, place = info
        if not self._permitted(place[0]):
            raise Forbidden("the address is not public")
        return socket.socket(family=family, type=kind, proto=protocol)

    def _permitted(self, host: str) -> bool:
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return is_public(address) or any(address in network for network in self._allowed)


@dataclass(frozen=True, slots=True)
class _Asked:
    method: str
    url: str
    body: bytes
    headers: Mapping[str, str]
    reuse: bool


async def _exchange(session: aiohttp.ClientSession, asked: _Asked, url: URL) -> Reply:
    body, headers = asked.body or None, asked.headers
    async with session.request(asked.method, url, data=body, headers=headers, allow_redirects=False) as answer:
        read = bytearray()
        async for chunk in answer.content.iter_any():
            read += chunk
            if len(read) > MAX_BODY:
                answer.close()  # the status is what counts; what is left is not waited for
                break
        return Reply(answer.status, bytes(read[:MAX_BODY]))


class _Names(AbstractResolver):
    """Our resolver in the form that aiohttp asks for."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._addresses(host)
        ]

    async def close(self) -> None:
        """It is Outside that closes the resolver."""

    async def _addresses(self, host: str) -> Sequence[str]:
        if host == "localhost" or host.endswith(".localhost"):
            return ("127.0.0.1",)  # RFC 6761 §6.3: never asked of DNS
        answer = await self._resolver.addresses(host)
        if answer.found is not Found.RECORDS:
            raise OSError(f"the host has no address: {answer.why or answer.found.value}")
        return answer.records


def _is_host(host: str) -> bool:
    """A name or a literal address; never an address in decimal, octal, hexadecimal or shortened form."""
    if ":" in host:
        return _is_address(host)
    if _numeric(host.rstrip(".").rpartition(".")[2].lower()):
        return _is_address(host)
    if host.lower() == "localhost":
        return True
    try:
        ascii_domain(host.rstrip("."))
    except BadAddress:
        return False
    return True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _reason(problem: Exception) -> str:
    """One clean line; the other side may have written some of it."""
    cause = next((each for each in (problem.__cause__, problem) if isinstance(each, Forbidden)), problem)
    text = " ".join(str(cause).split()) or type(cause).__name__
    return "".join(char for char in text if char.isprintable())[:200]
