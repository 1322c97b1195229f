"""Who may see pages that have no sign-in: people at this machine, and the operator by token.

A peer on loopback is believed only when nothing was forwarded (a proxy on this machine speaks for
strangers), when loopback is not among the trusted proxies, when it speaks HTTP/1.1 (a proxy that says
nothing of itself mostly speaks 1.0) and when the Host is a loopback name: a web page that rebinds its
own name to 127.0.0.1 sends its own name as Host.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

COOKIE = "aurorasend_operator"
TOKEN_BYTES = 24  # 192 bits: cannot be guessed, so that wrong tries need no counting
FORM_BYTES = 4096
FORM_S = 10
COOKIE_AGE_S = 12 * 3600
FORWARDED = ("x-forwarded-for", "x-real-ip", "forwarded", "via")


def operator_token(path: Path) -> str:
    """The token in `path`, which is made with mode 0600 when there is none. Several processes may start at once."""
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)  # whole or not at all, and the first one counts
        finally:
            os.unlink(temporary)
    return path.read_text(encoding="ascii").strip()


@dataclass(frozen=True)
class OperatorAccess:
    token: str = field(repr=False)
    proxies: Sequence[Network] = ()  # those that speak for others

    def allows(self, request: Request) -> bool:
        return self._is_local(request) or self._is_token(_bearer(request)) or self._is_cookie(request.cookies.get(COOKIE, ""))

    async def exchange(self, request: Request) -> Response | None:
        """For a right token in `?token=` or a posted form: the way to the same page, with a cookie in its place. Else None."""
        given = await _posted(request) if request.method == "POST" else request.query_params.get("token", "")
        if not self._is_token(given):
            return None
        rest = urlencode([(key, value) for key, value in parse_qsl(request.url.query) if key != "token"])
        response = RedirectResponse(request.url.path + (f"?{rest}" if rest else ""), 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, self._cookie(), max_age=COOKIE_AGE_S, httponly=True, samesite="lax", secure=secure)
        return response

    def _is_local(self, request: Request) -> bool:
        """Whether the request comes from this machine, straight, to one of its loopback names."""
        if request.client is None or any(name in request.headers for name in FORWARDED) or request.scope["http_version"] == "1.0":
            return False
        if not _is_loopback(request.client.host) or any(ipaddress.ip_address(request.client.host) in one for one in self.proxies):
            return False
        return is_loopback_host(request.headers.get("host", ""))

    def _is_token(self, given: str) -> bool:
        return bool(self.token) and hmac.compare_digest(given.encode(), self.token.encode())

    def _is_cookie(self, given: str) -> bool:
        return bool(self.token) and hmac.compare_digest(given.encode(), self._cookie().encode())

    def _cookie(self) -> str:
        """Not the token itself, so that a cookie that leaks cannot be used where the token is asked for."""
        return hmac.new(self.token.encode(), b"sandbox cookie", "sha256").hexdigest()


def is_loopback_host(host: str) -> bool:
    """Whether the value of a Host header is localhost or a loopback address, with or without port."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    name = name.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


async def _posted(request: Request) -> str:
    """The token of the form that asks for it, "" when there is none."""
    body = b""
    try:
        async with asyncio.timeout(FORM_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > FORM_BYTES:
                    return ""
    except (TimeoutError, ClientDisconnect):
        return ""
    return dict(parse_qsl(body.decode("utf-8", "replace"))).get("token", "")


def _bearer(request: Request) -> str:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""
