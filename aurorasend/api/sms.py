"""smsapi/send and smsapi/timestamp/get (sms.md §4). The order of the fields is the order of the checks."""

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec

from aurorasend import phone, sms_text
from aurorasend.api.mail_values import number_of
from aurorasend.carrier import Parameters
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import Answer, Auth, Call, Frequency, Info, SmsCall, endpoint
from aurorasend.fields import Field, Kind, Trouble, parser, text
from aurorasend.sms import SmsAccepted, SmsSubmission, SmsTarget

MAX_VARIABLE = 32  # characters of a value, sms.md §3.2
MAX_VARIABLES = 200  # ours: a text of 500 characters has room for fewer
MAX_CUSTOM = 128  # sms.md §3.3
INTERNATIONAL = 2  # msgType
_LINK = re.compile("https?://", re.IGNORECASE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SENDER = re.compile("[A-Za-z0-9]{3,11}")


@parser(Kind.TOO_MANY, strip=False, schema={"type": "string"})
def numbers(given: str) -> tuple[str, ...]:
    """The numbers as they are shown again; whether they are any is decided for each by itself."""
    parts = phone.split(given)
    if len(parts) > phone.MAX_NUMBERS:
        raise Trouble(Kind.TOO_MANY, f"at most {phone.MAX_NUMBERS} numbers in one request")
    return tuple(parts)


@parser(schema={"type": "object", "additionalProperties": {"type": "string"}})
def variables(given: str) -> dict[str, str]:
    """Values by name, the surrounding % left out. A value too long is let pass: that is another code, later."""
    values = _json_object(given)
    if len(values) > MAX_VARIABLES:
        raise Trouble(Kind.INVALID, f"more than {MAX_VARIABLES} variables")
    return {_variable_name(name): _variable_value(value) for name, value in values.items()}


@parser(schema={"type": "string", "maxLength": MAX_CUSTOM})
def custom_arguments(given: str) -> str:
    """JSON text of an object, as it was given."""
    if len(given) > MAX_CUSTOM:
        raise Trouble(Kind.INVALID, f"customArgs is longer than {MAX_CUSTOM} characters")
    try:
        msgspec.json.decode(given, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise Trouble(Kind.INVALID, "customArgs is not a JSON object") from None
    return given


@parser(schema={"type": "string", "pattern": _SENDER.pattern})
def sender_name(given: str) -> str:
    if not _SENDER.fullmatch(given):
        raise Trouble(Kind.INVALID, "senderID has 3 to 11 letters and digits")
    return given


@parser(schema={"type": "integer", "minimum": 0, "maximum": 5})
def message_type(given: str) -> int:
    if given not in ("0", "1", "2", "3", "4", "5"):
        raise Trouble(Kind.INVALID, "msgType is 0 to 5")
    return int(given)


@parser(schema={"type": "string", "maxLength": 128})
def request_key(given: str) -> str:
    if len(given) > 128 or _UNSTORABLE.search(given):
        raise Trouble(Kind.INVALID, "sendRequestId has at most 128 characters")
    return given


TemplateId = Annotated[
    int,
    Field(
        "templateId",
        number_of,
        empty=Code.SMS_TEMPLATE_EMPTY,
        invalid=Code.SMS_TEMPLATE_EMPTY,
        aliases=("template_id",),
        doc="An approved template of the account.",
        example="123456",
    ),
]
Numbers = Annotated[
    tuple[str, ...],
    Field(
        "phone",
        numbers,
        empty=Code.SMS_PHONE_EMPTY,
        invalid=Code.SMS_PHONE_INVALID,
        too_many=Code.SMS_PHONE_INVALID,
        aliases=("to",),
        doc="Numbers in E.164 form, at most 2000, separated by commas.",
        example="+6591234567",
    ),
]
Variables = Annotated[
    dict[str, str] | None,
    Field(
        "vars",
        variables,
        invalid=Code.SMS_VARS_INVALID,
        aliases=("template_vars",),
        json=True,
        doc="JSON object of the values for the template's variables, for all numbers.",
        example='{"code":"123456"}',
        sampled=True,
    ),
]
MessageType = Annotated[
    int,
    Field("msgType", message_type, invalid=Code.SMS_VARS_INVALID, doc="0 SMS, 2 international; others count as 0.", example="0"),
]
SenderId = Annotated[
    str,
    Field("senderID", sender_name, invalid=Code.SMS_VARS_INVALID, doc="The registered sender to show.", example="Aurora"),
]
RequestKey = Annotated[
    str,
    Field(
        "sendRequestId",
        request_key,
        invalid=Code.SMS_VARS_INVALID,
        doc="Of requests with the same value, only the first within an hour is carried out.",
        example="code-42",
    ),
]
CustomArguments = Annotated[
    str,
    Field(
        "customArgs",
        custom_arguments,
        invalid=Code.SMS_VARS_INVALID,
        aliases=("tag",),
        json=True,
        doc="JSON object that comes back in webhooks, at most 128 characters.",
        example='{"order": "42"}',
    ),
]
LabelId = Annotated[str, Field("labelId", text(), invalid=Code.LABEL_ID_INVALID, doc="An SMS label.", example="7")]


@dataclass(frozen=True, kw_only=True)
class SendSms:
    template_id: TemplateId
    numbers: Numbers
    variables: Variables = None
    msg_type: MessageType = 0
    sender: SenderId = ""
    request_key: RequestKey = ""
    custom: CustomArguments = "{}"
    label: LabelId = ""


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No parameters."""


_SMS_USER = frozenset({"smsuser", "sms_user"})
_API_USER = frozenset({"apiuser", "api_user"})


def is_sms(raw: Parameters) -> bool:
    """Whether a request to mail/send is meant for us: a vendor SDK posts SMS there (wire-notes §11). Who gives an API_USER
    sends a mail."""
    return not raw.names.isdisjoint(_SMS_USER) and raw.names.isdisjoint(_API_USER)


# Every endpoint of smsapi/ has no prefix (conventions.md §2); what cannot be read is the caller's 441 (sms.md §18.2).
sms_endpoint = partial(endpoint, auth=Auth.SMS, prefixes=("",), frequency=Frequency.SMS, unreadable=Code.SMS_VARS_INVALID)


@sms_endpoint(
    "smsapi/send",
    aliases=("sms/send", "api/sms/send"),
    takes_over={"mail/send": is_sms},
    raises=(
        Code.SMS_SOME_REFUSED,
        Code.SMS_ALL_REFUSED,
        Code.SMS_PHONE_REPEATED,
        Code.SMS_VARIABLE_TOO_LONG,
        Code.REQUEST_ID_REUSED,
        Code.SMS_TEMPLATE_UNKNOWN,
        Code.SMS_TEMPLATE_NOT_APPROVED,
        Code.SMS_TOO_MANY_PER_MINUTE,
        Code.SMS_TOO_MANY_PER_DAY,
    ),
)
async def send(call: SmsCall, p: SendSms) -> Info | Answer:
    """Send an approved template to 1 to 2000 numbers.

    Accepting means queued; what becomes of each message is told by events and webhooks.
    """
    values = p.variables or {}
    if any(len(value) > MAX_VARIABLE for value in values.values()):
        raise Refused(Code.SMS_VARIABLE_TOO_LONG)
    domestic = p.msg_type != INTERNATIONAL
    phones = [phone.parse(shown, domestic=domestic, home=call.node.sms.home) for shown in p.numbers]
    if phone.has_repeated(phones):
        raise Refused(Code.SMS_PHONE_REPEATED)
    submission = SmsSubmission(
        caller=call.caller,
        template_id=p.template_id,
        targets=tuple(SmsTarget(number, values) for number in phones),
        msg_type=p.msg_type,
        sender=p.sender,
        custom=p.custom,
        label=p.label,
        request_key=p.request_key,
    )
    return answer(await call.node.sms.accept(submission))


@sms_endpoint("smsapi/timestamp/get", auth=Auth.NONE, frequency=None)
async def timestamp(call: Call[None], p: Nothing) -> Info:
    """The server's clock.

    Milliseconds since 1970, for the `timestamp` of a signed request.
    """
    return {"timestamp": call.node.clock.now_us() // 1000}


ENDPOINTS = (send, timestamp)


def answer(accepted: SmsAccepted) -> Info | Answer:
    """200, 311, 312; the only number's own code when there was one (sms.md §4.1)."""
    if not accepted.refused:
        return {"successCount": len(accepted.sms_ids), "smsIds": list(accepted.sms_ids)}
    if len(accepted.refused) == 1 and not accepted.sms_ids:
        raise Refused(Code[accepted.refused[0].code])
    info = {
        "successCount": len(accepted.sms_ids),
        "failedCount": len(accepted.refused),
        "items": [{"phone": r.phone, "vars": r.variables, "message": Code[r.code].message} for r in accepted.refused],
        "smsIds": list(accepted.sms_ids),
    }
    if not accepted.sms_ids:
        raise Refused(Code.SMS_ALL_REFUSED, info=info)
    return Answer(Code.SMS_SOME_REFUSED, info)


def _json(given: str) -> Any:
    """JSON with numbers as they are written. Raises Trouble."""
    try:
        return json.loads(given, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise Trouble(Kind.INVALID) from None


def _json_object(given: str) -> dict[str, Any]:
    """A JSON object, one that is JSON text inside JSON text, or one that was percent-encoded once too often (wire-notes §9)."""
    values = _json(unquote(given) if given[:3].upper() == "%7B" else given)
    if isinstance(values, str):
        values = _json(values)
    if not isinstance(values, dict):
        raise Trouble(Kind.INVALID, "vars is not a JSON object")
    return values


def _variable_name(given: str) -> str:
    name = given[1:-1] if len(given) > 2 and given.startswith("%") and given.endswith("%") else given
    if not sms_text.VARIABLE_NAME.fullmatch(name):
        raise Trouble(Kind.INVALID, "a name in vars has 1 to 32 letters, digits, _ and -")
    return name


def _variable_value(given: object) -> str:
    value = str(given).lower() if isinstance(given, bool) else given
    if not isinstance(value, str):
        raise Trouble(Kind.INVALID, "a value in vars is not text")
    if _LINK.search(value):
        raise Trouble(Kind.INVALID, "a value in vars holds a link")
    if _UNSTORABLE.search(value):
        raise Trouble(Kind.INVALID, "a value in vars holds characters that cannot be sent")
    return value
