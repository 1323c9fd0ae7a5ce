"""What callers send becomes something typed, or is refused with what would be right."""

from datetime import datetime
from typing import get_args

import msgspec
import pytest
from msgspec import Struct

from domain.errors import Invalid
from ingress.api import OPERATIONS
from ingress.operation import Operation
from ingress.wire import decode_body, parse_query_struct

#: RFC 3339, and before or after what UTC can write.
NO_INSTANTS = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")


def test_an_instant_that_utc_cannot_write_is_refused_by_every_operation() -> None:
    tried = set()
    for said in OPERATIONS:
        for name in _instants(said.query):
            for text in NO_INSTANTS:
                with pytest.raises(Invalid) as refused:
                    parse_query_struct({**said.example.query, name: text}, said.query)
                assert [one["field"] for one in refused.value.errors] == [name]
            tried.add(said.name)
        for name in _instants(said.body) if said.body is not None else ():
            for text in NO_INSTANTS:
                with pytest.raises(Invalid) as refused:
                    decode_body(msgspec.json.encode(_body_with(said, name, text)), said.body or Struct)
                assert [one["field"] for one in refused.value.errors] == [name]
            tried.add(said.name)
    assert len(tried) > 4, tried


def _instants(type_: type[Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(type_) if _is_instant(field.type)]


def _is_instant(type_: object) -> bool:
    return type_ is datetime or any(_is_instant(part) for part in get_args(type_))


def _body_with(said: Operation, name: str, text: str) -> dict[str, object]:
    example = said.example.body
    assert isinstance(example, dict), said.name
    return {**example, name: text}
