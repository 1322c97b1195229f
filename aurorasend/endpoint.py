"""An endpoint of the API, declared once: path, parameters, credentials, limits, codes. Everything else follows from it.

    @endpoint("label/add", raises=(Code.LABEL_NAME_TAKEN,), unavailable=Code.LABEL_NOT_CREATED)
    async def add(call: ApiCall, p: AddLabel) -> Info:
        '''Create a label.'''

Called by http (`Catalogue.find`, `Server.answer`); portal reads the same declarations. Calls carrier, fields, and what a
node offers (`Host`). Always: the checks come in the order of conventions.md §11; an answer is an envelope, whatever
happens; a code that the endpoint did not declare is a bug of ours.
"""

import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timezone
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, get_type_hints

import msgspec

from aurorasend import carrier
from aurorasend.carrier import Parameters
from aurorasend.clock import Clock
from aurorasend.codes import Code, Refused, Unavailable
from aurorasend.config import Settings
from aurorasend.fields import Form

if TYPE_CHECKING:
    from aurorasend.account import ApiUser, SmsUser
    from aurorasend.node import Node

log = logging.getLogger(__name__)

EMAIL_PREFIXES = ("", "api", "apiv2")  # conventions.md §2
FAULTS_KEPT = 100  # ours: enough to see what went wrong, without growing for ever

C = TypeVar("C", covariant=True)
P = TypeVar("P")
Info = Mapping[str, object]


class Auth(Enum):
    """Whose credentials an endpoint asks for, and the codes of their failure (conventions.md §3, sms.md §2.3)."""

    API_USER = frozenset({Code.AUTHENTICATION_FAILED})
    SMS = frozenset(
        {
            Code.AUTHENTICATION_FAILED,
            Code.SMS_SIGNATURE_INVALID,
            Code.SMS_SIGNATURE_MISMATCH,
            Code.SMS_TIMESTAMP_INVALID,
            Code.SMS_USER_UNKNOWN,
            Code.SMS_USER_EMPTY,
            Code.SMS_NOT_ENABLED,
            Code.SMS_ACCOUNT_UNKNOWN,
        }
    )
    NONE = frozenset[Code]()  # of no tuples: the empty one is lost by Python 3.11's first releases


class Frequency(Enum):
    """Which limit of calls a minute counts (conventions.md §8). SEND also means that the IP allowlist applies (§3.4)."""

    QUERY = "query"
    SEND = "send"
    SMS = "sms"

    @property
    def code(self) -> Code:
        return Code.SEND_FREQUENCY_LIMITED if self is Frequency.SEND else Code.FREQUENCY_LIMITED


class Authenticator(Protocol):
    async def api_user(self, name: str, key: str, region: str, now_us: int) -> "ApiUser | None":
        """The API user that `name` and `key` prove, if it may call in `region`."""

    async def sms(self, raw: Parameters, now_us: int) -> "SmsUser":
        """The SMS user that the parameters prove, by key or signature. Raises Refused."""


class Allowance(Protocol):
    async def take(self, caller: "ApiUser | SmsUser", endpoint: str, kind: Frequency) -> bool:
        """Count one call of `endpoint` (its key); False when it is one too many."""


class Sources(Protocol):
    def admit(self, caller: "ApiUser | SmsUser", peer: str) -> bool:
        """Whether the IP allowlist lets `peer` send for `caller`; it is remembered that it asked."""


class Host(Protocol):
    """What a node offers to this layer."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def zone(self) -> timezone: ...
    @property
    def authenticator(self) -> Authenticator: ...
    @property
    def allowance(self) -> Allowance: ...
    @property
    def sources(self) -> Sources: ...


class Call(msgspec.Struct, Generic[C], frozen=True):
    """One request on its way through an endpoint. `peer` is the client's address, `raw` all parameters as they came."""

    node: "Node"
    caller: C
    region: str
    peer: str
    raw: Parameters
    request_id: str


if TYPE_CHECKING:
    ApiCall = Call[ApiUser]
    SmsCall = Call[SmsUser]
else:
    ApiCall = SmsCall = Call


class Answer(msgspec.Struct, frozen=True):
    """What a handler returns when its code is not 200 (40821, 40401, 311)."""

    code: Code
    info: Info


Handler = Callable[[Call[Any], P], Awaitable[Info | Answer]]


def standard(code: Code, text: str, info: Info) -> dict[str, object]:
    """conventions.md §5; of the one body that is documented with another spelling, both (data.md §5)."""
    told = {"result": code.ok, "statusCode": code.number, "message": text, "info": info}
    return {**told, "statuscode": code.number} if code is Code.FREQUENCY_LIMITED else told


def v1(code: Code, text: str, info: Info) -> dict[str, object]:
    """conventions.md §9: no codes, payload at top level."""
    return {"message": "success", **info} if code.ok else {"message": "error", "errors": [text]}


class Envelope(Enum):
    STANDARD = "standard"
    V1 = "v1"

    def wrap(self, code: Code, text: str, info: Info) -> bytes:
        readable = text.encode("utf-8", "replace").decode()  # a detail may quote bytes that are no text
        return msgspec.json.encode((v1 if self is Envelope.V1 else standard)(code, readable, info))


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One declaration. `path` is `module/action`; `aliases` are whole other paths; `takes_over` names paths of other endpoints
    whose requests come here when the predicate says so (wire-notes 11); `permission` is what an API user's permission calls
    it (management.md §7.6)."""

    path: str
    permission: str
    handler: Handler[Any]
    form: Form[Any]
    raises: frozenset[Code]
    auth: Auth
    prefixes: tuple[str, ...]
    aliases: tuple[str, ...]
    methods: tuple[str, ...]
    frequency: Frequency | None
    permit: Callable[[Call[Any]], None] | None
    envelope: Envelope
    unreadable: Code
    unavailable: Code
    takes_over: Mapping[str, Callable[[Parameters], bool]]
    codes: frozenset[Code] = field(init=False)

    def __post_init__(self) -> None:
        common = {Code.SUCCESS, Code.SERVER_EXCEPTION, Code.NOT_PERMITTED, self.unreadable, self.unavailable, *self.auth.value}
        limited = {self.frequency.code} if self.frequency else set()
        codes = frozenset(common | limited | self.raises | self.form.codes)
        internal = sorted(code.name for code in codes if code.internal)
        if internal:
            raise ValueError(f"{self.path}: never the answer of a request: {', '.join(internal)}")
        object.__setattr__(self, "codes", codes)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that it answers on, the documented one first."""
        prefixed = [f"/{prefix}/{self.path}".replace("//", "/") for prefix in self.prefixes]
        return (*prefixed, *(f"/{path}" for path in self.aliases))

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        return (inspect.getdoc(self.handler) or "").partition("\n")[2].strip()


def endpoint(  # noqa: PLR0913 a declaration: every argument is a fact of the endpoint, by name
    path: str,
    *,
    raises: Iterable[Code] = (),
    auth: Auth = Auth.API_USER,
    prefixes: tuple[str, ...] = EMAIL_PREFIXES,
    aliases: tuple[str, ...] = (),
    methods: tuple[str, ...] = ("GET", "POST"),
    frequency: Frequency | None = Frequency.QUERY,
    permit: Callable[[Call[Any]], None] | None = None,
    unreadable: Code = Code.MAIL_FAULT,
    unavailable: Code = Code.SERVER_EXCEPTION,
    takes_over: Mapping[str, Callable[[Parameters], bool]] | None = None,
) -> Callable[[Handler[P]], Endpoint]:
    """Declares the handler below it; its second parameter's annotation is the dataclass of its parameters.

    `unreadable` answers a body that cannot be read. ours: 40902, the contract's code for what has none of its own
    (conventions.md §10, Decision), since it is the caller's doing and comes before credentials (§11.2).
    """

    def declare(handler: Handler[P]) -> Endpoint:
        return Endpoint(
            path=path,
            permission=path.lower(),
            handler=handler,
            form=Form(_parameters(handler)),
            raises=frozenset(raises),
            auth=auth,
            prefixes=prefixes,
            aliases=aliases,
            methods=methods,
            frequency=frequency,
            permit=permit,
            envelope=Envelope.STANDARD,
            unreadable=unreadable,
            unavailable=unavailable,
            takes_over=takes_over or {},
        )

    return declare


def endpoint_v1(path: str, current: Endpoint, spell: Callable[[str], str] | None = None) -> Callable[[Handler[P]], Endpoint]:
    """Declares the handler below it as `current` in version 1 of the API (conventions.md §9): what it takes and tells is its
    own, all else is as `current` has it. `spell` makes other names of the declared parameters (fields.Form)."""

    def declare(handler: Handler[P]) -> Endpoint:
        form = Form(_parameters(handler), spell)
        return replace(
            current, path=path, handler=handler, form=form, prefixes=("",), aliases=(), takes_over={}, envelope=Envelope.V1
        )

    return declare


def _parameters(handler: Handler[P]) -> type[P]:
    second = list(inspect.signature(handler).parameters)[1]
    found: type[P] = get_type_hints(handler)[second]
    return found


def plain_path(path: str) -> str:
    """The key of a path: letter case, double and trailing slashes do not count (conventions.md §2, wire-notes 1)."""
    return "/" + "/".join(part for part in path.lower().split("/") if part)


class Catalogue:
    """All endpoints of an app, by path."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._routes: dict[str, Endpoint] = {}
        for each in endpoints:
            for path in each.paths:
                if self._routes.setdefault(plain_path(path), each) is not each:
                    raise ValueError(f"{path}: two endpoints on one path")
        self._rivals: dict[str, list[tuple[Callable[[Parameters], bool], Endpoint]]] = {}
        for each in endpoints:
            for path, wants in each.takes_over.items():
                self._rivals.setdefault(self._routes[plain_path(path)].path, []).append((wants, each))

    def find(self, path: str) -> Endpoint | None:
        return self._routes.get(path) or self._routes.get(plain_path(path))

    def settle(self, found: Endpoint, raw: Parameters) -> Endpoint:
        """The endpoint that answers a request to `found`."""
        for wants, rival in self._rivals.get(found.path, ()):
            if wants(raw):
                return rival
        return found


class Request(msgspec.Struct, frozen=True):
    """What http read of a request."""

    query: bytes
    content_type: str
    body: bytes
    region: str
    peer: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A bug of ours that a request met. Tests fail on any."""

    request_id: str
    endpoint: str
    error: Exception


class Undeclared(Exception):
    """An endpoint answered with a code that it does not declare."""


class Server:
    """Answers requests to the endpoints of a catalogue. One per process."""

    def __init__(self, node: Host, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.faults: deque[Fault] = deque(maxlen=FAULTS_KEPT)
        self.fault_count = 0
        self._node = node

    async def answer(self, found: Endpoint, request: Request) -> tuple[Code, bytes]:
        """The envelope, whatever happens (conventions.md §5.1); the code is for the log."""
        asked = found
        try:
            raw = _read(found, request)
            asked = self.catalogue.settle(found, raw)
            code, text, info = await self._performed(asked, request, raw)
            return code, asked.envelope.wrap(code, text, info)
        except Refused as refused:
            return refused.code, asked.envelope.wrap(refused.code, refused.text, refused.info)
        except Exception as error:
            self._count(Fault(request.request_id, asked.path, error))
            return Code.SERVER_EXCEPTION, asked.envelope.wrap(*_exception(Code.SERVER_EXCEPTION, request))

    async def _performed(self, asked: Endpoint, request: Request, raw: Parameters) -> tuple[Code, str, Info]:
        """What became of a request that could be read. Raises only what is a bug."""
        try:
            given = await self._handled(asked, request, raw)
            outcome = (given.code, given.code.message, given.info)
        except Refused as refused:
            outcome = (refused.code, refused.text, refused.info)
        except Unavailable as error:
            log.warning("%s %s: unavailable: %s", request.request_id, asked.path, error)
            outcome = _exception(asked.unavailable, request)
        if outcome[0] not in asked.codes:
            raise Undeclared(f"{asked.path} answered {outcome[0].name}")
        return outcome

    async def _handled(self, asked: Endpoint, request: Request, raw: Parameters) -> Answer:
        """conventions.md §11, steps 3 to 7; the handler does the rest."""
        caller = await self._identified(asked, request, raw)
        node = cast("Node", self._node)  # handlers know it as the whole node, this layer as a Host
        call = Call(node, caller, request.region, request.peer, raw, request.request_id)
        _admitted(asked, call)
        if asked.permit is not None:
            asked.permit(call)
        await self._within_allowance(asked, caller)
        limits = self._node.settings.limits
        given = await asked.handler(call, asked.form.read(raw, limits if caller is None else caller.account.limits(limits)))
        return given if isinstance(given, Answer) else Answer(Code.SUCCESS, given)

    async def _identified(self, asked: Endpoint, request: Request, raw: Parameters) -> "ApiUser | SmsUser | None":
        now_us = self._node.clock.now_us()
        match asked.auth:
            case Auth.NONE:
                return None
            case Auth.SMS:
                return await self._node.authenticator.sms(raw, now_us)
            case Auth.API_USER:
                name, key = raw.text("apiUser", "api_user"), raw.text("apiKey", "api_key")
                # No name or key holds anything else; what does is not worth a look into the store (which could not keep NUL).
                user = None
                if name and key and (name + key).isascii() and (name + key).isprintable():
                    user = await self._node.authenticator.api_user(name, key, request.region, now_us)
                if user is None:
                    raise Refused(Code.AUTHENTICATION_FAILED)
                return user

    async def _within_allowance(self, asked: Endpoint, caller: "ApiUser | SmsUser | None") -> None:
        if asked.frequency is None or caller is None:
            return
        if not await self._node.allowance.take(caller, asked.path, asked.frequency):
            raise Refused(asked.frequency.code)

    def _count(self, fault: Fault) -> None:
        self.fault_count += 1
        self.faults.append(fault)
        log.error("%s %s: fault of ours", fault.request_id, fault.endpoint, exc_info=fault.error)


def _read(found: Endpoint, request: Request) -> Parameters:
    try:
        return carrier.read(request.query, request.content_type, request.body)
    except carrier.Unreadable as problem:
        raise Refused(found.unreadable, str(problem)) from problem


def _admitted(asked: Endpoint, call: Call[Any]) -> None:
    """The IP allowlist, of mail sends only, and what the caller's permission denies (conventions.md §3.4, §3.5)."""
    if asked.frequency is Frequency.SEND and call.caller is not None and not call.node.sources.admit(call.caller, call.peer):
        raise Refused(Code.NOT_PERMITTED, "this address is not on the IP allowlist", message="request rejected")
    if asked.auth is Auth.API_USER and asked.permission in call.caller.denied:
        raise Refused(Code.NOT_PERMITTED)


def _exception(code: Code, request: Request) -> tuple[Code, str, Info]:
    """The customer reads the catalogue's words and the id under which the log has the cause."""
    return code, f"{code.message}: {request.request_id}", {}


def one(shown: Info) -> Info:
    """`info` of one object (conventions.md §5)."""
    return {"data": shown}


def page(rows: Sequence[Info], total: int) -> Info:
    """`info` of a page; `total` counts the rows of all pages."""
    return {"total": total, "count": len(rows), "dataList": rows}


def changed(count: int) -> Info:
    """`info` of a change."""
    return {"count": count}
