"""domain/list, get, add, update, checkConfig, verify, dkim/update, delete (management.md §5).

Handlers call the node's Domains, which has the rules, and show what came out. Called by endpoint.
"""

import re
from dataclasses import dataclass, replace
from typing import Annotated

from aurorasend.address import BadAddress
from aurorasend.clock import wall
from aurorasend.codes import Code, Refused
from aurorasend.domain import MAX_NAME, Checked, Status, domain_name, status_word
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one
from aurorasend.fields import Field, Kind, Seen, Trouble, host, integer, parser, text
from aurorasend.store import domain as rows
from aurorasend.store.domain import DKIM, DMARC, MX, SPF, Domain

_verify = re.compile(r"([<>]?)\s*([0-9]*)").fullmatch
_FEW = 1000  # names that one list may ask for


_host = host(MAX_NAME)


@parser(Kind.TOO_LONG, Kind.TOO_MANY, schema=_host.schema)
def one_domain(given: str) -> str:
    """That it is one comes before its form (README settled 16)."""
    if ";" in given:
        raise Trouble(Kind.TOO_MANY)
    return _host.read(given)


@parser(Kind.EMPTY, Kind.TOO_MANY)
def names(given: str) -> frozenset[str]:
    """What is no name of a domain is the name of none."""
    found = [name.strip() for name in text().read(given).split(";") if name.strip()]
    if not found:
        raise Trouble(Kind.EMPTY)
    if len(found) > _FEW:
        raise Trouble(Kind.TOO_MANY, f"at most {_FEW}")
    return frozenset(map(_kept, found))


def _kept(name: str) -> str:
    try:
        return domain_name(name)
    except BadAddress:
        return name


@dataclass(frozen=True)
class Verify:
    """`n`, `>n` (n or more), `<n` (n or less)."""

    sign: str
    mask: int

    def admits(self, verified: int) -> bool:
        return {"": verified == self.mask, ">": verified >= self.mask, "<": verified <= self.mask}[self.sign]


@parser(schema={"type": "string", "pattern": "^[<>]?[0-9]+$"})
def verify(given: str) -> Verify:
    """What stands after a sign and is no number has a code of its own (41011)."""
    found = _verify(given)
    if found is None and given[0] not in "<>":
        raise Trouble(Kind.INVALID)
    if found is None or not 1 <= len(found[2]) <= 9:
        raise Refused(Code.VERIFY_UNPARSABLE)
    return Verify(found[1], int(found[2]))


_NAME = Field(
    "name",
    one_domain,
    empty=Code.DOMAIN_EMPTY,
    invalid=Code.DOMAIN_INVALID,
    too_long=Code.DOMAIN_LENGTH,
    too_many=Code.DOMAIN_NOT_ONE,
    aliases=("domain",),
    doc="The domain.",
    example="mail.example.com",
)
Name = Annotated[str, _NAME]
NewName = Annotated[
    str,
    Field(
        "newName",
        one_domain,
        empty=Code.NEW_DOMAIN_EMPTY,
        invalid=Code.NEW_DOMAIN_INVALID,
        too_long=Code.NEW_DOMAIN_LENGTH,
        too_many=Code.NEW_DOMAIN_INVALID,
        doc="The domain's new name.",
        example="news.example.com",
    ),
]


def _asks_for_list(seen: Seen) -> bool:
    """v2 calls `domain/get` with the parameters of `domain/list` (management.md §5.8)."""
    raw = seen.raw
    return ";" in raw.joined("name", "domain") or bool(raw.text("type") or raw.text("verify"))


def _asks_for_one(seen: Seen) -> bool:
    return not _asks_for_list(seen)


_NAMES = Field(
    "name",
    names,
    empty=Code.DOMAIN_EMPTY,
    invalid=Code.DOMAIN_INVALID,
    too_many=Code.DOMAIN_INVALID,
    joined=True,
    aliases=("domain",),
    doc="Only domains of these names, joined by `;`.",
    example="mail.example.com",
)
Names = Annotated[frozenset[str] | None, _NAMES]
NamesToGet = Annotated[
    frozenset[str] | None,
    replace(_NAMES, when=_asks_for_list, sampled=True, doc="The domain. Several, joined by `;`, are listed."),
]
NameToGet = Annotated[str, replace(_NAME, when=_asks_for_one, required=_asks_for_one)]
Type = Annotated[
    int | None,
    Field(
        "type",
        integer(0, 1),
        empty=Code.DOMAIN_TYPE_EMPTY,
        invalid=Code.DOMAIN_TYPE_INVALID,
        doc="Only domains of this type: 0 test, 1 ordinary.",
        example="1",
    ),
]
Verified = Annotated[
    Verify | None,
    Field(
        "verify",
        verify,
        empty=Code.VERIFY_EMPTY,
        invalid=Code.VERIFY_INVALID,
        raises=(Code.VERIFY_UNPARSABLE,),
        doc="Only domains whose mask of verified records (1 DKIM, 2 SPF, 4 MX, 16 DMARC) is this number; `>7` is 7 or more, "
        "`<7` is 7 or less.",
        example=">7",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ListDomains:
    names: Names = None
    type: Type = None
    verify: Verified = None


@dataclass(frozen=True, kw_only=True)
class GetDomain:
    names: NamesToGet = None
    name: NameToGet = ""
    type: Type = None
    verify: Verified = None


@dataclass(frozen=True, kw_only=True)
class OneDomain:
    name: Name


@dataclass(frozen=True, kw_only=True)
class UpdateDomain:
    name: Name
    new_name: NewName


@endpoint("domain/list")
async def list_domains(call: ApiCall, p: ListDomains) -> Info:
    """List the sending domains of the account with the DNS records that they need, newest first."""
    return _list(call, await _found(call, p))


@endpoint("domain/get", raises=[Code.DOMAIN_UNKNOWN])
async def get_domain(call: ApiCall, p: GetDomain) -> Info:
    """Read a sending domain as the last check left it.

    With `type`, `verify` or several names it answers as `domain/list`.
    """
    if not p.name:
        return _list(call, await _found(call, p))
    found = await call.node.domains.get(call.caller.account.id, p.name)
    times = {"gmtCreated": wall(found.created, call.node.zone), "gmtUpdated": wall(found.updated, call.node.zone)}
    return one(_checked(call, _last_check(found)) | times)


@endpoint(
    "domain/add",
    raises=[Code.DOMAIN_TOO_MANY, Code.DOMAIN_NOT_CREATED],
    unavailable=Code.DOMAIN_NOT_CREATED,
)
async def add_domain(call: ApiCall, p: OneDomain) -> Info:
    """Add a sending domain.

    It can be sent with when its SPF, DKIM and MX records were seen in DNS: publish them, then call `domain/checkConfig`.
    """
    _refuse_reserved(call, p.name, Code.DOMAIN_INVALID)
    account = call.caller.account
    limit = call.node.settings.domain.per_account if account.domain_limit is None else account.domain_limit
    return one(_shown(call, await call.node.domains.add(account.id, p.name, limit)))


@endpoint(
    "domain/update",
    raises=[Code.DOMAIN_UNKNOWN, Code.DOMAIN_NOT_UPDATED],
    unavailable=Code.DOMAIN_NOT_UPDATED,
)
async def update_domain(call: ApiCall, p: UpdateDomain) -> Info:
    """Give a sending domain another name.

    Only while none of its records is verified. It gets a new key; API users bound to it follow.
    """
    _refuse_reserved(call, p.new_name, Code.NEW_DOMAIN_INVALID)
    made = await call.node.domains.rename(call.caller.account.id, p.name, p.new_name)
    call.node.accounts.forget(call.caller.account.id)
    return one(_shown(call, made))


@endpoint("domain/checkConfig", raises=[Code.DOMAIN_UNKNOWN])
async def check_domain(call: ApiCall, p: OneDomain) -> Info:
    """Look the DNS records of a sending domain up now, and keep what was found.

    What could not be asked for counts as `none` in the answer, and stays as it was.
    """
    return one(_checked(call, await _check(call, p.name)))


@endpoint("domain/verify", raises=[Code.DOMAIN_UNKNOWN])
async def verify_domain(call: ApiCall, p: OneDomain) -> Info:
    """The same as `domain/checkConfig`."""
    checked = await _check(call, p.name)
    status = {"domain": checked.domain.name, "status": status_word(checked.domain.verified)}
    return {**one(_checked(call, checked)), **status}


@endpoint("domain/dkim/update", raises=[Code.DOMAIN_UNKNOWN], unavailable=Code.DOMAIN_NOT_UPDATED)
async def renew_key(call: ApiCall, p: OneDomain) -> Info:
    """Make a new DKIM key for a sending domain, under a new selector.

    The domain is unverified until the new record was seen.
    """
    made = await call.node.domains.renew_key(call.caller.account.id, p.name)
    call.node.accounts.forget(call.caller.account.id)
    return {
        "domain": made.name,
        "dkimSelector": made.selector,
        "dkimPublicKey": call.node.domains.records(made).dkim[1],
        "status": status_word(made.verified),
    }


@endpoint("domain/delete", raises=[Code.DOMAIN_UNKNOWN], unavailable=Code.DOMAIN_NOT_UPDATED)
async def delete_domain(call: ApiCall, p: OneDomain) -> Info:
    """Delete a sending domain.

    API users that are bound to it keep sending with its key until they are bound to another one.
    """
    return changed(await call.node.domains.remove(call.caller.account.id, p.name))


async def _found(call: ApiCall, p: ListDomains | GetDomain) -> list[Domain]:
    account_id = call.caller.account.id
    return [
        each
        for each in await call.node.store.read(lambda tx: rows.every(tx, account_id))
        if (p.names is None or each.name in p.names)
        and (p.type is None or each.type == p.type)
        and (p.verify is None or p.verify.admits(each.verified))
    ]


async def _check(call: ApiCall, name: str) -> Checked:
    checked = await call.node.domains.check(call.caller.account.id, name)
    call.node.accounts.forget(call.caller.account.id)  # it may be sent with from now on
    return checked


def _refuse_reserved(call: ApiCall, name: str, code: Code) -> None:
    if any(word in name for word in call.node.settings.domain.reserved):
        raise Refused(code, "a reserved word in the name")


def _last_check(found: Domain) -> Checked:
    """What is known without asking: a record that did not pass is told as missing."""

    def status(bit: int) -> Status:
        return Status.PASS if found.verified & bit else Status.NONE

    return Checked(found, status(SPF), status(DKIM), status(MX), status(DMARC))


def _list(call: ApiCall, found: list[Domain]) -> Info:
    return {"total": len(found), "count": len(found), "dataList": [_shown(call, each) for each in found]}


def _shown(call: ApiCall, each: Domain) -> Info:
    wanted, zone = call.node.domains.records(each), call.node.zone
    return {
        "name": each.name,
        "type": "ordinary" if each.type else "test",
        "verify": each.verified,
        "spf.domain": wanted.spf[0],
        "spf.value": wanted.spf[1],
        "dkim.domain": wanted.dkim[0],
        "dkim.value": wanted.dkim[1],
        "mx.domain": wanted.mx[0],
        "mx.value": wanted.mx[1],
        "dmarc.domain": wanted.dmarc[0],
        "dmarc.value": wanted.dmarc[1],
        "ipType": 0,
        "gmtCreated": wall(each.created, zone),
        "gmtUpdated": wall(each.updated, zone),
    }


def _checked(call: ApiCall, checked: Checked) -> dict[str, object]:
    wanted = call.node.domains.records(checked.domain)
    return {
        "name": checked.domain.name,
        "status": status_word(checked.domain.verified),
        "verify": checked.domain.verified,
        "spfStatus": checked.spf.value,
        "dkimStatus": checked.dkim.value,
        "mxStatus": checked.mx.value,
        "dmarcStatus": checked.dmarc.value,
        "spfRecord": wanted.spf[1],
        "dkimSelector": checked.domain.selector,
        "dkimPublicKey": wanted.dkim[1],
        "mxRecord": wanted.mx[1],
        "dmarcRecord": wanted.dmarc[1],
    }


ENDPOINTS = (
    list_domains,
    get_domain,
    add_domain,
    update_domain,
    check_domain,
    verify_domain,
    renew_key,
    delete_domain,
)
