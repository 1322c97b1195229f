"""Mail requests for tests: parameters as clients post them, and a caller to post them."""

import gzip
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar
from urllib.parse import urlencode

from aurorasend.account import Account, AccountId, ApiUser, Domain
from aurorasend.api.mail import SendMail, SendMailV1, SendTemplate, SendTemplateV1, read_submission
from aurorasend.carrier import File, Parameters, read
from aurorasend.fields import Form
from aurorasend.intake import Submission

T = TypeVar("T")


def some(kind: Callable[..., T], **known: object) -> T:
    """A record of which only `known` matters here."""
    return kind(**{**{each.name: None for each in fields(kind)}, **known})


ACCOUNT = some(Account, id=AccountId(42), region="sg", paying=True, alternative=False)
CALLER = some(
    ApiUser,
    account=ACCOUNT,
    id=1,
    name="shop",
    email_type=0,
    is_test=False,
    domain=Domain(1, "mail.example.com", True),
    open=True,
    click=False,
    unsubscribe=True,
    content_match=False,
)
SEND, SEND_V1, TEMPLATE, TEMPLATE_V1 = Form(SendMail), Form(SendMailV1), Form(SendTemplate), Form(SendTemplateV1)

MAIL = {"from": "sender@mail.example.com", "to": "ann@example.org", "subject": "Hi", "html": "<p>Hello</p>"}
TEMPLATED = {"from": "sender@mail.example.com", "to": "ann@example.org", "templateInvokeName": "welcome"}


def form(parameters: dict[str, Any]) -> Parameters:
    """As a client posts them: None left out, lists repeated, objects as JSON text."""
    pairs = [
        (name, json.dumps(value) if isinstance(value, dict) else value)
        for name, given in parameters.items()
        if given is not None
        for value in (given if isinstance(given, list) else [given])
    ]
    return read(b"", "application/x-www-form-urlencoded", urlencode(pairs).encode())


def with_files(parameters: dict[str, str], *files: File) -> Parameters:
    return Parameters({}, {name: [value] for name, value in parameters.items()}, files)


def sent(raw: Parameters, caller: ApiUser = CALLER) -> Submission:
    return read_submission(caller, SEND.read(raw))


def many(count: int, address: str = "a{n}@example.org") -> str:
    return ";".join(address.format(n=n) for n in range(count))


def packed(text: str | bytes) -> str:
    return b64encode(gzip.compress(text.encode() if isinstance(text, str) else text)).decode()
