"""What is generated from the declarations: the OpenAPI document and the reference page."""

import html
import json
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from starlette.routing import Router

from aurorasend.api import ENDPOINTS, label
from aurorasend.codes import Code
from aurorasend.endpoint import Catalogue
from aurorasend.portal.openapi import document
from aurorasend.portal.pages import curl, routes

CATALOGUE = Catalogue(ENDPOINTS)


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(document(CATALOGUE, "https://api.example.com")))
    return made


def test_the_document_is_valid(shown: dict[str, Any]) -> None:
    validate(shown)


def test_every_endpoint_is_in_it_with_its_parameters_and_codes(shown: dict[str, Any]) -> None:
    assert set(shown["paths"]) == {each.paths[0] for each in CATALOGUE.endpoints}
    add = shown["paths"]["/label/add"]["post"]
    schema = add["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["apiUser", "apiKey", "labelName"]
    assert schema["properties"]["labelName"]["maxLength"] == 255
    assert [code["code"] for code in add["x-status-codes"]] == [200, 501, 6001, 40005, 40101, 40104, 40105, 40113, 40902, 50000]
    listed = shown["paths"]["/label/list"]["get"]["parameters"]
    assert [(each["name"], each["required"]) for each in listed][2:] == [("query", False), ("start", False), ("limit", False)]


def test_operations_have_names_of_their_own(shown: dict[str, Any]) -> None:
    names = [operation["operationId"] for path in shown["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))


def test_every_endpoint_and_field_says_what_it_is_for() -> None:
    for each in CATALOGUE.endpoints:
        assert each.summary, each.path
        for slot in each.form.slots.values():
            assert slot.field.doc, f"{each.path} {slot.field.wire}"


async def test_pages() -> None:
    transport = httpx.ASGITransport(app=Router(routes=list(routes(CATALOGUE))))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as client:
        assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "http://127.0.0.1:1"}]
        text = (await client.get("/reference")).text
    for each in CATALOGUE.endpoints:
        assert f'id="{each.path}"' in text
        assert (
            html.escape(curl(each, "http://127.0.0.1:1"), quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
            in text
        )
    for code in Code:
        assert code.internal or f"<td>{code.number}</td>" in text


def test_curl_quotes_for_the_shell() -> None:
    assert curl(label.add_label, "http://h") == (
        "curl -X POST http://h/label/add \\\n"
        "  --data-urlencode apiUser=YOUR_APIUSER \\\n"
        "  --data-urlencode apiKey=YOUR_APIKEY \\\n"
        "  --data-urlencode labelName=spring"
    )
