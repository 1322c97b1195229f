"""mail/send and mail/sendtemplate (spec mail.md §1-§4): read a request into a Submission and hand it over.

Called by endpoint. Calls submission (accept) and template. The parameters are declared in mail_fields; what is here
is the order in which they are checked, what they mean together, and the v1 spelling of the answers (§11).
"""

import zlib
from base64 import b64decode
from binascii import Error as BadEncoding
from dataclasses import dataclass, replace
from hashlib import sha256

import msgspec

from aurorasend import template
from aurorasend.account import ApiUser
from aurorasend.api import mail_fields as f
from aurorasend.api.mail_values import Headers
from aurorasend.attachment import MAX_TOTAL
from aurorasend.codes import Code, Refused
from aurorasend.content import Attachment, Content, Mailbox, Target
from aurorasend.endpoint import ApiCall, Envelope, Frequency, Info, endpoint
from aurorasend.store.tx import Tx
from aurorasend.submission import Submission
from aurorasend.template import Template
from aurorasend.xsmtpapi import XSmtpApi

MAX_UNPACKED = 32 << 20  # ours: octets of one body behind gzip, as large as a whole request may be
MAX_LIST_HEADERS = 1024  # octets, spec §9.1
_NOTHING = XSmtpApi()


@dataclass(frozen=True, kw_only=True)
class SendMail:
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
    xsmtpapi: f.XSmtp = _NOTHING
    request_key: f.RequestId = ""
    return_ids: f.ReturnIds = True
    notification: f.Notification = False
    use_address_list: f.UseAddressList = False
    gzip: f.Gzip = False

    def check(self) -> None:
        if len(self.embedded_images) != len(self.embedded_cids):
            raise Refused(Code.EMBEDDED_COUNT)
        _check_sizes(self.attachments + self.embedded_images)
        _check_recipients(self)


@dataclass(frozen=True, kw_only=True)
class SendMailV1(SendMail):
    """spec §11: files in fields of any name; emailIds only when asked for."""

    attachments: f.AnyFiles = ()
    return_ids: f.ReturnIds = False


@dataclass(frozen=True, kw_only=True)
class SendTemplate:
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
    xsmtpapi: f.XSmtp = _NOTHING
    request_key: f.RequestId = ""
    return_ids: f.ReturnIds = True
    notification: f.Notification = False
    use_address_list: f.UseAddressList = False
    invoke_name: f.InvokeName

    def check(self) -> None:
        _check_sizes(self.attachments)
        _check_recipients(self)


@dataclass(frozen=True, kw_only=True)
class SendTemplateV1(SendTemplate):
    attachments: f.AnyFiles = ()
    return_ids: f.ReturnIds = False


def _check_sizes(files: tuple[Attachment, ...]) -> None:
    if sum(len(file.data) for file in files) > MAX_TOTAL:
        raise Refused(Code.ATTACHMENTS_TOO_LARGE)


def _check_recipients(p: SendMail | SendTemplate) -> None:
    """README settled 11; no recipient at all without xsmtpapi is the 40805 of `to`."""
    if not (p.to or p.lists or p.xsmtpapi.to):
        raise Refused(Code.XSMTPAPI_TO_MISSING)


# -- endpoints

_SEND = (
    Code.EMBEDDED_COUNT,
    Code.HTML_NOT_GZIP,
    Code.PLAIN_NOT_GZIP,
)
_TEMPLATE = (
    Code.MAIL_TEMPLATE_UNKNOWN,
    Code.MAIL_TEMPLATE_NOT_APPROVED,
    Code.MAIL_TEMPLATE_TYPE_DIFFERS,
    Code.MAIL_TEMPLATE_SUBJECT_EMPTY,
)
_EVERY = (
    Code.ADDRESS_LIST_NOT_ALLOWED,
    Code.HEADERS_INVALID,
    Code.ATTACHMENTS_TOO_LARGE,
    Code.XSMTPAPI_TO_MISSING,
    Code.REQUEST_ID_REUSED,
    Code.LABEL_UNKNOWN,
    Code.LIST_ALIAS_UNKNOWN,
    Code.DOMAIN_UNKNOWN,
    Code.RECIPIENT_NOT_REGISTERED,
    Code.BALANCE_TOO_LOW,
    Code.QUOTA_EXCEEDED,
    Code.QUOTA_CHECK_FAILED,
    Code.MATCH_FAILED,
    Code.SEND_FAILED,
)


def may_use_lists(call: ApiCall) -> None:
    """spec §3, the first of its checks; step 5 of conventions.md §11."""
    asked = call.raw.text("useAddressList", "use_maillist").strip().lower() in ("true", "1")
    if asked and not (call.caller.email_type == 1 and call.caller.account.paying):
        raise Refused(Code.ADDRESS_LIST_NOT_ALLOWED)


@endpoint(
    "mail/send",
    aliases=("email/send",),
    raises=_EVERY + _SEND,
    frequency=Frequency.SEND,
    permit=may_use_lists,
    unavailable=Code.SEND_FAILED,
)
async def send(call: ApiCall, p: SendMail) -> Info:
    """Send a mail.

    Accepts it for delivery: either one mail that shows all recipients, or with `xsmtpapi` a personal one for each.
    What becomes of it is told by events and webhooks.
    """
    return await _send(call, p)


@endpoint(
    "webapi/mail.send.json",
    prefixes=("",),
    raises=_EVERY + _SEND,
    frequency=Frequency.SEND,
    permit=may_use_lists,
    envelope=Envelope.V1,
    unavailable=Code.SEND_FAILED,
)
async def send_v1(call: ApiCall, p: SendMailV1) -> Info:
    """Send a mail, as version 1 of the API spells it."""
    return _v1(await _send(call, p))


@endpoint(
    "mail/sendtemplate",
    raises=_EVERY + _TEMPLATE,
    frequency=Frequency.SEND,
    permit=may_use_lists,
    unavailable=Code.SEND_FAILED,
)
async def send_template(call: ApiCall, p: SendTemplate) -> Info:
    """Send a mail made from a template.

    The body, and the subject unless the request has one, are those of an approved template of the account.
    """
    return await _send_template(call, p)


@endpoint(
    "webapi/mail.send_template.json",
    prefixes=("",),
    raises=_EVERY + _TEMPLATE,
    frequency=Frequency.SEND,
    permit=may_use_lists,
    envelope=Envelope.V1,
    unavailable=Code.SEND_FAILED,
)
async def send_template_v1(call: ApiCall, p: SendTemplateV1) -> Info:
    """Send a mail made from a template, as version 1 of the API spells it."""
    return _v1(await _send_template(call, p))


ENDPOINTS = (send, send_v1, send_template, send_template_v1)


async def _send(call: ApiCall, p: SendMail) -> Info:
    _refuse_lists(call, p)
    submission = read_submission(call.caller, p)
    if call.caller.content_match:
        submission = replace(submission, matches=await _matches(call, submission.content))
    return (await call.node.submissions.accept(submission)).info


async def _send_template(call: ApiCall, p: SendTemplate) -> Info:
    _refuse_lists(call, p)
    account_id, email_type = call.caller.account.id, call.caller.email_type
    found = await call.node.store.read(lambda tx: template.usable(tx, account_id, p.invoke_name, email_type))
    return (await call.node.submissions.accept(read_template_submission(call.caller, p, found))).info


def _refuse_lists(call: ApiCall, p: SendMail | SendTemplate) -> None:
    """Mode C. No address list can exist yet, so every alias is an unknown one."""
    if p.use_address_list:
        if len(call.raw.text("headers").encode(errors="replace")) > MAX_LIST_HEADERS:
            raise Refused(Code.HEADERS_INVALID, f"longer than {MAX_LIST_HEADERS} bytes")
        raise Refused(Code.LIST_ALIAS_UNKNOWN, p.lists[0])


async def _matches(call: ApiCall, content: Content) -> bool:
    """spec §12."""

    async def unit(tx: Tx) -> list[Template]:
        return await template.approved(tx, call.caller.account.id, call.caller.email_type)

    body = content.html or content.plain or ""
    return any(template.fits(each, content.subject, body) for each in await call.node.store.read(unit))


def _v1(info: Info) -> Info:
    return {"email_id_list": info["emailIdList"]} if "emailIdList" in info else {}


# -- from parameters to a submission


def read_submission(caller: ApiUser, p: SendMail) -> Submission:
    """What `p` hands over. Raises Refused for bodies that are not the gzip they should be."""
    html = _unpacked(p.html, p.gzip, Code.HTML_NOT_GZIP)
    plain = _unpacked(p.plain, p.gzip, Code.PLAIN_NOT_GZIP)
    if html is not None and not html.strip():  # which gzip can hide
        html = None
    if html is None and not (plain or "").strip():
        raise Refused(Code.CONTENT_EMPTY)
    if html is not None and not caller.account.alternative:
        plain = None  # spec §2.1
    images = [
        Attachment(image.name, image.content_type, image.data, cid)
        for image, cid in zip(p.embedded_images, p.embedded_cids, strict=True)
    ]
    content = _content(caller, p, p.subject, Bodies(html, plain, p.summary if html is not None else None))
    return _submission(caller, p, content, (*p.attachments, *images))


def read_template_submission(caller: ApiUser, p: SendTemplate, found: Template) -> Submission:
    """What `p` hands over with the template it names. Raises Refused when neither has a subject."""
    subject = p.subject or found.subject
    if not subject.strip():
        raise Refused(Code.MAIL_TEMPLATE_SUBJECT_EMPTY)
    summary = (p.summary or found.summary or None) if found.html else None
    content = _content(caller, p, subject, Bodies(found.html or None, None if found.html else found.text, summary))
    return _submission(caller, p, content, p.attachments)


@dataclass(frozen=True, slots=True)
class Bodies:
    html: str | None
    plain: str | None
    summary: str | None


def _content(caller: ApiUser, p: SendMail | SendTemplate, subject: str, bodies: Bodies) -> Content:
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
        pubsub=x.pubsub,
        section=x.section,
        track_open=is_html and _either(x.track_open, caller.open),
        track_click=is_html and _either(x.track_click, caller.click),
        track_unsubscribe=_either(x.track_unsubscribe, caller.unsubscribe),
    )


def _submission(caller: ApiUser, p: SendMail | SendTemplate, content: Content, attachments: tuple[Attachment, ...]) -> Submission:
    x = p.xsmtpapi
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
    )


def content_hash(p: SendMail | SendTemplate) -> bytes:
    """The same for the same parameters, whether they came as form, query or JSON (spec §9.5): it covers what was
    read from them, and of which endpoint. Ignored parameters do not count."""
    return sha256(msgspec.msgpack.encode((type(p).__name__, p), order="deterministic")).digest()


def _either(asked: bool | None, otherwise: bool) -> bool:
    return otherwise if asked is None else asked


def _without_reply_to(headers: Headers) -> Headers:
    return tuple([(name, value) for name, value in headers if name.lower() != "reply-to"])


def _unpacked(body: str | None, gzip: bool, code: Code) -> str | None:
    """spec §9.7. A form that was not percent-encoded has blanks for `+`."""
    if body is None or not gzip:
        return body
    try:
        packed = b64decode("".join(body.strip().replace(" ", "+").split()), validate=True)
        unpacker = zlib.decompressobj(wbits=31)
        octets = unpacker.decompress(packed, MAX_UNPACKED)
        if not unpacker.eof or unpacker.unused_data:
            raise Refused(code, "cut short, too large, or more than one gzip stream")
        return octets.decode()
    except (BadEncoding, ValueError, zlib.error) as problem:
        raise Refused(code) from problem
