"""How the text of a setting is read: one kind per type, the same for TOML, environment and flags.

A kind's `read` returns the typed value or raises ValueError; which setting was wrong, and where it
stood, is said by `sources.py`. Secrets keep out of every repr and str.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DURATION_UNITS = (
    ("ms", timedelta(milliseconds=1)),
    ("s", timedelta(seconds=1)),
    ("m", timedelta(minutes=1)),
    ("h", timedelta(hours=1)),
    ("d", timedelta(days=1)),
)
SIZE_UNITS = (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 10**3), ("MB", 10**6), ("GB", 10**9), ("B", 1))

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Kind(Generic[T_co]):
    """`form` completes the sentence "write ..."; a secret value is never repeated in a message."""

    form: str
    read: Callable[[str], T_co]
    secret: bool = False


@dataclass(frozen=True)
class HostPort:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Listener:
    """An address to listen on; `region` "" means that the Host of the request tells the region."""

    address: HostPort
    region: str = ""

    def __str__(self) -> str:
        return f"{self.region}={self.address}" if self.region else str(self.address)


@dataclass(frozen=True)
class Route:
    """Where outgoing mail goes: kind is "sandbox", "mx" or "smtp"; host, port, user and password only with "smtp"."""

    kind: str
    host: str = ""
    port: int = 0
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        """Made once: the lane of every mail begins with it."""
        return f"smtp://{HostPort(self.host, self.port)}" if self.kind == "smtp" else self.kind


@dataclass(frozen=True)
class StoreUrl:
    """`kind` is "sqlite" (the file is in the data directory, `url` is "") or "postgresql"; `url` may hold a password."""

    kind: str
    url: str = field(default="", repr=False)

    def __str__(self) -> str:
        if self.kind == "sqlite":
            return "sqlite"
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"postgresql://{host}{parts.path}"


def _measured(text: str, units: tuple[tuple[str, T], ...]) -> tuple[float, T]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text)
    found = dict(units).get(match[2]) if match else None
    if match is None or found is None:
        raise ValueError(text)
    return float(match[1]), found


def read_duration(text: str) -> timedelta:
    number, unit = _measured(text, DURATION_UNITS)
    try:
        return number * unit
    except OverflowError:
        raise ValueError(text) from None


def read_size(text: str) -> int:
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    number, unit = _measured(text, SIZE_UNITS)
    return int(number * unit)


def read_switch(text: str) -> bool:
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def read_host(text: str) -> str:
    """A host name or an IP address, without brackets."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", text):
        return str(ipaddress.IPv6Address(text))
    return text.lower()


def read_host_port(text: str, default_port: int | None = None) -> HostPort:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::(\d{1,5}))?", text)
    if match is None or (match[2] is None and default_port is None):
        raise ValueError(text)
    port = int(match[2]) if match[2] is not None else default_port or 0
    if port > 65535:
        raise ValueError(text)
    return HostPort(read_host(match[1].strip("[]")), port)


def read_region(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{1,16}", text):
        raise ValueError(text)
    return text


def read_listener(text: str) -> Listener:
    region, equals, address = text.rpartition("=")
    return Listener(read_host_port(address), read_region(region) if equals else "")


def read_route(text: str) -> Route:
    if text in ("sandbox", "mx"):
        return Route(text)
    parts = urlsplit(text)
    if parts.scheme != "smtp" or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("route")
    login, at, address = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    if at and not (user and colon):
        raise ValueError("route")
    hop = read_host_port(address, default_port=25)
    if hop.port == 0:
        raise ValueError("route")
    return Route("smtp", hop.host, hop.port, unquote(user), unquote(password))


def read_store(text: str) -> StoreUrl:
    if text == "sqlite":
        return StoreUrl("sqlite")
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ValueError("store")
    return StoreUrl("postgresql", "postgresql" + text[len(parts.scheme) :])


def read_base_url(text: str) -> str:
    """An http(s) URL without path, or "" for none; without the trailing slash."""
    parts = urlsplit(text)
    more = parts.path.strip("/") or parts.query or parts.fragment
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or more):
        raise ValueError(text)
    return text.rstrip("/")


def read_country(text: str) -> str:
    if text and not re.fullmatch(r"[A-Z]{2}", text):
        raise ValueError(text)
    return text


def read_selector(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,54}[A-Za-z0-9])?", text):  # room for a suffix in a label of 63
        raise ValueError(text)
    return text.lower()


def read_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(text)
    return text


def number(least: int, most: int) -> Kind[int]:
    def read(text: str) -> int:
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,12}", text) else least - 1
        if not least <= value <= most:
            raise ValueError(text)
        return value

    return Kind(f"a whole number from {least} to {most}", read)


def one_of(*words: str) -> Kind[str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Kind(" or ".join(words), read)


def list_of(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    def read(text: str) -> tuple[T, ...]:
        return tuple(kind.read(part.strip()) for part in text.split(",") if part.strip())

    return Kind(f"a list, each {kind.form}", read, kind.secret)


def map_of(key: str, value: Kind[T]) -> Kind[tuple[tuple[str, T], ...]]:
    """A table; kept as pairs in the order written, which a frozen dataclass can hold."""

    def read(text: str) -> tuple[tuple[str, T], ...]:
        pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
        if any(not (name and equals) for name, equals, _ in pairs):
            raise ValueError(text)
        return tuple((name.strip().lower(), value.read(rest.strip())) for name, _, rest in pairs)

    return Kind(f"a table of {key} = {value.form}", read)


def _least(kind: Kind[timedelta]) -> Kind[timedelta]:
    def read(text: str) -> timedelta:
        value = kind.read(text)
        if not value:
            raise ValueError(text)
        return value

    return Kind(kind.form + ", more than 0", read)


SWITCH = Kind("true or false", read_switch)
TOLERANCE = Kind('a duration such as "15s", "10m", "24h" or "30d"', read_duration)
DURATION = _least(TOLERANCE)
SIZE = Kind('a size in bytes such as 10485760 or "32MiB"', read_size)
LINE = Kind("a line of text", read_line)
SELECTOR = Kind("one DNS label", read_selector)
REGION = Kind("a region's short name", read_region)
HOST = Kind("a host name", read_host)
HOST_PORT = Kind("HOST:PORT", read_host_port)
OPTIONAL_HOST_PORT = Kind('HOST:PORT, or "" for none', lambda text: read_host_port(text) if text else None)
LISTENER = Kind("[REGION=]HOST:PORT", read_listener)
RESOLVER = Kind("HOST[:PORT]", lambda text: read_host_port(text, default_port=53))
NETWORK: Kind[Network] = Kind("a network such as 10.0.0.0/8", ipaddress.ip_network)
ROUTE = Kind("sandbox, mx or smtp://[USER:PASSWORD@]HOST[:PORT]", read_route, secret=True)
STORE = Kind("sqlite or postgresql://USER:PASSWORD@HOST:PORT/NAME", read_store, secret=True)
BASE_URL = Kind('an http or https URL without path, or "" for none', read_base_url)
COUNTRY = Kind('a country in two capital letters, or "" for none', read_country)
