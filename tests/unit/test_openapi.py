"""What is generated from the declarations: the OpenAPI document and the reference page."""

import ast
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from selectolax.lexbor import LexborHTMLParser
from starlette.routing import Router

from aurorasend.api import ENDPOINTS, label, sms
from aurorasend.codes import Code
from aurorasend.endpoint import Catalogue, Endpoint
from aurorasend.portal.openapi import CREDENTIALS, codes, document
from aurorasend.portal.pages import routes
from aurorasend.portal.samples import javascript, of, python

CATALOGUE = Catalogue(ENDPOINTS)
KEYS = {"apiUser", "apiKey", "smsUser", "smsKey"}


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(document(CATALOGUE, "https://api.example.com")))
    return made


def test_the_document_is_valid(shown: dict[str, Any]) -> None:
    validate(shown)


def test_every_endpoint_is_in_it_with_its_parameters_and_codes(shown: dict[str, Any]) -> None:
    assert set(shown["paths"]) == {each.paths[0] for each in CATALOGUE.endpoints}
    add = shown["paths"]["/label/add"]["post"]
    schema = body_of(shown, add, "application/json")
    assert schema["required"] == ["apiUser", "apiKey", "labelName"]
    assert schema["properties"]["labelName"]["maxLength"] == 255
    assert [code["code"] for code in add["x-status-codes"]] == [200, 501, 6001, 40005, 40101, 40104, 40105, 40113, 40902, 50000]
    listed = shown["paths"]["/label/list"]["get"]["parameters"]
    assert [(each["name"], each["required"]) for each in listed][2:] == [("query", False), ("start", False), ("limit", False)]


def test_version_1_is_told_with_its_own_names(shown: dict[str, Any]) -> None:
    stats = shown["paths"]["/webapi/stats.get.json"]["get"]
    names = ["days", "start_date", "end_date", "api_user_list", "label_id_list", "label_name_list", "domain_list", "aggregate"]
    assert [each["name"] for each in stats["parameters"]][2:] == names
    assert stats["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/EnvelopeV1")
    today = shown["paths"]["/statday/list"]["get"]
    assert stats["x-status-codes"] == today["x-status-codes"]


def body_of(shown: dict[str, Any], operation: dict[str, Any], media: str) -> dict[str, Any]:
    name = operation["requestBody"]["content"][media]["schema"]["$ref"].rpartition("/")[2]
    found: dict[str, Any] = shown["components"]["schemas"][name]
    return found


def test_every_parameter_has_words_and_an_example_that_fits_its_schema(shown: dict[str, Any]) -> None:
    bodies = [schema["properties"] for name, schema in shown["components"]["schemas"].items() if not name.startswith("Envelope")]
    queries = [
        {each["name"]: {**each["schema"], "description": each["description"]} for each in path["get"].get("parameters", ())}
        for path in shown["paths"].values()
        if "get" in path
    ]
    for parameters in (*bodies, *queries):
        for name, schema in parameters.items():
            assert schema["description"], name
            if name in KEYS or schema["type"] == "array":  # credentials and files
                continue
            (example,) = schema["examples"]
            Draft202012Validator(schema).validate(example)


def test_objects_are_text_where_only_text_can_be(shown: dict[str, Any]) -> None:
    post = shown["paths"]["/mail/send"]["post"]
    headers = {media: body_of(shown, post, media)["properties"]["headers"] for media in post["requestBody"]["content"]}
    assert headers["application/json"]["type"] == "object"
    assert headers["application/json"]["examples"] == [{"X-Order": "42"}]
    for media in ("multipart/form-data", "application/x-www-form-urlencoded"):
        assert headers[media]["type"] == "string"
        assert headers[media]["contentMediaType"] == "application/json"
        assert headers[media]["examples"] == ['{"X-Order": "42"}']


def test_files_are_in_multipart_bodies_only(shown: dict[str, Any]) -> None:
    post = shown["paths"]["/mail/send"]["post"]
    with_files = {media for media in post["requestBody"]["content"] if "attachments" in body_of(shown, post, media)["properties"]}
    assert with_files == {"multipart/form-data"}


def test_operations_have_names_of_their_own(shown: dict[str, Any]) -> None:
    names = [operation["operationId"] for path in shown["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))


def test_every_endpoint_and_field_says_what_it_is_for() -> None:
    for each in CATALOGUE.endpoints:
        assert each.summary, each.path
        for slot in each.form.slots.values():
            assert slot.field.doc, f"{each.path} {slot.field.wire}"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=Router(routes=list(routes(CATALOGUE))))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as made:
        yield made


async def test_the_index_has_every_endpoint_and_every_code(client: httpx.AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "http://127.0.0.1:1"}]
    text = (await client.get("/reference")).text
    for each in CATALOGUE.endpoints:
        assert f'href="/reference{each.paths[0]}"' in text
    for code in Code:
        assert code.internal or f"<td>{code.number}</td>" in text


async def test_the_page_of_an_endpoint_has_its_parameters_and_codes_with_their_meanings(client: httpx.AsyncClient) -> None:
    for each in CATALOGUE.endpoints:
        page = LexborHTMLParser((await client.get(f"/reference{each.paths[0]}")).text)
        parameters, told = page.css("table")
        names = [row.css_first("code").text() for row in parameters.css("tr")[1:]]
        assert names == [*CREDENTIALS[each.auth], *(slot.field.wire for slot in each.form.shown)]
        rows = [[cell.text() for cell in row.css("td")] for row in told.css("tr")[1:]]
        assert rows == [[str(code.number), code.meaning, str(code.ok).lower()] for code in codes(each)]


def test_curl_quotes_for_the_shell() -> None:
    assert sample(label.add_label, "bash") == (
        "curl -X POST http://h/label/add \\\n"
        "  --data-urlencode apiUser=YOUR_API_USER \\\n"
        "  --data-urlencode apiKey=YOUR_API_KEY \\\n"
        "  --data-urlencode labelName=spring"
    )


def test_texts_are_literals_of_python_and_javascript() -> None:
    expected = """'{"code":"123456"}',"""
    assert f'    "vars": {expected}\n' in python("http://h", {"vars": '{"code":"123456"}'})
    assert f"  vars: {expected}\n" in javascript("http://h", {"vars": '{"code":"123456"}'})
    for text in ("it's", "both ' and \"", "a\\b", '"a\\nb"', "\n", "é\u2028"):
        line = python("http://h", {"x": text}).split("\n")[4]
        assert ast.literal_eval(f"{{{line}}}") == {"x": text}


def test_an_endpoint_without_parameters_has_samples_too() -> None:
    assert "data = {}\n" in sample(sms.timestamp, "python")


def sample(each: Endpoint, language: str) -> str:
    return next(found.text for found in of(each, "http://h") if found.language == language)
