"""The API's document: OpenAPI 3.1, written from what the doors declare and from the structs they use.

`/openapi.json` serves it (`ingress/pages.py`), docs/openapi.json keeps it (`ingress/write_documents.py`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from domain.flows.idempotency import KEY_LENGTH
from domain.flows.manage_keys import SCOPES
from ingress.acting import ACTOR_LENGTH
from ingress.operation import TENANT_PARAMETERS, Example, Operation
from ingress.problem_codes import CODES
from ingress.schemas import describe_types, portable

VERSION = "1"
JSON, PROBLEM, CSV = "application/json", "application/problem+json", "text/csv"

#: By the first words of a path, so that a new door needs no tag of its own.
TAGS = (
    ("/api/v1/entitlements", "Entitlements"),
    ("/api/v1/catalog", "Catalog"),
    ("/api/v1/checkout", "Checkout"),
    ("/api/v1/subscription", "Subscriptions"),
    ("/api/v1/portal", "Portal"),
    ("/api/v1/billing", "Billing"),
    ("/api/v1/admin", "Operators"),
    ("/api/v1/metrics", "Metrics"),
    ("/api/v1/webhooks", "Stripe"),
    ("/", "Health"),
)

#: Codes that follow from what is declared.
_OF_ALL = ("invalid", "internal_error", "unavailable", "database_away", "deadline_exceeded")
_OF_KEY = ("unauthorized", "missing_scope", "rate_limited", "too_many_failed_logins")
_OF_BODY = ("malformed_json", "unsupported_media_type", "body_too_large")
_OF_REPEATS = ("idempotency_key_reused", "idempotency_in_flight")
_OF_TENANT: dict[str, tuple[str, ...]] = {
    "app": ("wrong_project", "wrong_app"),
    "project": ("wrong_project", "wrong_kind"),
    "named": ("wrong_project", "wrong_kind"),
    "all": ("wrong_project", "wrong_kind"),
    "deployment": ("wrong_kind",),
}

_TENANT_SAYS = {
    "app": "Which app: for keys of a project or of an operator; an app's key says it.",
    "project": "Which project: for keys of operators; every other key says it.",
}


def describe_api(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document of these operations; the same for every deployment."""
    schemas, components = describe_types(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _describe_operation(operation, schemas)
        paths.setdefault(path_of(operation), {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tollhouse",
            "version": VERSION,
            "summary": "Billing and entitlements for every app of a company, on top of Stripe.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This deployment"}],
        "tags": [{"name": name} for name in _used_tags(operations)],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": _security()}},
    }


def codes_of(operation: Operation) -> tuple[str, ...]:
    """Every code it can answer, each once."""
    codes = list(operation.refuses)
    if operation.scope is not None and operation.of is not None:
        codes += [*_OF_ALL, *_OF_KEY, *_OF_TENANT[operation.of]]
    else:
        codes += [code for code in _OF_ALL if operation.refuses and code != "invalid"]
    codes += _OF_BODY if operation.body is not None else ()
    codes += _OF_REPEATS if operation.is_repeatable else ()
    return tuple(dict.fromkeys(codes))


def path_of(operation: Operation) -> str:
    """Its path as OpenAPI writes it: `{feature}`."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", operation.path)


def encode_document(operations: Sequence[Operation]) -> bytes:
    """The document as it is served and kept."""
    return msgspec.json.format(msgspec.json.encode(describe_api(operations)), indent=1) + b"\n"


def _describe_operation(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [_tag_of(operation)],
        "parameters": _parameters(operation),
        "responses": {**_answers(operation, schemas), **_problems(operation)},
    }
    if operation.says:
        described["description"] = operation.says
    if operation.scope is not None:
        described["security"] = [{"key": [operation.scope]}]
    if operation.body is not None:
        content = {"schema": schemas[operation.body], **_example_of_body(operation.example)}
        described["requestBody"] = {"required": True, "content": {JSON: content}}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    return [*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)]


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": operation.names.get(name, ""),
            "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"},
            **({"example": operation.example.path[name]} if name in operation.example.path else {}),
        }
        for name in re.findall(r"\{(\w+)\}", path_of(operation))
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    own = [_query_parameter(field, operation.example) for field in msgspec.structs.fields(operation.query)]
    of_tenant = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": _TENANT_SAYS[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in sorted(TENANT_PARAMETERS[operation.of])
    ]
    return own + of_tenant


def _query_parameter(field: msgspec.structs.FieldInfo, example: Example) -> dict[str, Any]:
    # A query has no null: what may be null in the struct may be left out.
    schema = portable(_without_null(msgspec.json.schema(field.type)))
    said = schema.pop("description", "")
    if not field.required and field.default is not None:
        schema["default"] = field.default
    named = field.encode_name
    shown = {"example": example.query[named]} if named in example.query else {}
    return {
        "name": field.encode_name,
        "in": "query",
        "required": field.required,
        "description": said,
        "schema": schema,
        **shown,
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    cases = [case for case in schema.get("anyOf", ()) if case != {"type": "null"}]
    outside = {name: value for name, value in schema.items() if name != "anyOf"}
    if len(cases) == 1:
        return {**outside, **cases[0]}
    return {**outside, "anyOf": cases} if cases else schema


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    said = []
    if operation.is_acting:
        says = "For whom an operator's key acts; goes into the audit log."
        said.append(_header("Tollhouse-Actor", says, ACTOR_LENGTH))
    if operation.is_repeatable:
        says = "Makes it safe to send the call again: the same key gives the same answer."
        said.append(_header("Idempotency-Key", says, KEY_LENGTH))
    return said


def _header(name: str, says: str, length: int) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": length, "pattern": "^[!-~]([ -~]*[!-~])?$"}
    return {"name": name, "in": "header", "required": False, "description": says, "schema": schema}


def _answers(operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for status, type_ in operation.answers.items():
        described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if type_ is not None:
            described["content"] = {JSON: {"schema": schemas[type_]}}
            if operation.is_table:
                described["content"][CSV] = {"schema": {"type": "string"}}
        said[str(status)] = described
    return said


def _problems(operation: Operation) -> dict[str, Any]:
    # A code without an explanation is a test's to refuse, not a reason to have no document.
    by_status: dict[int, list[str]] = {}
    for code in codes_of(operation):
        said = CODES.get(code)
        if said is not None and said.status is not None:
            by_status.setdefault(said.status, []).append(code)
    return {
        str(status): _problem(sorted(codes))
        for status, codes in sorted(by_status.items())
        if status not in operation.answers
    }


def _problem(codes: list[str]) -> dict[str, Any]:
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"code": {"enum": codes}}}]}
    said = "; ".join(f"`{code}`: {CODES[code].meaning}" for code in codes)
    return {"description": said, "content": {PROBLEM: {"schema": schema}}}


def _example_of_body(example: Example) -> dict[str, Any]:
    return {"example": example.body} if example.body is not None else {}


def _security() -> dict[str, Any]:
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "th_<live|test>_<key id>_<secret>_<crc>",
        "description": f"A key made by `tollhouse keys create`. Scopes: {', '.join(SCOPES)}.",
    }


def _tag_of(operation: Operation) -> str:
    return next(name for path, name in TAGS if operation.path.startswith(path))


def _used_tags(operations: Iterable[Operation]) -> list[str]:
    used = {_tag_of(operation) for operation in operations}
    return [name for _, name in TAGS if name in used]
