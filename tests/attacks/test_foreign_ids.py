"""A-11 and A-18: nobody reads, spends or breaks what is not its own.

The requests are made from the API's document, so that a new route cannot escape: every operation, with every
kind of key, without its scope, and with every id of another project wherever it takes a text.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest

from domain.flows.manage_keys import SCOPES
from domain.settings import Settings
from ingress.api import OPERATIONS
from ingress.openapi import describe_api
from tests.attacks.tenants import (
    CANARY,
    OWNERS,
    STRANGERS,
    Request,
    Role,
    World,
    everything_of_acme,
    plant_key,
    two_tenants,
)

#: What a request of a stranger may be answered: refused, or as if what it names did not exist.
REFUSED = frozenset({401, 403, 404})
#: Path parameters that name something of everybody's; or of each project's own, as a user's id: a grant makes
#: a user of any name, so a stranger finds its own. Not a byte of acme's may be in it.
SHARED_NAMES = frozenset({"feature", "user"})


class Op(msgspec.Struct, frozen=True):
    """An operation of the document."""

    name: str
    method: str
    path: str
    said: dict[str, Any]

    @property
    def scope(self) -> str | None:
        return self.said["security"][0]["key"][0] if "security" in self.said else None

    def parameters(self, where: str) -> dict[str, Any]:
        return {one["name"]: one for one in self.said["parameters"] if one["in"] == where}

    def example(self) -> Request:
        """The request that the document shows; a placeholder where it shows none."""
        path = self.path
        for name, said in self.parameters("path").items():
            path = path.replace(f"{{{name}}}", str(said.get("example", "none")))
        shown = {
            name: said["example"] for name, said in self.parameters("query").items() if "example" in said
        }
        content = self.said.get("requestBody", {}).get("content", {})
        return Request(
            method=self.method,
            path=path,
            query=shown,
            body=content.get("application/json", {}).get("example"),
        )


def operations() -> list[Op]:
    document = msgspec.json.decode(msgspec.json.encode(describe_api(OPERATIONS)))
    return [
        Op(said["operationId"], method.upper(), path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    ]


GUARDED = [op for op in operations() if op.scope is not None]


async def test_nobody_gets_past_a_door_or_sees_a_byte_of_another_project(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(GUARDED) >= 20
    async with two_tenants(settings) as world:
        await assert_owners_see_canaries(world)
        before = await everything_of_acme(world.running)
        assert len(before) > 10
        refused: Counter[str] = Counter()
        refused["without a valid key"] = await refuse_without_key(world)
        refused["without the scope"] = await refuse_without_scope(world)
        refused["naming another project or app"] = await refuse_other_tenant(world)
        refused["with another project's ids"] = await refuse_foreign_ids(world)
        assert await everything_of_acme(world.running) == before
    with capsys.disabled():
        print(f"\nA-11/18: {len(GUARDED)} operations, refused: {dict(refused)}, together {refused.total()}")  # noqa: T201 - how many is what A-11 shows


def test_only_probes_ask_for_no_key() -> None:
    assert {op.path for op in operations() if op.scope is None} == {
        "/health", "/live", "/livez", "/ready", "/readyz",
    }  # fmt: skip


async def refuse_without_key(world: World) -> int:
    """None, no key at all, one of nobody's, one that is over, and one that was ended."""
    owner = OWNERS[-1]
    keys = [
        None,
        "",
        "sk_test_1",
        await plant_key(world.running, owner, state="expired"),
        await plant_key(world.running, owner, state="revoked"),
        await plant_key(world.running, owner) + "x",
    ]
    for op in GUARDED:
        for key in keys:
            answer = await world.send(key, op.example())
            assert answer.status_code == 401, (op.name, key, answer.text)
            assert_silent(world, op.example(), answer)
    return len(GUARDED) * len(keys)


async def refuse_without_scope(world: World) -> int:
    """Every kind of key, with all scopes but the one that is needed."""
    roles = (*OWNERS, *STRANGERS)
    for role in roles:
        keys = {
            scope: await plant_key(world.running, role, [other for other in SCOPES if other != scope])
            for scope in {op.scope for op in GUARDED if op.scope is not None}
        }
        for op in GUARDED:
            answer = await world.send(keys[op.scope or ""], op.example())
            assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), (op.name, role)
            assert_silent(world, op.example(), answer)
    return len(GUARDED) * len(roles)


async def refuse_other_tenant(world: World) -> int:
    """A key names a project or an app that is not its own: globex's acme, an app its neighbour."""
    refused = 0
    pairs = [(role, {"project": "acme", "app": "editor"}) for role in STRANGERS]
    pairs += [(OWNERS[1], {"app": "editor"})]
    for role, wanted in pairs:
        key = await plant_key(world.running, role)
        for op in GUARDED:
            named = {name: value for name, value in wanted.items() if name in op.parameters("query")}
            if not named:
                continue
            request = msgspec.structs.replace(op.example(), query={**op.example().query, **named})
            answer = await world.send(key, request)
            assert answer.status_code == 403, (op.name, role.name, answer.text)
            assert_silent(world, request, answer)
            refused += 1
    return refused


async def refuse_foreign_ids(world: World) -> int:
    """Every text of a request is once an id of acme's; asked by keys that may do everything in globex."""
    refused = 0
    for role in STRANGERS:
        key = await plant_key(world.running, role)
        for op in GUARDED:
            for request, is_named in _with_ids(op, world.ids, role):
                answer = await world.send(key, request)
                assert answer.status_code < 500, (op.name, role.name, request, answer.text)
                if is_named:
                    assert answer.status_code in REFUSED, (op.name, role.name, request, answer.text)
                assert_silent(world, request, answer)
                refused += 1
    return refused


def _with_ids(op: Op, ids: tuple[str, ...], role: Role) -> Iterator[tuple[Request, bool]]:
    """The example with one text replaced; True: in the path, so that it names what must not be found."""
    example = op.example()
    app = {"app": "board"} if role.app is None and "app" in op.parameters("query") else {}
    example = msgspec.structs.replace(example, query={**example.query, **app})
    for id_ in ids:
        for name in op.parameters("path"):
            yield _with_path(op, example, name, id_), name not in SHARED_NAMES
    # An operator's key differs from its project's in whom it may name, not in what it finds.
    for id_ in _one_of_each_kind(ids) if role.kind != "operator" else ():
        for name in op.parameters("query").keys() - {"app", "project"}:
            yield msgspec.structs.replace(example, query={**example.query, name: id_}), False
        for body in _with_leaf(example.body, id_):
            yield msgspec.structs.replace(example, body=body), False


def _one_of_each_kind(ids: tuple[str, ...]) -> list[str]:
    return [id_ for id_ in ids if id_.startswith(("gr_", "cs_", "sub_", "u_rich"))]


def _with_path(op: Op, example: Request, name: str, id_: str) -> Request:
    path = op.path.replace(f"{{{name}}}", id_)
    for other, said in op.parameters("path").items():
        # `board` is globex's own app: only one name is strange at a time.
        own = "board" if other == "app" else str(said.get("example", "none"))
        path = path.replace(f"{{{other}}}", own)
    return msgspec.structs.replace(example, path=path)


#: Reasons, and the names that a caller gives to users of its own: later answers say them again.
OWN_WORDS = {"reason", "new_user_id", "into_user_id"}


def _with_leaf(body: Any, text: str) -> Iterator[Any]:
    """The body with each of its texts replaced once; what the caller itself wrote is shown to it again."""
    match body:
        case str():
            yield text
        case dict():
            for name, value in body.items():
                if name in OWN_WORDS:
                    continue
                yield from ({**body, name: other} for other in _with_leaf(value, text))
        case list():
            for index, value in enumerate(body):
                yield from ([*body[:index], other, *body[index + 1 :]] for other in _with_leaf(value, text))


async def assert_owners_see_canaries(world: World) -> None:
    """Without this the rest would prove nothing: what must not be seen is there to be seen."""
    owner = await plant_key(world.running, OWNERS[-1])
    named = {"project": "acme", "app": "editor", "user_id": "u_rich"}
    seen = set()
    for op in (op for op in GUARDED if op.method == "GET"):
        query = {name: value for name, value in named.items() if name in op.parameters("query")}
        request = msgspec.structs.replace(op.example(), query={**op.example().query, **query})
        if leaks(world, request, await world.send(owner, request)):
            seen.add(op.name)
    assert seen >= {
        "get_grants",
        "list_app_keys",
        "get_dead",
        "get_billing",
        "get_catalog",
        "get_entitlements",
    }


def assert_silent(world: World, request: Request, answer: httpx2.Response) -> None:
    assert leaks(world, request, answer) == [], (request, answer.text)


def leaks(world: World, request: Request, answer: httpx2.Response) -> list[str]:
    """What of acme's is in the answer, but what the request said itself."""
    asked = msgspec.json.encode(request).decode()
    said = answer.text + str(answer.headers)
    words = [
        CANARY,
        '"value":82',
        *(id_ for id_ in world.ids if not re.fullmatch(r"\w{1,7}", id_)),
        "u_rich",
    ]
    # As a whole word: the simulator's ids are random, and one in sixteen begins like it.
    if re.search(r"\bcus_1\b", said):
        words.append("cus_1")
    return [word for word in words if word in said and word not in asked]
