"""The OpenAPI 3.1 document, made from the catalogue. Called by portal.pages."""

import json
import re
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
CREDENTIAL_MEANING = {
    "apiUser": "API_USER of the account; `api_user` is taken too.",
    "apiKey": "Its key; `api_key` is taken too.",
    "smsUser": "SMS_USER of the account.",
    "smsKey": "Its key. A `signature` made with it is taken instead.",
}
BODIES = {"application/x-www-form-urlencoded": "Form", "multipart/form-data": "Multipart", "application/json": "Json"}

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
        "message": {"type": "string", "enum": ["success", "error"]},
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
        "tags": [{"name": module} for module in modules(catalogue)],
        "paths": {each.paths[0]: _operations(each) for each in catalogue.endpoints},
        "components": {"schemas": {"Envelope": _STANDARD, "EnvelopeV1": _V1, **_bodies(catalogue)}},
    }


def modules(catalogue: Catalogue) -> dict[str, list[Endpoint]]:
    """The endpoints by the first part of their path, in the order of the catalogue."""
    found: dict[str, list[Endpoint]] = {}
    for each in catalogue.endpoints:
        found.setdefault(_module(each), []).append(each)
    return found


def codes(each: Endpoint) -> list[Code]:
    """The codes that it may answer, in their order."""
    return sorted(each.codes, key=lambda code: code.number)


def _module(each: Endpoint) -> str:
    return each.path.partition("/")[0]


def _operations(each: Endpoint) -> Json:
    return {method.lower(): _operation(each, method) for method in each.methods}


def _operation(each: Endpoint, method: str) -> Json:
    """Generated clients call a method by its id: `label_add`, and `label_add_by_get` for who must use GET."""
    name = "_".join(_words(each))
    operation: Json = {
        "operationId": name if method == "POST" else f"{name}_by_{method.lower()}",
        "tags": [_module(each)],
        "summary": each.summary,
        "description": each.description,
        "responses": {"200": _answer(each)},
        "x-status-codes": [{"code": code.number, "meaning": code.meaning, "ok": code.ok} for code in codes(each)],
        "x-aliases": list(each.paths[1:]),
    }
    if method == "GET":
        operation["parameters"] = [*map(_credential, CREDENTIALS[each.auth]), *map(_parameter, _texts(each))]
    elif _has_body(each):
        content = {
            media: {"schema": {"$ref": f"#/components/schemas/{_body_name(each, kind)}"}} for media, kind in BODIES.items()
        }
        # Not required, since all of it may be in the query instead; of a required body in several types openapi-python-client
        # 0.29 makes code that does not run (its issue 1451).
        operation["requestBody"] = {"required": False, "content": content}
    return operation


def _words(each: Endpoint) -> list[str]:
    return re.findall("[A-Za-z0-9]+", each.path)


def _texts(each: Endpoint) -> list[Slot]:
    return [slot for slot in each.form.shown if not isinstance(slot.field, FileField)]


def _answer(each: Endpoint) -> Json:
    schema = "EnvelopeV1" if each.envelope is Envelope.V1 else "Envelope"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": "The envelope, whatever happened.", "content": content}


def _credential(name: str) -> Json:
    return {"name": name, "in": "query", "required": True, "description": CREDENTIAL_MEANING[name], "schema": {"type": "string"}}


def _parameter(slot: Slot) -> Json:
    return {
        "name": slot.field.wire,
        "in": "query",
        "required": slot.required,
        "description": slot.field.doc,
        "schema": _schema(slot, "Form"),
    }


def _schema(slot: Slot, kind: str) -> Json:
    """Of a value in a body of that kind. Objects are themselves in JSON, and their JSON as text elsewhere."""
    field = slot.field
    if isinstance(field, FileField):
        return {"type": "array", "items": {"type": "string", "format": "binary"}}  # as most generators know files
    schema = dict(field.parser.schema)
    is_text = schema.get("type") == "object" and kind != "Json"
    if is_text:
        schema = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    if field.example:
        schema["examples"] = [_example(str(schema["type"]), field.example)]
    return schema


def _example(kind: str, text: str) -> object:
    """The example in the type that its schema has."""
    if kind == "boolean":
        return text in ("1", "true")
    return json.loads(text) if kind in ("integer", "object") else text


# -- bodies: the same parameters in each of the types that a body may have; files in one of them only


def _bodies(catalogue: Catalogue) -> Json:
    return {
        _body_name(each, kind): _body(each, kind) for each in catalogue.endpoints if _has_body(each) for kind in BODIES.values()
    }


def _has_body(each: Endpoint) -> bool:
    return bool(CREDENTIALS[each.auth] or each.form.shown)


def _body_name(each: Endpoint, kind: str) -> str:
    """`LabelAddForm`."""
    return "".join(word[0].upper() + word[1:] for word in _words(each)) + kind


def _body(each: Endpoint, kind: str) -> Json:
    credentials, slots = CREDENTIALS[each.auth], each.form.shown if kind == "Multipart" else _texts(each)
    return {
        "type": "object",
        "required": [*credentials, *(slot.field.wire for slot in slots if slot.required)],
        "properties": {
            **{name: {"type": "string", "description": CREDENTIAL_MEANING[name]} for name in credentials},
            **{slot.field.wire: {**_schema(slot, kind), "description": slot.field.doc} for slot in slots},
        },
    }
