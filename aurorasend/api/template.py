"""template/list, get, add, update, delete, submit (management.md §1).

A handler opens one transaction, in which template.py applies its rules. Called by endpoint. Always: automatic audit is
part of that transaction, but the answer to `add` is the template as it was before, so approval is seen by the next call (§1.1).
"""

from dataclasses import dataclass, replace
from datetime import timezone
from typing import Annotated

from aurorasend import template
from aurorasend.api.mail_values import MAX_SUMMARY, summary_text
from aurorasend.clock import wall
from aurorasend.codes import Code
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one, page
from aurorasend.fields import Field, Kind, Limit, Start, Trouble, integer, line, parser, text
from aurorasend.store import template as rows
from aurorasend.store.template import Filter, Listed
from aurorasend.template import Stat, Template, Wanted

_plain, _subject = text(), line(template.MAX_SUBJECT)


@parser(schema={"type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "maxLength": template.MAX_INVOKE_NAME})
def invoke_name(given: str) -> str:
    if not template.is_invoke_name(given):
        raise Trouble(Kind.INVALID, f"1 to {template.MAX_INVOKE_NAME} letters, digits, _ - or .")
    return given


@parser(Kind.TOO_LONG, schema={"type": "string", "maxLength": template.MAX_SUBJECT})
def subject(given: str) -> str:
    return _subject.read(given.replace("\t", " "))  # as in sending


@parser(Kind.TOO_LONG, strip=False)
def body(given: str) -> str:
    if len(given.encode()) > template.MAX_BODY:
        raise Trouble(Kind.TOO_LONG, f"longer than {template.MAX_BODY} bytes")
    return _plain.read(given)


@parser(Kind.TOO_LONG, strip=False)
def html(given: str) -> str:
    if template.has_script(given):
        raise Trouble(Kind.INVALID, "scripts are not allowed")
    return body.read(given)


@parser(Kind.TOO_LONG)
def summary(given: str) -> str:
    return summary_text.read(_plain.read(given))


_NAME = Field(
    "name",
    line(template.MAX_NAME),
    empty=Code.TEMPLATE_NAME_EMPTY,
    invalid=Code.TEMPLATE_NAME_INVALID,
    too_long=Code.TEMPLATE_NAME_INVALID,
    doc="Name for people to read.",
    example="Welcome",
)
_HTML = Field(
    "html",
    html,
    empty=Code.TEMPLATE_HTML_EMPTY,
    invalid=Code.TEMPLATE_HTML_INVALID,
    too_long=Code.TEMPLATE_HTML_INVALID,
    doc="HTML body, at most 2 MiB, without scripts; may hold `%variables%`.",
    example="<p>Hi %name%</p>",
)
_TEXT = Field(
    "text",
    body,
    empty=Code.TEMPLATE_TEXT_EMPTY,
    invalid=Code.TEMPLATE_TEXT_INVALID,
    too_long=Code.TEMPLATE_TEXT_INVALID,
    doc="Plain text body, at most 2 MiB.",
    example="Hi %name%",
)
_SUBJECT = Field(
    "subject",
    subject,
    empty=Code.TEMPLATE_SUBJECT_EMPTY,
    invalid=Code.TEMPLATE_SUBJECT_INVALID,
    too_long=Code.TEMPLATE_SUBJECT_INVALID,
    doc="Subject of mails that have none of their own; may hold `%variables%`.",
    example="Hello %name%",
)
_TYPE = Field(
    "templateType",
    integer(0, 1),
    empty=Code.TEMPLATE_TYPE_EMPTY,
    invalid=Code.TEMPLATE_TYPE_INVALID,
    doc="Type of the API users that may send it: 0 trigger, 1 batch.",
    example="0",
)
_SUMMARY = Field(
    "contentSummary",
    summary,
    empty=Code.SUMMARY_EMPTY,
    invalid=Code.SUMMARY_TOO_LONG,
    too_long=Code.SUMMARY_TOO_LONG,
    doc=f"Preview text of the mail, at most {MAX_SUMMARY} bytes of UTF-8.",
    example="Your order is on its way",
)

InvokeName = Annotated[
    str,
    Field(
        "invokeName",
        invoke_name,
        empty=Code.INVOKE_NAME_EMPTY,
        invalid=Code.INVOKE_NAME_INVALID,
        doc="Name that sends call the template by, unique in the account.",
        example="welcome_1",
    ),
]
AnyInvokeName = Annotated[
    str,
    Field(
        "invokeName",
        text(template.MAX_INVOKE_NAME),
        empty=Code.INVOKE_NAME_EMPTY,
        invalid=Code.INVOKE_NAME_INVALID,
        too_long=Code.INVOKE_NAME_INVALID,
        doc="Only the template of exactly this invoke name.",
        example="welcome_1",
    ),
]
Name = Annotated[str, _NAME]
Html = Annotated[str, _HTML]
PlainText = Annotated[str, _TEXT]
Subject = Annotated[str, _SUBJECT]
Type = Annotated[int, _TYPE]
Summary = Annotated[str, _SUMMARY]
# In an update a blank value keeps what is there (§1.5).
OtherName = Annotated[str | None, replace(_NAME, empty=None)]
OtherHtml = Annotated[str | None, replace(_HTML, empty=None)]
OtherText = Annotated[str | None, replace(_TEXT, empty=None)]
OtherSubject = Annotated[str | None, replace(_SUBJECT, empty=None)]
OtherType = Annotated[int | None, replace(_TYPE, empty=None)]
OtherSummary = Annotated[str | None, replace(_SUMMARY, empty=None)]
OnlyType = Annotated[int | None, replace(_TYPE, doc="Only templates of this type: 0 trigger, 1 batch.")]
OnlyStat = Annotated[
    int | None,
    Field(
        "templateStat",
        integer(Stat.DRAFT, Stat.APPROVED),
        empty=Code.TEMPLATE_STAT_EMPTY,
        invalid=Code.TEMPLATE_STAT_INVALID,
        aliases=("isVerify",),
        doc="Only templates in this state: -2 not submitted, -1 refused, 0 waiting for audit, 1 approved.",
        example="1",
    ),
]
SubmitAudit = Annotated[
    int,
    Field(
        "isSubmitAudit",
        integer(0, 1),
        empty=Code.SUBMIT_AUDIT_EMPTY,
        invalid=Code.SUBMIT_AUDIT_INVALID,
        doc="1 (default) submits the template for audit at once; 0 leaves it a draft.",
        example="1",
    ),
]
Cancel = Annotated[
    int,
    Field(
        "cancel",
        integer(0, 1),
        empty=Code.CANCEL_EMPTY,
        invalid=Code.CANCEL_INVALID,
        doc="0 (default) submits the template for audit; 1 withdraws it.",
        example="0",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ListTemplates:
    invoke_name: AnyInvokeName = ""
    type: OnlyType = None
    stat: OnlyStat = None
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class OneTemplate:
    invoke_name: InvokeName


@dataclass(frozen=True, kw_only=True)
class AddTemplate:
    invoke_name: InvokeName
    name: Name
    html: Html
    text: PlainText = ""
    subject: Subject
    type: Type
    submit: SubmitAudit = 1
    summary: Summary = ""


@dataclass(frozen=True, kw_only=True)
class UpdateTemplate:
    invoke_name: InvokeName
    name: OtherName = None
    html: OtherHtml = None
    subject: OtherSubject = None
    type: OtherType = None
    text: OtherText = None
    summary: OtherSummary = None
    submit: SubmitAudit = 1


@dataclass(frozen=True, kw_only=True)
class SubmitTemplate:
    invoke_name: InvokeName
    cancel: Cancel = 0


@endpoint("template/list")
async def list_templates(call: ApiCall, p: ListTemplates) -> Info:
    """List the templates of the account, newest first."""
    account_id, wanted = call.caller.account.id, Filter(invoke_name=p.invoke_name, type=p.type, stat=p.stat)
    found, total = await call.node.store.read(lambda tx: rows.search(tx, account_id, wanted, p.start, p.limit))
    return page([shown(each, call.node.zone) for each in found], total)


@endpoint("template/get", raises=[Code.TEMPLATE_UNKNOWN])
async def get_template(call: ApiCall, p: OneTemplate) -> Info:
    """Read one template with its bodies."""
    account_id = call.caller.account.id
    found = await call.node.store.read(lambda tx: template.get(tx, account_id, p.invoke_name))
    bodies = {"html": found.html, "text": found.text, "subject": found.subject, "contentSummary": found.summary}
    return one(shown(found, call.node.zone) | bodies)


@endpoint(
    "template/add",
    raises=[Code.INVOKE_NAME_TAKEN, Code.TEMPLATE_TOO_MANY],
    unavailable=Code.TEMPLATE_NOT_CREATED,
)
async def add_template(call: ApiCall, p: AddTemplate) -> Info:
    """Create a template.

    It can be sent when it is approved. All API users of the account share its templates.
    """
    account, now_us = call.caller.account, call.node.clock.now_us()
    limit = call.node.settings.template.per_account if account.template_limit is None else account.template_limit
    stat = _audited(call) if p.submit else Stat.DRAFT
    new = Template(
        id=0,
        invoke_name=p.invoke_name,
        name=p.name,
        type=p.type,
        subject=p.subject,
        html=p.html,
        text=p.text,
        summary=p.summary,
        stat=stat,
        created=now_us,
        updated=now_us if stat is Stat.APPROVED else 0,
    )
    added = await call.node.store.write(lambda tx: template.add(tx, account.id, new, limit))
    before_audit = replace(added, stat=Stat.PENDING if p.submit else Stat.DRAFT, updated=0)
    return one(shown(before_audit, call.node.zone) | {"html": p.html, "subject": p.subject})


@endpoint(
    "template/update",
    raises=[Code.TEMPLATE_UNKNOWN, Code.TEMPLATE_UNDER_REVIEW],
    unavailable=Code.TEMPLATE_NOT_UPDATED,
)
async def update_template(call: ApiCall, p: UpdateTemplate) -> Info:
    """Change a template.

    What is absent or blank stays as it is. It must be approved again, and is submitted for it unless `isSubmitAudit` is 0.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    wanted = Wanted(
        name=p.name,
        type=p.type,
        subject=p.subject,
        html=p.html,
        text=p.text,
        summary=p.summary,
        stat=_audited(call) if p.submit else Stat.DRAFT,
    )
    return changed(await call.node.store.write(lambda tx: template.change(tx, account_id, p.invoke_name, wanted, now_us)))


@endpoint("template/delete", raises=[Code.TEMPLATE_UNKNOWN], unavailable=Code.TEMPLATE_NOT_DELETED)
async def delete_template(call: ApiCall, p: OneTemplate) -> Info:
    """Delete a template.

    Mail that was accepted before is still sent.
    """
    account_id = call.caller.account.id
    return changed(await call.node.store.write(lambda tx: template.delete(tx, account_id, p.invoke_name)))


@endpoint(
    "template/submit",
    raises=[
        Code.TEMPLATE_UNKNOWN,
        Code.TEMPLATE_ALREADY_SUBMITTED,
        Code.TEMPLATE_ALREADY_APPROVED,
        Code.TEMPLATE_REVIEW_FAILED,
        Code.TEMPLATE_NEVER_SUBMITTED,
    ],
)
async def submit_template(call: ApiCall, p: SubmitTemplate) -> Info:
    """Submit a template for audit, or withdraw it."""
    account_id, stat, now_us = call.caller.account.id, _audited(call), call.node.clock.now_us()
    if p.cancel:
        return changed(await call.node.store.write(lambda tx: template.withdraw(tx, account_id, p.invoke_name, now_us)))
    return changed(await call.node.store.write(lambda tx: template.submit(tx, account_id, p.invoke_name, stat, now_us)))


def _audited(call: ApiCall) -> Stat:
    """What a submitted template of the account is: approved at once, or waiting for the operator."""
    manual = call.caller.account.manual_audit
    if manual is None:
        manual = call.node.settings.template.audit == "manual"
    return Stat.PENDING if manual else Stat.APPROVED


def shown(each: Listed | Template, zone: timezone) -> dict[str, object]:
    return {
        "name": each.name,
        "invokeName": each.invoke_name,
        "templateType": each.type,
        "templateStat": int(each.stat),
        "gmtCreated": wall(each.created, zone),
        "gmtUpdated": wall(each.updated, zone) if each.updated else "",
    }


ENDPOINTS = (list_templates, get_template, add_template, update_template, delete_template, submit_template)
