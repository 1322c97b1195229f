"""Samples of a call of each endpoint, as complete programs: curl, Python with requests, JavaScript with fetch.

Called by pages. Calls openapi. Always: a sample needs nothing but the caller's credentials in place of YOUR_..., and
objects such as the examples of the declarations speak of.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aurorasend.endpoint import Endpoint
from aurorasend.fields import Field, Slot
from aurorasend.portal.openapi import CREDENTIALS

_capital = re.compile(r"(?<=[a-z])(?=[A-Z])").sub
_is_name = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*").fullmatch


@dataclass(frozen=True, slots=True)
class Sample:
    language: str  # as highlighters call it
    title: str
    text: str


def of(each: Endpoint, base: str) -> list[Sample]:
    """In the order in which they are shown. `base` is the URL of the server."""
    url, given = base + each.paths[0], parameters(each)
    return [Sample(language, title, write(url, given)) for language, title, write in _WRITERS]


def parameters(each: Endpoint) -> dict[str, str]:
    """What a sample sends: the credentials' placeholders, and the examples of what is needed, always or sometimes."""
    names = {name: placeholder(name) for name in CREDENTIALS[each.auth]}
    return names | {slot.field.wire: slot.field.example for slot in each.form.shown if _is_sent(slot)}


def placeholder(name: str) -> str:
    """What stands for a credential: YOUR_API_USER for `apiUser`."""
    return f"YOUR_{_capital('_', name).upper()}"


def curl(url: str, given: Mapping[str, str]) -> str:
    lines = [f"curl -X POST {shlex.quote(url)}", *(f"--data-urlencode {shlex.quote(f'{name}={given[name]}')}" for name in given)]
    return " \\\n  ".join(lines)


def python(url: str, given: Mapping[str, str]) -> str:
    lines = [f"    {_quoted(name)}: {_quoted(value)},\n" for name, value in given.items()]
    data = f"{{\n{''.join(lines)}}}" if lines else "{}"
    return f"""import requests

url = {_quoted(url)}
data = {data}

response = requests.post(url, data=data)
print(response.json())"""


def javascript(url: str, given: Mapping[str, str]) -> str:
    """For Node.js 18 or later. API keys are no matter for browsers."""
    lines = [f"  {name if _is_name(name) else _quoted(name)}: {_quoted(value)},\n" for name, value in given.items()]
    data = f"{{\n{''.join(lines)}}}" if lines else "{}"
    return f"""const data = {data};

fetch({_quoted(url)}, {{ method: "POST", body: new URLSearchParams(data) }})
  .then((response) => response.json())
  .then((answer) => console.log(answer))
  .catch((error) => console.error(error));"""


def _quoted(text: str) -> str:
    """A literal of Python and of JavaScript: JSON's, in single quotes where that spares backslashes."""
    literal = json.dumps(text, ensure_ascii=False)
    plain = literal.replace('\\"', '"')
    return literal if plain == literal or "\\" in plain or "'" in plain else f"'{plain[1:-1]}'"


def _is_sent(slot: Slot) -> bool:
    field = slot.field
    if not isinstance(field, Field) or not field.example:
        return False
    return slot.required or field.required is not None or field.sampled


_WRITERS: tuple[tuple[str, str, Callable[[str, Mapping[str, str]], str]], ...] = (
    ("bash", "curl", curl),
    ("python", "Python", python),
    ("javascript", "JavaScript", javascript),
)
