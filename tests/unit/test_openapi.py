"""The API's document is valid, current, and says of every door what it takes and answers."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from ingress import api, read, webhook
from ingress.openapi import codes_of, describe_api, encode_document, path_of
from ingress.operation import Door, Operation
from ingress.problem_codes import CODES
from ingress.wire import parse_query_struct
from ingress.write_documents import COMMAND, DOCUMENT, GUIDE

OPERATIONS = api.OPERATIONS


@pytest.fixture(scope="module")
def document() -> Any:
    return msgspec.json.decode(msgspec.json.encode(describe_api(OPERATIONS)))


def test_the_kept_document_is_what_the_source_says() -> None:
    assert DOCUMENT.read_bytes() == encode_document(OPERATIONS), f"{DOCUMENT.name} is behind: run {COMMAND}"


def test_the_document_is_openapi_3_1(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.parametrize("door", [api, read, webhook])
def test_every_route_is_declared(door: Any) -> None:
    assert door.ROUTES
    assert [route for route in door.ROUTES if not isinstance(route, Door)] == []


def test_every_operation_is_named_once_and_says_its_parts() -> None:
    assert len({said.name for said in OPERATIONS}) == len(OPERATIONS)
    for said in OPERATIONS:
        named = set(re.findall(r"\{(\w+)\}", path_of(said)))
        assert said.names.keys() >= named, f"{said.name}: say what each of {named} names"
        assert said.summary
        assert not said.summary.endswith(".")
        assert said.answers


def test_every_code_an_operation_refuses_with_is_explained() -> None:
    for said in OPERATIONS:
        assert [code for code in codes_of(said) if code not in CODES] == [], said.name
        assert [code for code in said.refuses if CODES[code].status is None] == [], said.name


def test_an_operation_that_changes_something_is_a_post_under_a_writing_scope() -> None:
    reading = {said.scope for said in OPERATIONS if said.method == "GET" and said.scope is not None}
    assert {scope for scope in reading if scope.endswith(":read")}
    for said in OPERATIONS:
        if said.is_acting or said.is_repeatable:
            assert said.method == "POST", said.name


def test_every_example_is_a_request_its_door_takes() -> None:
    for said in OPERATIONS:
        parse_query_struct(dict(said.example.query), said.query)
        if said.body is not None:
            assert said.example.body is not None, f"{said.name} has a body: give an example of it"
            msgspec.convert(said.example.body, said.body)


def test_the_guide_leads_to_every_operation() -> None:
    guide = GUIDE.read_text()
    missing = [said.name for said in OPERATIONS if _short(said) not in guide]
    assert missing == []


def test_a_shape_has_a_name_of_its_own_and_an_instant_says_that_it_is_one(document: Any) -> None:
    schemas = document["components"]["schemas"]
    assert [name for name in schemas if not name.isidentifier()] == [], "two structs of one name: rename one"
    assert schemas["EntitlementsAnswer"]["properties"]["as_of"]["format"] == "date-time"
    assert schemas["Entitlement"]["properties"]["ends_at"]["anyOf"][0]["format"] == "date-time"


def test_no_null_and_no_word_of_python_stands_in_a_parameter_or_pattern(document: Any) -> None:
    for operation in _operations(document):
        for parameter in operation["parameters"]:
            assert {"type": "null"} not in parameter["schema"].get("anyOf", ())
    text = msgspec.json.encode(document).decode()
    assert "\\\\Z" not in text
    assert "\\\\x00" not in text


def _operations(document: Any) -> Iterator[Any]:
    for path in document["paths"].values():
        yield from path.values()


def _short(said: Operation) -> str:
    """How the guide names a path: whole, or what comes after the noun's path (`…/{id}/retry`)."""
    return path_of(said) if "/admin/" not in said.path else path_of(said).rpartition("/")[2]
