"""mail/send, mail/sendtemplate and mail/taskinfo (spec mail.md §1-§4, §6a): read a request into a Submission, hand it over.

Called by endpoint; api.calendar shares the reading. Calls submission (accept), template, contact and list_send. The
parameters are declared in mail_fields; what is here is the order in which they are checked, what they mean together, and
the v1 spelling of the answers (§11).
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import msgspec

from aurorasend import label, list_send, template, variable
from aurorasend.account import ApiUser
from aurorasend.api import mail_fields as f
from aurorasend.api import mail_values as v
from aurorasend.api.mail_values import Headers
from aurorasend.clock import wall
from aurorasend.codes import Code, Refused
from aurorasend.content import Attachment, Content, Mailbox, Target
from aurorasend.endpoint import Answer, ApiCall, Frequency, Info, endpoint, endpoint_v1, one
from aurorasend.fields import Seen
from aurorasend.intake import Submission
from aurorasend.list_send import State
from aurorasend.store import contact as contacts
from aurorasend.store.tx import Tx
from aurorasend.template import Template
from aurorasend.xsmtpapi import XSmtpApi

NOTHING = XSmtpApi()


@dataclass(frozen=True, kw_only=True)
class SendMail(f.Checked):
    """spec §2.1, in its order."""

    sender: f.From
    sender_name: f.FromName = ""
    to: f.To = ()
    lists: f.ToLists = ()
    cc: f.Cc = ()
    bcc: f.Bcc = ()
    subject: f.Subject
    html: f.Html = None
    plain: f.Plain = None
    summary: f.Summary = None
    reply_to: f.ReplyTo = ()
    label_name: f.LabelName = ""
    label_id: f.LabelNumber = 0
    tags: f.Tags = ()
    headers: f.CustomHeaders = ()
    attachments: f.Attachments = ()
    embedded_images: f.EmbeddedImages = ()
    embedded_cids: f.EmbeddedCids = ()
    xsmtpapi: f.XSmtp = NOTHING
    request_key: f.RequestId = ""
    return_ids: f.ReturnIds = True
    notification: f.Notification = False
    receipt_to: f.ReceiptTo = ""
    use_address_list: f.UseAddressList = False
    gzip: f.Gzip = False

    @classmethod
    def check_embedded_images(cls, seen: Seen) -> None:
        f.check_sizes(seen.peek("attachments") + seen.peek("embedded_images"), seen.limits)

    @classmethod
    def check_embedded_cids(cls, seen: Seen) -> None:
        if len(seen.peek("embedded_images")) != len(seen.peek("embedded_cids") or ()):
            raise Refused(Code.EMBEDDED_COUNT)


@dataclass(frozen=True, kw_only=True)
class SendMailV1(SendMail):
    """spec §11: html is required; files in fields of any name; emailIds only when asked for; addresses beside lists."""

    lists: f.ToListsV1 = ()
    html: f.HtmlV1 = None
    attachments: f.AnyFiles = ()
    return_ids: f.ReturnIds = False


@dataclass(frozen=True, kw_only=True)
class SendTemplate(f.Checked):
    """spec §4: the parameters of §2.1 that it has, then its own."""

    sender: f.From
    sender_name: f.FromName = ""
    to: f.To = ()
    lists: f.ToLists = ()
    cc: f.Cc = ()
    bcc: f.Bcc = ()
    subject: f.OwnSubject = ""
    summary: f.OwnSummary = None
    reply_to: f.ReplyTo = ()
    label_name: f.LabelName = ""
    label_id: f.LabelNumber = 0
    tags: f.Tags = ()
    headers: f.CustomHeaders = ()
    attachments: f.Attachments = ()
    xsmtpapi: f.XSmtp = NOTHING
    request_key: f.RequestId = ""
    return_ids: f.ReturnIds = True
    notification: f.Notification = False
    receipt_to: f.ReceiptTo = ""
    use_address_list: f.UseAddressList = False
    invoke_name: f.InvokeName


@dataclass(frozen=True, kw_only=True)
class SendTemplateV1(SendTemplate):
    lists: f.ToListsV1 = ()
    attachments: f.AnyFiles = ()
    return_ids: f.ReturnIds = False


@dataclass(frozen=True, kw_only=True)
class OneTask:
    id: f.TaskId


class Sending(Protocol):
    """What the parameters of all kinds of sending have."""

    @property
    def sender(self) -> Mailbox: ...
    @property
    def sender_name(self) -> str: ...
    @property
    def to(self) -> tuple[Mailbox, ...]: ...
    @property
    def lists(self) -> tuple[str, ...]: ...
    @property
    def cc(self) -> tuple[Mailbox, ...]: ...
    @property
    def bcc(self) -> tuple[Mailbox, ...]: ...
    @property
    def reply_to(self) -> tuple[Mailbox, ...]: ...
    @property
    def label_name(self) -> str: ...
    @property
    def label_id(self) -> int: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def xsmtpapi(self) -> XSmtpApi: ...
    @property
    def request_key(self) -> str: ...
    @property
    def return_ids(self) -> bool: ...
    @property
    def notification(self) -> bool: ...
    @property
    def receipt_to(self) -> str: ...


# -- endpoints

_SEND = (Code.EMBEDDED_COUNT, Code.HTML_NOT_GZIP, Code.PLAIN_NOT_GZIP)
_LISTS = (
    Code.ADDRESS_LIST_TASK_CREATED,
    Code.ADDRESS_LIST_TASK_NOT_CREATED,
    Code.ADDRESS_LIST_WITHOUT_MEMBERS,
    Code.LIST_ALIAS_UNKNOWN,
    Code.LIST_TOO_MANY,
)
_TEMPLATE = (
    Code.MAIL_TEMPLATE_UNKNOWN,
    Code.MAIL_TEMPLATE_NOT_APPROVED,
    Code.MAIL_TEMPLATE_TYPE_DIFFERS,
    Code.MAIL_TEMPLATE_SUBJECT_EMPTY,
)
EVERY = (
    Code.ADDRESS_LIST_NOT_ALLOWED,
    Code.HEADERS_INVALID,
    Code.ATTACHMENTS_TOO_LARGE,
    Code.XSMTPAPI_TO_MISSING,
    Code.REQUEST_ID_REUSED,
    Code.LABEL_UNKNOWN,
    Code.DOMAIN_UNKNOWN,
    Code.RECIPIENT_NOT_REGISTERED,
    Code.BALANCE_TOO_LOW,
    Code.QUOTA_EXCEEDED,
    Code.MATCH_FAILED,
    Code.SEND_FAILED,
)


_USE_LISTS = frozenset({"useaddresslist", "use_maillist"})


def asks_for_lists(call: ApiCall) -> bool:
    raw = call.raw
    asked = "" if raw.names.isdisjoint(_USE_LISTS) else raw.text("useAddressList", "use_maillist")
    return asked.strip().lower() in ("true", "1")


def may_send(call: ApiCall) -> None:
    """Step 5 of conventions.md §11: the first check of spec §3, then `send_domain`, which list sends do not have (spec §8.1)."""
    if not asks_for_lists(call):
        may_choose_domain(call)
    elif not (call.caller.email_type == 1 and call.caller.account.paying):
        raise Refused(Code.ADDRESS_LIST_NOT_ALLOWED)


def may_choose_domain(call: ApiCall) -> None:
    if not call.caller.account.send_domain and f.names_domain(call.raw):
        raise Refused(Code.NOT_PERMITTED, "send_domain is not enabled")


@endpoint(
    "mail/send",
    aliases=("email/send",),
    raises=EVERY + _LISTS + _SEND,
    frequency=Frequency.SEND,
    permit=may_send,
    unavailable=Code.SEND_FAILED,
)
async def send(call: ApiCall, p: SendMail) -> Info | Answer:
    """Send a mail.

    Accepts it for delivery: either one mail that shows all recipients, or with `xsmtpapi` a personal one for each, or
    with `useAddressList` one for each member of address lists, which are made in the background.
    What becomes of it is told by events and webhooks.
    """
    return _answer(await _accept(call, await _read(call, p)))


@endpoint_v1("webapi/mail.send.json", send)
async def send_v1(call: ApiCall, p: SendMailV1) -> Info:
    """Send a mail, as version 1 of the API spells it."""
    submission = await _read(call, p)
    return _v1(await _accept_or_repeat(call, p, _beside_lists(call, submission)))


@endpoint(
    "mail/sendtemplate",
    raises=EVERY + _LISTS + _TEMPLATE,
    frequency=Frequency.SEND,
    permit=may_send,
    unavailable=Code.SEND_FAILED,
)
async def send_template(call: ApiCall, p: SendTemplate) -> Info | Answer:
    """Send a mail made from a template.

    The body, and the subject unless the request has one, are those of an approved template of the account.
    """
    return _answer(await _accept_or_repeat(call, p, _read_template(call, p)))


@endpoint_v1("webapi/mail.send_template.json", send_template)
async def send_template_v1(call: ApiCall, p: SendTemplateV1) -> Info:
    """Send a mail made from a template, as version 1 of the API spells it."""

    async def read() -> Submission:
        return await _beside_lists(call, await _read_template(call, p))

    return _v1(await _accept_or_repeat(call, p, read()))


@endpoint("mail/taskinfo", raises=(Code.TASK_UNKNOWN,))
async def task_info(call: ApiCall, p: OneTask) -> Info:
    """Read how far a send to an address list is."""
    caller, zone = call.caller, call.node.zone
    found = await call.node.store.read(lambda tx: list_send.get(tx, caller.account.id, caller.id, p.id))
    return one(
        {
            "maillistTaskId": found.id,
            "apiUser": found.api_user,
            "addressList": found.address,
            "memberCount": found.members,
            "gmtCreated": wall(found.created, zone),
            "gmtUpdated": wall(found.updated, zone),
            "status": State(found.state).words,
        }
    )


ENDPOINTS = (send, send_v1, send_template, send_template_v1, task_info)


async def _read(call: ApiCall, p: SendMail) -> Submission:
    return await matched(call, read_submission(call.caller, p))


async def _read_template(call: ApiCall, p: SendTemplate) -> Submission:
    account_id, email_type = call.caller.account.id, call.caller.email_type

    async def unit(tx: Tx) -> Template:
        await check_label(tx, account_id, p.label_id)
        return await template.usable(tx, account_id, p.invoke_name, email_type)

    return await matched(call, read_template_submission(call.caller, p, await call.node.store.read(unit)))


async def matched(call: ApiCall, submission: Submission) -> Submission:
    """With the verdict of content matching, where the API user has that on (spec §12)."""
    caller, content = call.caller, submission.content
    if not caller.content_match:
        return submission
    approved = await call.node.store.read(lambda tx: template.approved(tx, caller.account.id, caller.email_type))
    body = content.html or content.plain or ""
    fits = any(template.fits(each, content.subject, body) for each in approved)
    return msgspec.structs.replace(submission, matches=fits)


async def check_label(tx: Tx, account_id: int, label_id: int) -> None:
    """Of the objects that a request names the label comes first (conventions.md §11, step 9). Raises Refused (40106)."""
    if label_id:
        await label.get(tx, account_id, label_id)


async def _beside_lists(call: ApiCall, submission: Submission) -> Submission:
    """v1 (spec §11): what is no alias of a list is an address beside the lists."""
    account_id, given = call.caller.account.id, submission.lists
    if not given:
        return submission

    async def unit(tx: Tx) -> list[bool]:
        await check_label(tx, account_id, submission.label_id)
        return [await contacts.find(tx, account_id, each.lower()) is not None for each in given]

    known = await call.node.store.read(unit)
    lists = tuple(each for each, is_list in zip(given, known, strict=True) if is_list)
    others = tuple(Target(each) for each, is_list in zip(given, known, strict=True) if not is_list)
    if not lists:
        raise Refused(Code.LIST_ALIAS_UNKNOWN, given[0])
    if len(lists) > v.MAX_LISTS:
        raise Refused(Code.LIST_TOO_MANY)
    return msgspec.structs.replace(submission, lists=lists, targets=others)


async def _accept_or_repeat(call: ApiCall, p: Sending, submission: Awaitable[Submission]) -> Info:
    """A repeated sendRequestId is answered before the objects that the request names (conventions.md §11, steps 8 and 9),
    which may be gone by then."""
    try:
        found = await submission
    except Refused:
        if (known := await repeated(call, p)) is not None:
            return known
        raise
    return await _accept(call, found)


async def repeated(call: ApiCall, p: Sending) -> Info | None:
    """The answer to the first request of this sendRequestId, if there was one. Raises Refused (40000)."""
    if not p.request_key:
        return None
    known = await call.node.submissions.repeated(call.caller, p.request_key, content_hash(p))
    return None if known is None else known.info


async def _accept(call: ApiCall, submission: Submission) -> Info:
    """A list send that could not be stored has a code of its own (spec §3)."""
    try:
        return (await call.node.submissions.accept(submission)).info
    except Refused as refused:
        if submission.lists and refused.code is Code.SEND_FAILED:
            raise Refused(Code.ADDRESS_LIST_TASK_NOT_CREATED) from refused
        raise


def _answer(info: Info) -> Info | Answer:
    return Answer(Code.ADDRESS_LIST_TASK_CREATED, info) if "maillistTaskId" in info else info


def _v1(info: Info) -> Info:
    if "maillistTaskId" in info:
        return {"mail_list_task_id_list": info["maillistTaskId"]}
    return {"email_id_list": info["emailIdList"]} if "emailIdList" in info else {}


# -- from parameters to a submission


def read_submission(caller: ApiUser, p: SendMail) -> Submission:
    """What `p` hands over. Raises Refused for bodies that are not the gzip they should be."""
    html = v.unpacked(p.html, p.gzip, Code.HTML_NOT_GZIP)
    plain = v.unpacked(p.plain, p.gzip, Code.PLAIN_NOT_GZIP)
    images = [
        Attachment(image.name, image.content_type, image.data, cid)
        for image, cid in zip(p.embedded_images, p.embedded_cids, strict=True)
    ]
    content = content_of(caller, p, p.subject, bodies_of(caller, html, plain, p.summary))
    return submission_of(caller, p, content, (*p.attachments, *images))


def read_template_submission(caller: ApiUser, p: SendTemplate, found: Template) -> Submission:
    """What `p` hands over with the template it names. Raises Refused when neither has a subject."""
    subject = p.subject or found.subject
    if not subject.strip():
        raise Refused(Code.MAIL_TEMPLATE_SUBJECT_EMPTY)
    summary = (p.summary or found.summary or None) if found.html else None
    content = content_of(caller, p, subject, Bodies(found.html or None, None if found.html else found.text, summary))
    return submission_of(caller, p, content, p.attachments)


@dataclass(frozen=True, slots=True)
class Bodies:
    html: str | None
    plain: str | None
    summary: str | None


def bodies_of(caller: ApiUser, html: str | None, plain: str | None, summary: str | None) -> Bodies:
    """What of the bodies is sent (spec §2.1). Raises Refused when there is none."""
    if html is not None and not html.strip():  # which gzip can hide
        html = None
    if html is None and not (plain or "").strip():
        raise Refused(Code.CONTENT_EMPTY)
    if html is None:
        return Bodies(None, plain, None)
    return Bodies(html, plain if caller.account.alternative else None, summary)


def content_of(caller: ApiUser, p: Sending, subject: str, bodies: Bodies) -> Content:
    x, is_html = p.xsmtpapi, bodies.html is not None
    return Content(
        sender=Mailbox(p.sender.address, p.sender_name) if p.sender_name else p.sender,
        subject=subject,
        html=bodies.html,
        plain=bodies.plain,
        summary=bodies.summary,
        reply_to=p.reply_to,
        to=p.to,
        cc=p.cc,
        headers=_without_reply_to(p.headers) if p.reply_to else p.headers,
        notification=p.notification,
        receipt_to=p.receipt_to,
        pubsub=x.pubsub,
        section=x.section,
        track_open=is_html and _either(x.track_open, caller.open),
        track_click=is_html and _either(x.track_click, caller.click),
        track_unsubscribe=_either(x.track_unsubscribe, caller.unsubscribe),
    )


def submission_of(caller: ApiUser, p: Sending, content: Content, attachments: tuple[Attachment, ...]) -> Submission:
    x = p.xsmtpapi
    _check_filled(x, content)
    if x.to:
        targets = tuple(map(Target, x.to, x.variables)) if x.variables else tuple(map(Target, x.to))
    else:
        targets = tuple([Target(mailbox.address) for mailbox in (*p.to, *p.cc, *p.bcc)])
    return Submission(
        caller=caller,
        content=content,
        attachments=attachments,
        targets=targets,
        label_id=p.label_id,
        label_name=p.label_name,
        tags=p.tags,
        request_key=p.request_key,
        content_hash=content_hash(p) if p.request_key else b"",
        return_ids=p.return_ids,
        send_domain=x.send_domain,
        lists=p.lists,
    )


def _check_filled(x: XSmtpApi, content: Content) -> None:
    """Raises Refused (40813, that of a value over 1 MiB) for variables that would make a mail of many MiB."""
    body = f"{content.html or ''}{content.plain or ''}{content.summary or ''}"
    rows, section = ((x.pubsub,), {}) if x.pubsub else (x.variables, x.section)
    try:
        variable.check_filled(content.subject, body, rows, section)
    except variable.TooLong as problem:
        raise Refused(Code.XSMTPAPI_INVALID, str(problem)) from problem


def content_hash(p: Sending) -> bytes:
    """The same for the same parameters, whether they came as form, query or JSON (spec §9.5): it covers what was
    read from them, and of which endpoint. Ignored parameters do not count."""
    return sha256(msgspec.msgpack.encode((type(p).__name__, p), order="deterministic")).digest()


def _either(asked: bool | None, otherwise: bool) -> bool:
    return otherwise if asked is None else asked


def _without_reply_to(headers: Headers) -> Headers:
    return tuple([(name, value) for name, value in headers if name.lower() != "reply-to"])
