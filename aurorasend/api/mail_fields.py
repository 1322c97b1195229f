"""The parameters of the mail endpoints, each said once (spec mail.md §2.1, §4, §8, §9, §11).

Used by api.mail; what their texts mean is in mail_values. Which of them are read depends on the recipient mode (§1):
`is_broadcast` (A, everybody sees the same mail), `is_separate` (B, one mail per address of xsmtpapi.to), `is_list`
(C, address lists).
"""

from typing import Annotated

from aurorasend import xsmtpapi
from aurorasend.api import mail_values as v
from aurorasend.carrier import Parameters
from aurorasend.codes import Code, Refused
from aurorasend.config.settings import Limits
from aurorasend.content import Attachment, Mailbox
from aurorasend.fields import Field, FileField, Seen, boolean, text
from aurorasend.xsmtpapi import XSmtpApi

MAX_LABEL_NAME = 255  # characters, code 40105
MAX_REQUEST_ID = 128  # characters, spec §9.5
MAX_LIST_HEADERS = 1024  # octets, spec §9.1
MAX_INVOKE_NAME = 255  # spec management.md §1.4
_XSMTPAPI = ("xsmtpapi", "x_smtpapi", "substitution_vars")  # spec §11, the last of v1 mail.send_template


def names_domain(raw: Parameters) -> bool:
    """Whether a request's xsmtpapi asks for another sending domain."""
    return not raw.names.isdisjoint(_XSMTPAPI) and xsmtpapi.names_domain(raw.text(*_XSMTPAPI))


# -- modes


def is_list(seen: Seen) -> bool:
    return seen.peek("use_address_list") is True


def is_separate(seen: Seen) -> bool:
    """xsmtpapi has a `to`, be it right or wrong: a wrong one is reported at its own turn, `to` is ignored all the same."""
    if seen.raw.names.isdisjoint(_XSMTPAPI) or is_list(seen):
        return False
    value = seen.peek("xsmtpapi")
    return bool(value.to) if isinstance(value, XSmtpApi) else xsmtpapi.names_recipients(seen.raw.text(*_XSMTPAPI))


def is_broadcast(seen: Seen) -> bool:
    return not is_list(seen) and not is_separate(seen)


def _needs_to(seen: Seen) -> bool:
    """Mode A without `to`: 40805; but with an xsmtpapi that names nobody and no other recipient it is 40815, at the
    end (README settled 11)."""
    raw = seen.raw
    return bool(raw.text("cc") or raw.text("bcc")) or not raw.text(*_XSMTPAPI)


def _has_html(seen: Seen) -> bool:
    """Without any body it is `html` that is missing (40870); white space is no body."""
    return bool(seen.raw.text("html").strip()) or not seen.raw.text("plain").strip()


# -- the fields, in the order of spec §2.1


From = Annotated[
    Mailbox,
    Field(
        "from",
        v.sender,
        empty=Code.FROM_EMPTY,
        invalid=Code.FROM_INVALID,
        too_long=Code.FROM_TOO_LONG,
        doc="The visible sender: an address, or a name and an address in angle brackets.",
        example="Aurora <hello@mail.example.com>",
    ),
]
FromName = Annotated[
    str,
    Field(
        "fromName",
        v.display_name,
        empty=Code.FROM_NAME_EMPTY,
        invalid=Code.FROM_NAME_INVALID,
        doc="Name shown for the sender; replaces the name in `from`.",
        example="Aurora",
    ),
]
To = Annotated[
    tuple[Mailbox, ...],
    Field(
        "to",
        v.recipients,
        empty=Code.TO_EMPTY,
        invalid=Code.TO_INVALID,
        too_many=Code.TO_TOO_MANY,
        joined=True,
        when=is_broadcast,
        required=_needs_to,
        doc=f"Recipients, separated by `;`, at most {v.MAX_ADDRESSES}, all shown in the mail. Not needed with the `to` of "
        f"`xsmtpapi`; with `useAddressList` at most {v.MAX_LISTS} aliases of address lists.",
        example="ann@example.com;bob@example.com",
    ),
]
ToLists = Annotated[
    tuple[str, ...],
    Field(
        "to",
        v.list_aliases,
        empty=Code.LIST_ALIAS_EMPTY,
        invalid=Code.LIST_ALIAS_INVALID,
        too_many=Code.LIST_TOO_MANY,
        joined=True,
        when=is_list,
        required=is_list,
        doc="With `useAddressList`: aliases of address lists.",
    ),
]
ToListsV1 = Annotated[
    tuple[str, ...],
    Field(
        "to",
        v.lists_and_addresses,
        empty=Code.LIST_ALIAS_EMPTY,
        invalid=Code.LIST_ALIAS_INVALID,
        too_many=Code.LIST_TOO_MANY,
        joined=True,
        when=is_list,
        required=is_list,
        doc="With `use_maillist`: aliases of address lists, and addresses beside them.",
    ),
]
Cc = Annotated[
    tuple[Mailbox, ...],
    Field(
        "cc",
        v.mailboxes(v.MAX_ADDRESSES),
        empty=Code.CC_EMPTY,
        invalid=Code.CC_INVALID,
        too_many=Code.CC_TOO_MANY,
        joined=True,
        when=is_broadcast,
        doc=f"Recipients of a copy, separated by `;`, at most {v.MAX_ADDRESSES}, shown in the mail.",
        example="cy@example.com",
    ),
]
Bcc = Annotated[
    tuple[Mailbox, ...],
    Field(
        "bcc",
        v.mailboxes(v.MAX_ADDRESSES),
        empty=Code.BCC_EMPTY,
        invalid=Code.BCC_INVALID,
        too_many=Code.BCC_TOO_MANY,
        joined=True,
        when=is_broadcast,
        doc=f"Recipients of a hidden copy, separated by `;`, at most {v.MAX_ADDRESSES}.",
        example="di@example.com",
    ),
]
_SUBJECT = f"Subject, one line of at most {v.MAX_LINE} bytes; may hold `%variables%`."
Subject = Annotated[
    str,
    Field("subject", v.subject_line, empty=Code.SUBJECT_EMPTY, invalid=Code.SUBJECT_INVALID, doc=_SUBJECT, example="Your order"),
]
OwnSubject = Annotated[
    str,
    Field(
        "subject",
        v.subject_line,
        invalid=Code.SUBJECT_INVALID,
        doc=f"Replaces the subject of the template. {_SUBJECT}",
        example="Welcome, %name%",
    ),
]
Html = Annotated[
    str | None,
    Field(
        "html",
        text(strip=False),
        empty=Code.CONTENT_EMPTY,
        invalid=Code.HTML_INVALID,
        when=_has_html,
        required=_has_html,
        doc="HTML body, may hold `%variables%`. One of `html` and `plain` is needed.",
        example="<p>Thank you, your order is on its way.</p>",
    ),
]
HtmlV1 = Annotated[
    str | None,
    Field(
        "html",
        text(strip=False),
        empty=Code.CONTENT_EMPTY,
        invalid=Code.HTML_INVALID,
        required=lambda _: True,
        doc="HTML body, may hold `%variables%`; a text without markup will do.",
        example="<p>Thank you, your order is on its way.</p>",
    ),
]
Plain = Annotated[
    str | None,
    Field(
        "plain",
        text(strip=False),
        empty=Code.PLAIN_EMPTY,
        invalid=Code.PLAIN_INVALID,
        doc="Text body, may hold `%variables%`. Dropped when `html` is given, unless the account may send both.",
        example="Thank you, your order is on its way.",
    ),
]
_SUMMARY = f"Preview text of the mail, at most {v.MAX_SUMMARY} bytes of UTF-8."
Summary = Annotated[
    str | None,
    Field(
        "contentSummary",
        v.summary_text,
        empty=Code.SUMMARY_EMPTY,
        invalid=Code.SUMMARY_TOO_LONG,
        too_long=Code.SUMMARY_TOO_LONG,
        when=lambda seen: seen.peek("html") is not None,
        doc=f"{_SUMMARY} Ignored without `html`.",
        example="Your order is on its way",
    ),
]
OwnSummary = Annotated[
    str | None,
    Field(
        "contentSummary",
        v.summary_text,
        empty=Code.SUMMARY_EMPTY,
        invalid=Code.SUMMARY_TOO_LONG,
        too_long=Code.SUMMARY_TOO_LONG,
        doc=f"Replaces the summary of the template. {_SUMMARY}",
        example="Your order is on its way",
    ),
]
ReplyTo = Annotated[
    tuple[Mailbox, ...],
    Field(
        "replyTo",
        v.mailboxes(v.MAX_REPLY_TO),
        empty=Code.REPLY_TO_EMPTY,
        invalid=Code.REPLY_TO_INVALID,
        too_many=Code.REPLY_TO_TOO_MANY,
        aliases=("replyto",),
        joined=True,
        doc=f"Where answers go, separated by `;`, at most {v.MAX_REPLY_TO}; `from` when absent.",
        example="support@example.com",
    ),
]
LabelName = Annotated[
    str,
    Field(
        "labelName",
        text(MAX_LABEL_NAME),
        invalid=Code.LABEL_NAME_LENGTH,
        too_long=Code.LABEL_NAME_LENGTH,
        doc="Label of this send, 1-255 characters; created when it is new.",
        example="june",
    ),
]
LabelNumber = Annotated[
    int,
    Field(
        "labelId",
        v.number_of,
        invalid=Code.LABEL_ID_INVALID,
        aliases=("label",),
        doc="Label of this send by its id; wins over `labelName`.",
        example="7",
    ),
]
Tags = Annotated[
    tuple[str, ...],
    Field(
        "sendTags",
        v.tag_list,
        invalid=Code.MAIL_FAULT,
        too_long=Code.MAIL_FAULT,
        too_many=Code.MAIL_FAULT,
        doc=f"Tags of this request, separated by `;`, at most {v.MAX_TAGS} of {v.MAX_TAG} characters.",
        example="orders;spring",
    ),
]
CustomHeaders = Annotated[
    v.Headers,
    Field(
        "headers",
        v.custom_headers,
        empty=Code.HEADERS_EMPTY,
        invalid=Code.HEADERS_INVALID,
        raises=(Code.MAIL_FAULT,),
        json=True,
        doc="Further headers, a JSON object of strings. `SC-Custom-` headers are repeated in webhook events. "
        "Headers that the service writes itself are ignored.",
        example='{"X-Order": "42"}',
    ),
]
_FILES = (Code.ATTACHMENT_EMPTY, Code.ATTACHMENT_INVALID)
Attachments = Annotated[
    tuple[Attachment, ...],
    FileField(
        "attachments", v.files, aliases=("files",), raises=_FILES, doc="Files, 10485760 bytes in all unless told otherwise."
    ),
]
AnyFiles = Annotated[
    tuple[Attachment, ...],
    FileField(
        "files", v.other_files, aliases=("attachments",), raises=_FILES, any_name=True, doc="Files, in fields of any name."
    ),
]
EmbeddedImages = Annotated[
    tuple[Attachment, ...], FileField("embeddedImage", v.files, raises=_FILES, doc="Images that `html` shows by `cid:` links.")
]
EmbeddedCids = Annotated[
    tuple[str, ...],
    Field(
        "embeddedCid",
        v.content_ids,
        invalid=Code.MAIL_FAULT,
        raises=(Code.MAIL_FAULT,),
        doc="Content-IDs of `embeddedImage` in the order of the files, separated by `;`.",
        example="logo;photo",
    ),
]
XSmtp = Annotated[
    XSmtpApi,
    Field(
        _XSMTPAPI[0],
        v.xsmtpapi_value,
        empty=Code.XSMTPAPI_EMPTY,
        invalid=Code.XSMTPAPI_NOT_JSON,
        raises=xsmtpapi.CODES,
        aliases=_XSMTPAPI[1:],
        json=True,
        when=lambda seen: not is_list(seen),
        doc="Recipients of separate mails with their variables, and tracking of this send: a JSON object.",
        example='{"to": ["ann@example.com"], "sub": {"%name%": ["Ann"]}}',
    ),
]
RequestId = Annotated[
    str,
    Field(
        "sendRequestId",
        text(MAX_REQUEST_ID),
        invalid=Code.MAIL_FAULT,
        too_long=Code.MAIL_FAULT,
        doc="1-128 characters; a repeat within the hour is answered as the first request was and sends nothing.",
        example="order-42",
    ),
]
ReturnIds = Annotated[
    bool,
    Field(
        "respEmailId",
        boolean,
        empty=Code.RESP_EMAIL_ID_EMPTY,
        invalid=Code.RESP_EMAIL_ID_INVALID,
        aliases=("resp_email_id",),
        doc="Whether to return the emailIds.",
        example="true",
    ),
]
Notification = Annotated[
    bool,
    Field(
        "useNotification",
        boolean,
        empty=Code.RECEIPT_INVALID,
        invalid=Code.RECEIPT_INVALID,
        doc="Ask for a read receipt.",
        example="false",
    ),
]
ReceiptTo = Annotated[
    str,
    Field(
        "dispositionNotificationTo",
        v.address,
        empty=Code.RECEIPT_EMPTY,
        invalid=Code.RECEIPT_INVALID,
        doc="Ask for a read receipt to this address; the older form of `useNotification`.",
        example="receipts@example.com",
    ),
]
UseAddressList = Annotated[
    bool,
    Field(
        "useAddressList",
        boolean,
        empty=Code.USE_ADDRESS_LIST_EMPTY,
        invalid=Code.USE_ADDRESS_LIST_INVALID,
        aliases=("use_maillist",),
        doc="`to` holds aliases of address lists.",
        example="false",
    ),
]
Gzip = Annotated[
    bool,
    Field(
        "gzipCompress",
        boolean,
        empty=Code.GZIP_EMPTY,
        invalid=Code.GZIP_INVALID,
        aliases=("gzip_compress",),
        doc="`html` and `plain` are base64 of gzip of UTF-8 text.",
        example="false",
    ),
]
InvokeName = Annotated[
    str,
    Field(
        "templateInvokeName",
        text(MAX_INVOKE_NAME),
        empty=Code.INVOKE_NAME_EMPTY,
        invalid=Code.MAIL_TEMPLATE_UNKNOWN,
        too_long=Code.MAIL_TEMPLATE_UNKNOWN,
        aliases=("template_invoke_name",),
        doc="Invoke name of an approved template of the account.",
        example="welcome_1",
    ),
]
TaskId = Annotated[
    int,
    Field(
        "maillistTaskId",
        v.number_of,
        empty=Code.TASK_ID_INVALID,
        invalid=Code.TASK_ID_INVALID,
        doc="Number of a send to an address list, as the answer to the send told it.",
        example="9001",
    ),
]


# -- what parameters mean together


def check_sizes(files: tuple[Attachment, ...], limits: Limits) -> None:
    if sum(len(file.data) for file in files) > limits.attachments_bytes:
        raise Refused(Code.ATTACHMENTS_TOO_LARGE, message=f"Attachments should be no more than {limits.attachments_bytes} bytes")


class Checked:
    """The checks that all kinds of sending have, each at the turn of its parameter (fields.Form)."""

    @classmethod
    def check_headers(cls, seen: Seen) -> None:
        """spec §9.1, mode C."""
        if is_list(seen) and len(seen.raw.text("headers").encode(errors="replace")) > MAX_LIST_HEADERS:
            raise Refused(Code.HEADERS_INVALID, f"longer than {MAX_LIST_HEADERS} bytes")

    @classmethod
    def check_attachments(cls, seen: Seen) -> None:
        check_sizes(seen.peek("attachments"), seen.limits)

    @classmethod
    def check_xsmtpapi(cls, seen: Seen) -> None:
        """README settled 11; no recipient at all without xsmtpapi is the 40805 of `to`."""
        if is_broadcast(seen) and not seen.peek("to"):
            raise Refused(Code.XSMTPAPI_TO_MISSING)
