"""The OpenAPI 3.1 document, made from the catalogue. Called by portal.pages."""

from collections.abc import Mapping
from importlib.metadata import version

from aurorasend.codes import Code
from aurorasend.endpoint import Auth, Catalogue, Endpoint, Envelope
from aurorasend.fields import FileField, Slot

Json = dict[str, object]

CREDENTIALS = {
    Auth.API_USER: ("apiUser", "apiKey"),
    Auth.SMS: ("smsUser", "smsKey"),
    Auth.NONE: (),
}

_STANDARD: Json = {
    "type": "object",
    "required": ["result", "statusCode", "message", "info"],
    "properties": {
        "result": {"type": "boolean", "description": "True when the request was performed."},
        "statusCode": {"type": "integer", "description": "Return code."},
        "message": {"type": "string", "description": "Words for the code. Not to be parsed."},
        "info": {"type": "object", "description": "Payload; empty on failure."},
    },
}
_V1: Json = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "message": {"enum": ["success", "error"]},
        "errors": {"type": "array", "items": {"type": "string"}},
    },
}


def document(catalogue: Catalogue, url: str) -> Json:
    """OpenAPI 3.1 of all endpoints under their documented paths, for the server at `url`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AuroraSend API",
            "version": version("aurorasend"),
            "description": "Every call answers HTTP 200 with the envelope; `statusCode` tells what happened.",
        },
        "servers": [{"url": url}],
        "tags": [{"name": module} for module in dict.fromkeys(_module(each) for each in catalogue.endpoints)],
        "paths": {each.paths[0]: _operations(each) for each in catalogue.endpoints},
        "components": {"schemas": {"Envelope": _STANDARD, "EnvelopeV1": _V1}},
    }


def codes(each: Endpoint) -> list[Code]:
    """The codes that it may answer, in their order."""
    return sorted(each.codes, key=lambda code: code.number)


def _module(each: Endpoint) -> str:
    return each.path.partition("/")[0]


def _operations(each: Endpoint) -> Json:
    return {method.lower(): _operation(each, method) for method in each.methods}


def _operation(each: Endpoint, method: str) -> Json:
    slots = each.form.shown
    operation: Json = {
        "operationId": f"{method.lower()}_{each.path.replace('/', '_').replace('.', '_')}",
        "tags": [_module(each)],
        "summary": each.summary,
        "description": each.description,
        "responses": {"200": _answer(each)},
        "x-status-codes": [{"code": code.number, "meaning": code.meaning, "ok": code.ok} for code in codes(each)],
        "x-aliases": list(each.paths[1:]),
    }
    if method == "GET":
        texts = [slot for slot in slots if not isinstance(slot.field, FileField)]
        operation["parameters"] = [*(_credential(name) for name in CREDENTIALS[each.auth]), *(_parameter(slot) for slot in texts)]
    else:
        operation["requestBody"] = {"required": True, "content": _contents(each, slots)}
    return operation


def _answer(each: Endpoint) -> Json:
    schema = "EnvelopeV1" if each.envelope is Envelope.V1 else "Envelope"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": "The envelope, whatever happened.", "content": content}


def _credential(name: str) -> Json:
    return {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}


def _parameter(slot: Slot) -> Json:
    return {
        "name": slot.field.wire,
        "in": "query",
        "required": slot.required,
        "description": slot.field.doc,
        "schema": _schema(slot),
    }


def _schema(slot: Slot) -> Mapping[str, object]:
    if isinstance(slot.field, FileField):
        return {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}}
    return {**slot.field.parser.schema, **({"examples": [slot.field.example]} if slot.field.example else {})}


def _contents(each: Endpoint, slots: list[Slot]) -> Json:
    """The same parameters in each of the types that a body may have; files in one of them only."""
    texts = _body(each, [slot for slot in slots if not isinstance(slot.field, FileField)])
    return {
        "application/x-www-form-urlencoded": {"schema": texts},
        "multipart/form-data": {"schema": _body(each, slots)},
        "application/json": {"schema": texts},
    }


def _body(each: Endpoint, slots: list[Slot]) -> Json:
    credentials = CREDENTIALS[each.auth]
    return {
        "type": "object",
        "required": [*credentials, *(slot.field.wire for slot in slots if slot.required)],
        "properties": {
            **{name: {"type": "string"} for name in credentials},
            **{slot.field.wire: {**_schema(slot), "description": slot.field.doc} for slot in slots},
        },
    }
