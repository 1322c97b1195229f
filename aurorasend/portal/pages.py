"""`/openapi.json`, `/reference` and a page for each endpoint: parameters, codes, samples that work.

Called by http as the pages of an app. Calls openapi and samples.
"""

import functools
from collections.abc import Sequence

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from aurorasend.codes import Code
from aurorasend.endpoint import Catalogue, Endpoint
from aurorasend.fields import Field, FileField, Slot
from aurorasend.portal import openapi, samples


def routes(catalogue: Catalogue, public_url: str = "") -> Sequence[BaseRoute]:
    """`public_url` is where clients find the API; "" shows each reader the address that it used itself."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("aurorasend.portal"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(kind_of=_kind_of, needed=_needed)
    index, page = templates.get_template("reference.html"), templates.get_template("endpoint.html")
    answered = sorted((code for code in Code if not code.internal), key=lambda code: code.number)

    def base(request: Request) -> str:
        return public_url.rstrip("/") or str(request.base_url).rstrip("/")

    @functools.cache
    def described() -> dict[str, object]:
        """Made when it is first asked for: it takes 0.1 s, in which no mail is accepted."""
        made = openapi.document(catalogue, "")
        return {name: msgspec.Raw(msgspec.json.encode(part)) for name, part in made.items()}

    async def show_document(request: Request) -> Response:
        whole = {**described(), "servers": [{"url": base(request)}]}
        return Response(msgspec.json.encode(whole), media_type="application/json")

    async def show_index(_: Request) -> Response:
        return HTMLResponse(index.render(modules=openapi.modules(catalogue), codes=answered))

    def endpoint_route(each: Endpoint) -> Route:
        async def show(request: Request) -> Response:
            return HTMLResponse(page.render(**_told(each, base(request))))

        return Route(f"/reference{each.paths[0]}", show)

    pages = map(endpoint_route, catalogue.endpoints)
    return (Route("/openapi.json", show_document), Route("/reference", show_index), *pages)


def _told(each: Endpoint, base: str) -> dict[str, object]:
    credentials = {name: openapi.CREDENTIAL_MEANING[name] for name in openapi.CREDENTIALS[each.auth]}
    return {"endpoint": each, "credentials": credentials, "codes": openapi.codes(each), "samples": samples.of(each, base)}


def _kind_of(slot: Slot) -> str:
    return "files" if isinstance(slot.field, FileField) else str(slot.field.parser.schema.get("type", "string"))


def _needed(slot: Slot) -> str:
    if slot.required:
        return "yes"
    return "sometimes" if isinstance(slot.field, Field) and slot.field.required is not None else "no"
