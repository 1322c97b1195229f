"""Email templates: the way from draft to approved, which may be used for a send, and whether content fits one.

Called by api.template, api.mail and operate. Calls store. Always: only an approved template of the caller's own type is
sent; an invoke name is unique in its account; what waits for audit is not changed (management.md §1.1).
"""

import re
from dataclasses import astuple, dataclass, replace
from enum import IntEnum

from aurorasend.codes import Code, Refused
from aurorasend.store import account as account_rows
from aurorasend.store import template as rows
from aurorasend.store.template import Listed
from aurorasend.store.tx import Tx

MAX_INVOKE_NAME = 255  # characters, management.md §1.4
MAX_NAME = 255  # characters
MAX_SUBJECT = 256  # characters
MAX_BODY = 2 << 20  # octets of UTF-8, html and text each

is_invoke_name = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_INVOKE_NAME}}}").fullmatch
has_script = re.compile(r"<script\b", re.IGNORECASE).search
_variables = re.compile(r"""%[^%\s"']{1,64}%""").split  # spec mail.md §8.4


class Stat(IntEnum):
    DRAFT = -2
    REJECTED = -1
    PENDING = 0
    APPROVED = 1


@dataclass(frozen=True, slots=True)
class Template:
    """`type` is 0 trigger or 1 batch; `html` or `text` is "" when the template has none, so are `subject` and
    `summary`. Times are UTC microseconds; `updated` is 0 until something changes."""

    id: int
    invoke_name: str
    name: str
    type: int
    subject: str
    html: str
    text: str
    summary: str
    stat: int
    created: int
    updated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a customer wants a template to be, None keeps what is there; `stat` is its state then."""

    name: str | None
    type: int | None
    subject: str | None
    html: str | None
    text: str | None
    summary: str | None
    stat: Stat

    @property
    def is_nothing(self) -> bool:
        return (self.name, self.type, self.subject, self.html, self.text, self.summary) == (None,) * 6


_NOT_TO_SUBMIT = {Stat.PENDING: Code.TEMPLATE_ALREADY_SUBMITTED, Stat.APPROVED: Code.TEMPLATE_ALREADY_APPROVED}
_NOT_TO_WITHDRAW = {
    Stat.DRAFT: Code.TEMPLATE_NEVER_SUBMITTED,
    Stat.REJECTED: Code.TEMPLATE_REVIEW_FAILED,
    Stat.APPROVED: Code.TEMPLATE_ALREADY_APPROVED,
}


async def get(tx: Tx, account_id: int, invoke_name: str) -> Template:
    """Raises Refused (40216)."""
    row = await rows.find(tx, account_id, invoke_name)
    if row is None:
        raise Refused(Code.TEMPLATE_UNKNOWN)
    return Template(*row)


async def add(tx: Tx, account_id: int, new: Template, limit: int) -> Template:
    """`new` with its id, in an account that may have `limit`. Raises Refused (40220, 40219)."""
    await account_rows.lock(tx, account_id)
    if await rows.listed(tx, account_id, new.invoke_name):
        raise Refused(Code.INVOKE_NAME_TAKEN)
    if await rows.count(tx, account_id) >= limit:
        raise Refused(Code.TEMPLATE_TOO_MANY, message=f"User can have no more than {limit} templates")
    added = replace(new, id=await tx.next_id(rows.SEQUENCE))
    if not await rows.add(tx, account_id, astuple(added)):
        raise Refused(Code.INVOKE_NAME_TAKEN)
    return added


async def change(tx: Tx, account_id: int, invoke_name: str, wanted: Wanted, now_us: int) -> int:
    """How many were changed: one, or none when nothing is wanted. Raises Refused (40216, 40223)."""
    found = await _locked(tx, account_id, invoke_name)
    if found.stat == Stat.PENDING:
        raise Refused(Code.TEMPLATE_UNDER_REVIEW)
    if wanted.is_nothing:
        return 0
    return await rows.change(tx, account_id, found.id, (*astuple(wanted), now_us))


async def delete(tx: Tx, account_id: int, invoke_name: str) -> int:
    """How many were deleted: one, in any state; accepted mail is still sent. Raises Refused (40216)."""
    return await rows.delete(tx, account_id, (await _locked(tx, account_id, invoke_name)).id)


async def submit(tx: Tx, account_id: int, invoke_name: str, stat: Stat, now_us: int) -> int:
    """To audit, which leads to `stat`; how many were submitted: one. Raises Refused (40216, 40226, 40227)."""
    found = await _locked(tx, account_id, invoke_name)
    if code := _NOT_TO_SUBMIT.get(Stat(found.stat)):
        raise Refused(code)
    return await rows.set_stat(tx, account_id, found.id, stat, now_us)


async def withdraw(tx: Tx, account_id: int, invoke_name: str, now_us: int) -> int:
    """Out of audit, a draft again; how many were withdrawn: one. Raises Refused (40216, 40229, 40228, 40227)."""
    found = await _locked(tx, account_id, invoke_name)
    if code := _NOT_TO_WITHDRAW.get(Stat(found.stat)):
        raise Refused(code)
    return await rows.set_stat(tx, account_id, found.id, Stat.DRAFT, now_us)


async def judge(tx: Tx, account_id: int, invoke_name: str, verdict: Stat, now_us: int) -> Stat:
    """End an audit with the operator's `verdict`. Returns the state before; nothing changes unless that was PENDING.

    Raises Refused (40216)."""
    found = await _locked(tx, account_id, invoke_name)
    if found.stat == Stat.PENDING:
        await rows.set_stat(tx, account_id, found.id, verdict, now_us)
    return Stat(found.stat)


async def _locked(tx: Tx, account_id: int, invoke_name: str) -> Listed:
    """The template in a state that stays as it is until the transaction ends. Raises Refused (40216)."""
    await account_rows.lock(tx, account_id)
    found = await rows.listed(tx, account_id, invoke_name)
    if found is None:
        raise Refused(Code.TEMPLATE_UNKNOWN)
    return found


async def usable(tx: Tx, account_id: int, invoke_name: str, email_type: int) -> Template:
    """The template to send. Raises Refused in the order of spec mail.md §4 (40823, 40824, 40825)."""
    row = await rows.find(tx, account_id, invoke_name)
    if row is None:
        raise Refused(Code.MAIL_TEMPLATE_UNKNOWN)
    template = Template(*row)
    if template.stat != Stat.APPROVED:
        raise Refused(Code.MAIL_TEMPLATE_NOT_APPROVED)
    if template.type != email_type:
        raise Refused(Code.MAIL_TEMPLATE_TYPE_DIFFERS)
    return template


async def approved(tx: Tx, account_id: int, email_type: int) -> list[Template]:
    """All that an API user of this type may send."""
    return [Template(*row) for row in await rows.of_stat(tx, account_id, email_type, Stat.APPROVED)]


def fits(template: Template, subject: str, body: str) -> bool:
    """Content matching (spec mail.md §12): subject and body are those of the template, with any text for each of
    its variables. Ours: white space does not count, and a template without a subject fits every subject."""
    bodies = [pattern for pattern in (template.html, template.text) if pattern]
    return (not template.subject or _matches(template.subject, subject)) and any(_matches(pattern, body) for pattern in bodies)


def _matches(pattern: str, text: str) -> bool:
    """In one pass: each piece of the pattern is taken where it is first found after the one before."""
    first, *pieces = ["".join(piece.split()) for piece in _variables(pattern)]
    text = "".join(text.split())
    if not pieces:
        return first == text
    last = pieces.pop()
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for piece in pieces:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
