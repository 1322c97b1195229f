"""The sandbox's pages: what was caught instead of sent, for people (/sandbox) and programs (/sandbox.json).

Mounted by app.py; reads what aurorasend/sandbox.py caught. Open to this machine only, else it asks for the
operator's token (access.py). A caught mail may be hostile: its html is shown in a frame without origin,
script, forms or network, its files are only downloaded, and every other text is escaped by the templates.
"""

import asyncio
import functools
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timezone
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from aurorasend.address import MAX_ADDRESS
from aurorasend.clock import utc, wall
from aurorasend.console.access import OperatorAccess
from aurorasend.console.mail_view import MailView, view_mail, with_images
from aurorasend.sandbox import Caught, Sandbox

PAGE = 50
MOST = 1000  # of one list for programs
FILE_POLICY = "sandbox; default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
MAIL_POLICY = FILE_POLICY + "; img-src data:; font-src data:; style-src 'unsafe-inline'"
PAGE_POLICY = "default-src 'none'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
PRIVATE: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
}


class BadQuery(Exception):
    """One sentence about a parameter."""


Page = Callable[["SandboxPages", Request], Awaitable[Response]]


def routes(caught: Sandbox, access: OperatorAccess, zone: timezone) -> list[Route]:
    """The sandbox's routes. `zone` is the zone of times on pages; programs get UTC."""
    loader = jinja2.PackageLoader("aurorasend.console")
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages = SandboxPages(caught, access, zone, templates)
    table: tuple[tuple[str, Page], ...] = (
        ("/sandbox.json", SandboxPages.listed_json),
        ("/sandbox/{id}.json", SandboxPages.message_json),
        ("/sandbox/{id}", SandboxPages.message),
        ("/sandbox/{id}/html", SandboxPages.html),
        ("/sandbox/{id}/source", SandboxPages.source),
        ("/sandbox/{id}/part/{number}", SandboxPages.part),
    )
    entrance = functools.partial(pages.answer, SandboxPages.entrance)
    methods = ["GET", "POST", "DELETE"]  # POST: the form for the token
    others = [Route(path, functools.partial(pages.answer, page), methods=["GET"]) for path, page in table]
    return [Route("/sandbox", entrance, methods=methods), *others]


@dataclass(frozen=True)
class SandboxPages:
    caught: Sandbox
    access: OperatorAccess
    zone: timezone
    templates: jinja2.Environment

    async def answer(self, page: Page, request: Request) -> Response:
        """Any of the pages, if the caller may see it."""
        response = await self._answer(page, request)
        for name, value in PRIVATE.items():
            response.headers.setdefault(name, value)
        return response

    async def _answer(self, page: Page, request: Request) -> Response:
        if (request.method == "POST" or "token" in request.query_params) and (exchanged := await self.access.exchange(request)):
            return exchanged
        if request.method == "POST" or not self.access.allows(request):
            return self._trouble(request, 401, "Only people at this machine may look here without the operator's token.")
        try:
            return await page(self, request)
        except BadQuery as trouble:
            return self._trouble(request, 400, str(trouble))

    async def entrance(self, request: Request) -> Response:
        if request.method == "DELETE":  # never sent across sites unasked, so that no page can do it behind a person's back
            return JSONResponse({"removed": await self.caught.clear()})
        return await self.listed(request)

    async def listed(self, request: Request) -> Response:
        start, to = _number(request, "start", 0, 10**9), _recipient(request)
        rows, total = await self.caught.list(start, PAGE, to)
        older = _link(start + PAGE, to) if start + len(rows) < total else ""
        newer = _link(max(0, start - PAGE), to) if start else ""
        times = {row.id: wall(row.at_us, self.zone) for row in rows}
        return self._page("list.html", rows=rows, total=total, to=to, start=start, older=older, newer=newer, times=times)

    async def listed_json(self, request: Request) -> Response:
        start, limit = _number(request, "start", 0, 10**9), _number(request, "limit", 100, MOST)
        rows, total = await self.caught.list(start, limit, _recipient(request))
        return JSONResponse({"total": total, "messages": [_summary(row) for row in rows]})

    async def message(self, request: Request) -> Response:
        found = await self._get(request)
        if found is None:
            return self._missing(request)
        row, raw = found
        view = await _view(row, raw)
        return self._page("message.html", row=row, view=view, time=wall(row.at_us, self.zone))

    async def message_json(self, request: Request) -> Response:
        found = await self._get(request)
        if found is None:
            return self._missing(request)
        row, raw = found
        view = await _view(row, raw)
        return JSONResponse(_summary(row) | _details(row, view))

    async def html(self, request: Request) -> Response:
        """The html alone, for the frame; safe when it is opened by itself too."""
        found = await self._get(request)
        view = await _view(*found) if found else None
        if view is None or view.html is None:
            return self._missing(request)
        content = await asyncio.to_thread(with_images, view)
        return HTMLResponse(content.encode("utf-8", "replace"), headers={"Content-Security-Policy": MAIL_POLICY})

    async def source(self, request: Request) -> Response:
        """The very bytes that would have been sent."""
        found = await self._get(request)
        if found is None:
            return self._missing(request)
        return Response(found[1], media_type="text/plain; charset=utf-8", headers={"Content-Security-Policy": FILE_POLICY})

    async def part(self, request: Request) -> Response:
        """A file of the mail, never shown by the browser: it would be ours by origin."""
        found = await self._get(request)
        view = await _view(*found) if found else None
        number = request.path_params["number"]
        part = next((part for part in view.attachments if str(part.number) == number), None) if view else None
        if part is None:
            return self._missing(request)
        disposition = f"attachment; filename*=UTF-8''{quote(part.name or f'part-{part.number}', safe='')}"
        headers = {"Content-Disposition": disposition, "Content-Security-Policy": FILE_POLICY}
        return Response(part.content, media_type=part.type, headers=headers)

    async def _get(self, request: Request) -> tuple[Caught, bytes] | None:
        given = request.path_params["id"]
        return await self.caught.get(int(given)) if re.fullmatch(r"[0-9]{1,19}", given) and int(given) < 1 << 63 else None

    def _missing(self, request: Request) -> Response:
        return self._trouble(request, 404, "There is no such message; the oldest ones go when the sandbox is full.")

    def _trouble(self, request: Request, status: int, sentence: str) -> Response:
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        if request.url.path.endswith(".json"):
            return JSONResponse({"error": sentence}, status, headers)
        return self._page("trouble.html", status, headers, sentence=sentence, ask=status == 401)

    def _page(self, name: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: object) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = f"{PAGE_POLICY}; style-src 'nonce-{nonce}'"
        text = self.templates.get_template(name).render(nonce=nonce, **values)
        return HTMLResponse(text.encode("utf-8", "replace"), status, {"Content-Security-Policy": policy, **(headers or {})})


async def _view(row: Caught, raw: bytes) -> MailView:
    if row.kind == "sms":
        return MailView((("From", row.mail_from), ("To", row.recipient)), None, raw.decode("utf-8", "replace"), ())
    return await asyncio.to_thread(view_mail, raw)


def _summary(row: Caught) -> dict[str, object]:
    return {
        "id": row.id,
        "kind": row.kind,
        "at": utc(row.at_us).isoformat(),
        "account": row.account_id,
        "from": row.mail_from,
        "to": row.recipient,
        "subject": row.subject,
        "size": row.size,
    }


def _details(row: Caught, view: MailView) -> dict[str, object]:
    files = [
        {
            "name": part.name,
            "type": part.type,
            "size": part.size,
            "cid": part.cid,
            "path": f"/sandbox/{row.id}/part/{part.number}",
        }
        for part in view.attachments
    ]
    return {
        "headers": view.headers,
        "html": view.html,
        "text": view.text,
        "attachments": files,
        "source": f"/sandbox/{row.id}/source",
    }


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > most:
        raise BadQuery(f"{name} is a whole number from 0 to {most}.")
    return int(text)


def _recipient(request: Request) -> str:
    text = request.query_params.get("to", "").strip()
    if "\0" in text or len(text) > MAX_ADDRESS:
        raise BadQuery("to is a part of a recipient's address.")
    return text


def _link(start: int, to: str) -> str:
    return "/sandbox?" + urlencode({"start": start, "to": to} if to else {"start": start})
