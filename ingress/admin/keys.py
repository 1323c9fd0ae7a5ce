"""`/api/v1/admin/apps/{app}/keys`: list, create, rotate and revoke the keys of an app of the project."""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from domain.flows.list_keys import KeyPage, ListedKey, list_keys
from domain.flows.manage_keys import CreatedKey, Scope, create_key, revoke_key
from domain.flows.rotate_key import LONGEST_OVERLAP, OVERLAP, Rotated, rotate_key
from ingress.operation import Call, Example, operation
from ingress.wire import NoQuery, PageQuery, WireStruct

PATH = "/api/v1/admin/apps/{app}/keys"
NAMES = {
    "app": "Key of the app in the catalog.",
    "key_id": "The public part of the key: `th_test_<key id>_…`.",
}
SHOWN_ONCE = (
    "The key stands in this answer and nowhere else, so no `Idempotency-Key` can repeat the answer: where it "
    "was lost, list the keys and revoke the one that nobody has."
)

Reason = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]*\Z")]


class KeysQuery(PageQuery, frozen=True):
    #: Revoked and expired ones too.
    ended: bool = False


class CreateKeyBody(WireStruct, frozen=True):
    #: Shown as the actor of changes.
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    #: Left out: what an app needs for its own users. The key that asks must have all of them itself.
    scopes: Annotated[list[Scope], Meta(min_length=1)] | None = None
    #: Left out: never.
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class RotateKeyBody(WireStruct, frozen=True):
    #: Seconds for which the old key is let in too; left out: a day.
    overlap_s: Annotated[int, Meta(ge=0, le=int(LONGEST_OVERLAP.total_seconds()))] = int(
        OVERLAP.total_seconds()
    )
    #: For the audit log.
    reason: Reason | None = None


class RevokeKeyBody(WireStruct, frozen=True):
    #: For the audit log.
    reason: Reason | None = None


@operation(
    "GET",
    PATH,
    summary="Keys of an app, newest first; never a secret",
    scope="keys:write",
    of="project",
    answers={200: KeyPage},
    refuses=("unknown_app",),
    names=NAMES,
    example=Example(path={"app": "viewer"}, keeps={"first_key_id": "data.0.key_id"}),
)
async def list_app_keys(call: Call[KeysQuery, None]) -> Response:
    """200 with a page."""
    page = await list_keys(
        call.context,
        project=call.project,
        app=call.path["app"],
        with_ended=call.query.ended,
        cursor=call.query.cursor,
        limit=call.query.limit,
    )
    return call.answer(page)


@operation(
    "POST",
    PATH,
    summary="Make a key for an app",
    says=SHOWN_ONCE,
    scope="keys:write",
    of="project",
    answers={201: CreatedKey},
    refuses=("unknown_project", "unknown_app", "key_invalid", "too_many_keys", "scope_not_yours"),
    names=NAMES,
    is_acting=True,
    example=Example(path={"app": "viewer"}, body={"name": "viewer backend"}, keeps={"key_id": "key_id"}),
)
async def create_app_key(call: Call[NoQuery, CreateKeyBody]) -> Response:
    """201 with the key, this once."""
    created = await create_key(
        call.context,
        kind="app",
        project=call.project,
        app=call.path["app"],
        name=call.body.name,
        scopes=call.body.scopes or (),
        expires_at=call.body.expires_at,
        operator=call.operator,
        may_give=call.principal.scopes,
    )
    return call.answer(created)


@operation(
    "POST",
    f"{PATH}/{{key_id}}/rotate",
    summary="Make a key like this one, and end this one a while later",
    says=SHOWN_ONCE,
    scope="keys:write",
    of="project",
    answers={201: Rotated},
    refuses=("unknown_key", "key_ended", "too_many_keys", "scope_not_yours"),
    names=NAMES,
    is_acting=True,
    example=Example(path={"app": "viewer", "key_id": "{first_key_id}"}, body={"overlap_s": 3600}),
)
async def rotate_app_key(call: Call[NoQuery, RotateKeyBody]) -> Response:
    """201 with the new key, this once, and the end of the old one."""
    rotated = await rotate_key(
        call.context,
        call.path["key_id"],
        overlap=timedelta(seconds=call.body.overlap_s),
        operator=call.operator,
        reason=call.body.reason,
        within=(call.project, call.path["app"]),
        may_give=call.principal.scopes,
    )
    return call.answer(rotated)


@operation(
    "POST",
    f"{PATH}/{{key_id}}/revoke",
    summary="End a key now, in every process",
    scope="keys:write",
    of="project",
    answers={200: ListedKey},
    refuses=("unknown_key",),
    names=NAMES,
    is_acting=True,
    example=Example(path={"app": "viewer", "key_id": "{key_id}"}, body={"reason": "it was replaced"}),
)
async def revoke_app_key(call: Call[NoQuery, RevokeKeyBody]) -> Response:
    """200 with the key as it is listed from now on; revoked before: the same."""
    revoked = await revoke_key(
        call.context,
        call.path["key_id"],
        operator=call.operator,
        reason=call.body.reason,
        within=(call.project, call.path["app"]),
    )
    return call.answer(revoked)


#: In the order in which their examples can be sent: an app has two live keys at most.
ROUTES = [list_app_keys, create_app_key, revoke_app_key, rotate_app_key]
