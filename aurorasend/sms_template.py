"""Templates of the SMS API: what may be in one, and the way from draft to approved (sms.md §5).

Called by api.sms_template, sms (accept) and bootstrap. Calls store. Always: only an approved template is sent;
a change makes it a draft again, and messages that are queued keep the text that they were accepted with.
"""

import re
from dataclasses import dataclass, replace
from enum import IntEnum

from aurorasend import sms_text
from aurorasend.codes import Code, Refused
from aurorasend.store import account as account_rows
from aurorasend.store import sms_template as rows
from aurorasend.store.tx import Tx

MAX_NAME = 64  # sms.md §5
_LINK = re.compile(r"https?://[!-~]*", re.IGNORECASE)
_UNCLEAN = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # controls but the two line ends; no characters


class Stat(IntEnum):
    DRAFT = -2
    REJECTED = -1
    PENDING = 0
    APPROVED = 1


@dataclass(frozen=True, slots=True)
class SmsTemplate:
    """`sign` is the signature's name, "" when there is none; it stands behind the text when `sign_position` is 1.
    `sms_type`: 0 verification code, 1 notice, 2 marketing. Times are UTC microseconds."""

    id: int
    name: str
    text: str
    sign: str
    sign_position: int
    sms_type: int
    stat: int
    created: int
    updated: int

    @property
    def content(self) -> str:
        """The text with its signature, as it is sent but for the variables."""
        return sms_text.sign(self.text, self.sign, behind=self.sign_position == 1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the customer wants a template to be; None keeps what is there."""

    name: str
    sms_type: int
    text: str | None = None
    sign_position: int | None = None


async def find(tx: Tx, account_id: int, template_id: int) -> SmsTemplate:
    """Raises Refused (431)."""
    row = await rows.find(tx, account_id, template_id)
    if row is None:
        raise Refused(Code.SMS_TEMPLATE_UNKNOWN)
    return SmsTemplate(*row)


async def every(tx: Tx, account_id: int, stat: int | None) -> list[SmsTemplate]:
    """The newest first; of one `stat` only, or all."""
    found = [SmsTemplate(*row) for row in await rows.every(tx, account_id)]
    return [template for template in found if stat is None or template.stat == stat]


async def add(tx: Tx, account_id: int, wanted: Wanted, now_us: int) -> int:
    """A new draft; returns its id. Raises Refused (40220, 40214)."""
    await account_rows.lock(tx, account_id)
    draft = _new(0, wanted, Stat.DRAFT, now_us)
    await _check(tx, account_id, draft)
    template_id = await tx.next_id(rows.SEQUENCE)
    await _insert(tx, account_id, replace(draft, id=template_id))
    return template_id


async def change(tx: Tx, account_id: int, template_id: int, wanted: Wanted, now_us: int) -> None:
    """Raises Refused (431, 40223, 40220, 40214)."""
    old = await _editable(tx, account_id, template_id)
    new = replace(
        old,
        name=wanted.name,
        text=old.text if wanted.text is None else wanted.text,
        sign_position=old.sign_position if wanted.sign_position is None else wanted.sign_position,
        sms_type=wanted.sms_type,
        stat=Stat.DRAFT,
    )
    await _check(tx, account_id, new)
    rest = (new.name, new.text, new.sign, new.sign_position, new.sms_type, int(new.stat), now_us)
    await rows.change(tx, account_id, template_id, _folded(new.name), rest)


async def submit(tx: Tx, account_id: int, template_id: int, now_us: int, *, auto: bool) -> None:
    """To review, which `auto` ends at once with approval. Raises Refused (431, 40226, 40227)."""
    await account_rows.lock(tx, account_id)
    template = await find(tx, account_id, template_id)
    if template.stat == Stat.PENDING:
        raise Refused(Code.TEMPLATE_ALREADY_SUBMITTED)
    if template.stat == Stat.APPROVED:
        raise Refused(Code.TEMPLATE_ALREADY_APPROVED)
    await rows.decide(tx, account_id, template_id, Stat.APPROVED if auto else Stat.PENDING, now_us)


async def remove(tx: Tx, account_id: int, template_id: int) -> None:
    """Raises Refused (431, 40223)."""
    await _editable(tx, account_id, template_id)
    await rows.remove(tx, account_id, template_id)


async def put_approved(tx: Tx, account_id: int, template_id: int, wanted: Wanted, now_us: int) -> None:
    """A template with an id that is promised (bootstrap). Nothing happens when the id is there."""
    await account_rows.lock(tx, account_id)
    if await rows.find(tx, account_id, template_id) is not None:
        return
    await rows.pass_over(tx, template_id)
    await _insert(tx, account_id, _new(template_id, wanted, Stat.APPROVED, now_us))


def is_text(text: str) -> bool:
    """Whether `text` can be a template's: no control characters, and a space on both sides of a link."""
    if _UNCLEAN.search(text):
        return False
    for link in _LINK.finditer(text):
        beside = text[: link.start()][-1:] + text[link.end() :][:1]
        if beside and not beside.isspace():
            return False
    return True


async def _editable(tx: Tx, account_id: int, template_id: int) -> SmsTemplate:
    await account_rows.lock(tx, account_id)
    template = await find(tx, account_id, template_id)
    if template.stat == Stat.PENDING:
        raise Refused(Code.TEMPLATE_UNDER_REVIEW)
    return template


async def _check(tx: Tx, account_id: int, template: SmsTemplate) -> None:
    """Text and signature are not too long together, and the name is free (but for the template itself)."""
    if len(template.content) > sms_text.MAX_CHARACTERS:
        raise Refused(Code.TEMPLATE_TEXT_INVALID, f"at most {sms_text.MAX_CHARACTERS} characters")
    if await rows.id_of(tx, account_id, _folded(template.name)) not in (None, template.id):
        raise Refused(Code.INVOKE_NAME_TAKEN, message="template name already exists")


def _new(template_id: int, wanted: Wanted, stat: Stat, now_us: int) -> SmsTemplate:
    text, position = wanted.text or "", wanted.sign_position or 0
    return SmsTemplate(template_id, wanted.name, text, "", position, wanted.sms_type, stat, now_us, now_us)


async def _insert(tx: Tx, account_id: int, new: SmsTemplate) -> None:
    rest = (new.name, new.text, new.sign, new.sign_position, new.sms_type, int(new.stat), new.created, new.updated)
    await rows.add(tx, account_id, new.id, _folded(new.name), rest)


def _folded(name: str) -> str:
    return name.casefold()
