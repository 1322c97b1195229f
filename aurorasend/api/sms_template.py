"""Templates of the SMS API (sms.md §5). Which codes answer what is decided there."""

from dataclasses import dataclass
from datetime import timezone
from typing import Annotated, Any

from aurorasend import clock, sms_template, sms_text
from aurorasend.api.mail_values import number_of
from aurorasend.api.sms import sms_endpoint
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import Info, SmsCall
from aurorasend.fields import Field, Kind, Trouble, line, parser, text
from aurorasend.sms_template import SmsTemplate, Stat, Wanted

STATS = {Stat.DRAFT: "Draft", Stat.REJECTED: "Rejected", Stat.PENDING: "Pending review", Stat.APPROVED: "Approved"}
TYPES = ("Verification code", "Notice", "Marketing")


@parser(schema={"type": "string", "maxLength": sms_text.MAX_CHARACTERS})
def template_text(given: str) -> str:
    if not sms_template.is_text(given):
        raise Trouble(Kind.INVALID, "no control characters, and a space on both sides of a link")
    return given


def _choice(*words: str) -> Any:
    """A parser of one of a few numbers that are sent as text."""

    @parser(schema={"type": "string", "enum": list(words)})
    def read(given: str) -> int:
        if given not in words:
            raise Trouble(Kind.INVALID)
        return int(given)

    return read


TemplateId = Annotated[
    int,
    Field(
        "templateIdStr",
        number_of,
        empty=Code.SMS_TEMPLATE_EMPTY,
        invalid=Code.SMS_TEMPLATE_EMPTY,
        aliases=("templateId", "template_id"),
        doc="A template of the account.",
        example="123456",
    ),
]
Name = Annotated[
    str,
    Field(
        "templateName",
        line(sms_template.MAX_NAME),
        empty=Code.TEMPLATE_NAME_EMPTY,
        invalid=Code.TEMPLATE_NAME_INVALID,
        too_long=Code.TEMPLATE_NAME_INVALID,
        doc="Name of the template, unique in the account.",
        example="login code",
    ),
]
NewText = Annotated[
    str,
    Field(
        "templateText",
        template_text,
        empty=Code.TEMPLATE_TEXT_EMPTY,
        invalid=Code.TEMPLATE_TEXT_INVALID,
        doc="The text, with variables as %name%; at most 500 characters with the signature.",
        example="Your code is %code%",
    ),
]
SignId = Annotated[str, Field("signId", text(), invalid=Code.SMS_TEMPLATE_UNKNOWN, doc="An approved signature.", example="1")]
SignName = Annotated[
    str, Field("signName", text(), invalid=Code.SMS_TEMPLATE_UNKNOWN, doc="Name of an approved signature.", example="Aurora")
]
SignPosition = Annotated[
    int | None,
    Field(
        "signPositionStr", _choice("0", "1"), invalid=Code.SMS_VARS_INVALID, doc="0 before the text, 1 behind it.", example="0"
    ),
]
SmsType = Annotated[
    int,
    Field(
        "smsTypeStr",
        _choice("0", "1", "2"),
        empty=Code.TEMPLATE_TYPE_EMPTY,
        invalid=Code.TEMPLATE_TYPE_INVALID,
        doc="0 verification code, 1 notice, 2 marketing.",
        example="0",
    ),
]
IsVerify = Annotated[
    int | None,
    Field(
        "isVerifyStr", _choice("-2", "-1", "0", "1"), invalid=Code.SMS_VARS_INVALID, doc="Only those in this state.", example="1"
    ),
]


@dataclass(frozen=True, kw_only=True)
class OneTemplate:
    template_id: TemplateId


@dataclass(frozen=True, kw_only=True)
class ListTemplates:
    stat: IsVerify = None


@dataclass(frozen=True, kw_only=True)
class AddTemplate:
    name: Name
    text: NewText
    sign_id: SignId = ""
    sign_name: SignName = ""
    sign_position: SignPosition = None
    sms_type: SmsType

    def check(self) -> None:
        _refuse_signature(self.sign_id, self.sign_name)


@dataclass(frozen=True, kw_only=True)
class ChangeTemplate:
    template_id: TemplateId
    name: Name
    text: NewText = ""
    sign_id: SignId = ""
    sign_name: SignName = ""
    sign_position: SignPosition = None
    sms_type: SmsType

    def check(self) -> None:
        _refuse_signature(self.sign_id, self.sign_name)


def _refuse_signature(sign_id: str, sign_name: str) -> None:
    """Signatures cannot be registered yet, so none can be meant (431 as for an unknown one, sms.md §6.1)."""
    if sign_id or sign_name:
        raise Refused(Code.SMS_TEMPLATE_UNKNOWN, message="signature does not exist")


@sms_endpoint("smsapi/get", raises=(Code.SMS_TEMPLATE_UNKNOWN,))
async def get(call: SmsCall, p: OneTemplate) -> Info:
    """Show a template."""
    found = await call.node.store.read(lambda tx: sms_template.find(tx, call.caller.account.id, p.template_id))
    return _shown(found, call.node.zone, "createTime", "updateTime")


@sms_endpoint("smsapi/list")
async def every(call: SmsCall, p: ListTemplates) -> Info:
    """List the templates, newest first."""
    found = await call.node.store.read(lambda tx: sms_template.every(tx, call.caller.account.id, p.stat))
    shown = [_shown(template, call.node.zone, "templateCreateTime", "templateUpdateTime") for template in found]
    return {"total": len(shown), "list": shown}


@sms_endpoint(
    "smsapi/addsms",
    unavailable=Code.TEMPLATE_NOT_CREATED,
    raises=(Code.INVOKE_NAME_TAKEN, Code.TEMPLATE_TEXT_INVALID, Code.SMS_TEMPLATE_UNKNOWN),
)
async def add(call: SmsCall, p: AddTemplate) -> Info:
    """Create a template.

    It is a draft until it is submitted.
    """
    wanted, now_us = Wanted(p.name, p.sms_type, p.text, p.sign_position), call.node.clock.now_us()
    return {"templateId": await call.node.store.write(lambda tx: sms_template.add(tx, call.caller.account.id, wanted, now_us))}


@sms_endpoint(
    "smsapi/submitsms",
    unavailable=Code.TEMPLATE_NOT_UPDATED,
    raises=(Code.SMS_TEMPLATE_UNKNOWN, Code.TEMPLATE_ALREADY_SUBMITTED, Code.TEMPLATE_ALREADY_APPROVED),
)
async def submit(call: SmsCall, p: OneTemplate) -> Info:
    """Submit a draft or rejected template for review."""
    manual, now_us = call.caller.account.manual_audit, call.node.clock.now_us()
    auto = call.node.settings.sms.template_audit == "auto" if manual is None else not manual
    await call.node.store.write(lambda tx: sms_template.submit(tx, call.caller.account.id, p.template_id, now_us, auto=auto))
    return {}


@sms_endpoint(
    "smsapi/updatesms",
    unavailable=Code.TEMPLATE_NOT_UPDATED,
    raises=(Code.SMS_TEMPLATE_UNKNOWN, Code.TEMPLATE_UNDER_REVIEW, Code.INVOKE_NAME_TAKEN, Code.TEMPLATE_TEXT_INVALID),
)
async def update(call: SmsCall, p: ChangeTemplate) -> Info:
    """Change a template.

    It becomes a draft and must be submitted again; messages that are queued keep their text.
    """
    wanted, now_us = Wanted(p.name, p.sms_type, p.text or None, p.sign_position), call.node.clock.now_us()
    await call.node.store.write(lambda tx: sms_template.change(tx, call.caller.account.id, p.template_id, wanted, now_us))
    return {}


@sms_endpoint(
    "smsapi/deletesms",
    unavailable=Code.TEMPLATE_NOT_DELETED,
    raises=(Code.SMS_TEMPLATE_UNKNOWN, Code.TEMPLATE_UNDER_REVIEW),
)
async def delete(call: SmsCall, p: OneTemplate) -> Info:
    """Delete a template.

    Messages that are queued still go out.
    """
    await call.node.store.write(lambda tx: sms_template.remove(tx, call.caller.account.id, p.template_id))
    return {}


ENDPOINTS = (get, every, add, submit, update, delete)


def _shown(template: SmsTemplate, zone: timezone, created: str, updated: str) -> dict[str, object]:
    """English words where v2 has Chinese ones (sms.md §5). All templates are for domestic and international messages."""
    return {
        "templateId": template.id,
        "templateName": template.name,
        "msgType": "Domestic SMS",
        "smsType": TYPES[template.sms_type],
        "templateContent": template.content,
        "isVerify": STATS[Stat(template.stat)],
        created: clock.day(template.created, zone),
        updated: clock.day(template.updated, zone),
    }
