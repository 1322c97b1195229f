"""`/openapi.json` and `/reference`: every endpoint with its parameters, codes and a curl that works.

Called by http as the pages of an app. Calls openapi.
"""

import shlex
from collections.abc import Sequence

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from aurorasend.codes import Code
from aurorasend.endpoint import Catalogue, Endpoint
from aurorasend.fields import Field, FileField, Slot
from aurorasend.portal import openapi


def routes(catalogue: Catalogue, public_url: str = "") -> Sequence[BaseRoute]:
    """`public_url` is where clients find the API; "" shows each reader the address that it used itself."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("aurorasend.portal"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    reference = templates.get_template("reference.html")

    async def show_document(request: Request) -> Response:
        return Response(
            msgspec.json.encode(openapi.document(catalogue, public_url.rstrip("/") or _base(request))),
            media_type="application/json",
        )

    async def show_reference(request: Request) -> Response:
        base = public_url.rstrip("/") or _base(request)
        shown = [{"endpoint": each, "codes": openapi.codes(each), "curl": curl(each, base)} for each in catalogue.endpoints]
        answered = sorted((code for code in Code if not code.internal), key=lambda code: code.number)
        return HTMLResponse(reference.render(shown=shown, codes=answered, is_file=_is_file))

    return (Route("/openapi.json", show_document), Route("/reference", show_reference))


def curl(each: Endpoint, base: str) -> str:
    """A command for the shell, with the parameters that are needed, always or sometimes."""
    names = {name: f"YOUR_{name.upper()}" for name in openapi.CREDENTIALS[each.auth]}
    given = names | {slot.field.wire: slot.field.example for slot in each.form.shown if _needed(slot)}
    lines = [f"curl -X {each.methods[-1]} {shlex.quote(base + each.paths[0])}"]
    return " \\\n  ".join([*lines, *(f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in given.items())])


def _needed(slot: Slot) -> bool:
    return isinstance(slot.field, Field) and bool(slot.field.example) and (slot.required or slot.field.required is not None)


def _is_file(slot: Slot) -> bool:
    return isinstance(slot.field, FileField)


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
