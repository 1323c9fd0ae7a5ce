"""`POST /api/v1/admin/users/{user}/rename`, `users/merge`, `users/erase`: whose something is from now on."""

from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from domain.flows.erase_user import ErasedUser, EraseWish, erase_user
from domain.flows.idempotency import Attempt
from domain.flows.merge_users import MergedUsers, MergeWish, merge_users
from domain.flows.rename_user import RenamedUser, RenameWish, rename_user
from ingress.admin.users import NAMES, PATH
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, UserId, WireStruct

Reason = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]*\Z")]

#: Shorter than the deadline of a whole request: the search of deliveries, without what follows it.
SEARCH_WITHIN_S = 5.0


class RenameBody(WireStruct, frozen=True):
    new_user_id: UserId
    reason: Reason
    #: Only say what would be.
    dry_run: bool = False


class MergeBody(WireStruct, frozen=True):
    #: Who has nothing afterwards.
    user_id: UserId
    #: Who has everything afterwards.
    into_user_id: UserId
    reason: Reason
    #: Although one user then has two live subscriptions of a group, which Stripe both bills.
    even_if_doubled: bool = False
    #: Only say what would be.
    dry_run: bool = False


class EraseBody(WireStruct, frozen=True):
    user_id: UserId
    #: It stays in the audit log: it must not name the person.
    reason: Reason
    #: Although Stripe goes on to bill a subscription.
    even_if_subscribed: bool = False
    #: Only say what would be.
    dry_run: bool = False


@operation(
    "POST",
    f"{PATH}/rename",
    summary="Give a user another id",
    says=(
        "Everything of the user is found under the new id. The old one is a user that has nothing; versions "
        "under both go on above all that either was given. With `dry_run` nothing is written."
    ),
    scope="admin:write",
    of="project",
    answers={200: RenamedUser},
    refuses=(
        "unknown_project",
        "unknown_user",
        "user_erased",
        "user_moved",
        "user_exists",
        "change_in_progress",
        "reason_invalid",
    ),
    names=NAMES,
    is_acting=True,
    is_repeatable=True,
    example=Example(
        path={"user": "u_example"},
        body={"new_user_id": "u_example_2", "reason": "signs in with another name"},
    ),
)
async def rename_one_user(call: Call[NoQuery, RenameBody]) -> Response:
    """200 with the versions that readers of both ids get."""
    body = call.body
    wish = RenameWish(
        user_id=call.path["user"], new_user_id=body.new_user_id, reason=body.reason, dry_run=body.dry_run
    )
    return await answer_once(
        call,
        lambda attempt: rename_user(call.context, call.project, wish, call.operator, keep=attempt.keep),
    )


@operation(
    "POST",
    "/api/v1/admin/users/merge",
    summary="Make everything of one user another's",
    says=(
        "Customers, checkouts, subscriptions, purchases, grants and money count for the other from now on, "
        "and later events of the customers too; nothing changes at Stripe. With `dry_run` nothing is "
        "written, and `doubled` says what would be in the way."
    ),
    scope="admin:write",
    of="project",
    answers={200: MergedUsers},
    refuses=(
        "unknown_project",
        "unknown_user",
        "user_erased",
        "user_moved",
        "subscriptions_doubled",
        "change_in_progress",
        "reason_invalid",
    ),
    is_acting=True,
    is_repeatable=True,
    example=Example(
        body={"user_id": "u_example_2", "into_user_id": "u_example", "reason": "one person with two accounts"}
    ),
)
async def merge_two_users(call: Call[NoQuery, MergeBody]) -> Response:
    """200 with what moved, and the versions that readers of both ids get."""
    body = call.body
    wish = MergeWish(
        user_id=body.user_id,
        into_user_id=body.into_user_id,
        reason=body.reason,
        dry_run=body.dry_run,
        even_if_doubled=body.even_if_doubled,
    )

    async def merge(attempt: Attempt) -> MergedUsers:
        merged = await merge_users(call.context, call.project, wish, call.operator, keep=attempt.keep)
        call.running.ring(merged.owed)
        return merged.users

    return await answer_once(call, merge)


@operation(
    "POST",
    "/api/v1/admin/users/erase",
    summary="Delete what is held of a user, for good",
    says=(
        "The answer says what Stripe goes on to hold, and how it is deleted there; it holds nothing of what "
        "was erased. The same user id is refused from then on. Safe to repeat. With `dry_run` nothing is "
        "written."
    ),
    scope="admin:write",
    of="project",
    answers={200: ErasedUser},
    refuses=(
        "unknown_project",
        "unknown_user",
        "user_moved",
        "user_subscribed",
        "change_in_progress",
        "reason_invalid",
    ),
    is_acting=True,
    is_repeatable=True,
    example=Example(body={"user_id": "u_example", "reason": "request 12", "dry_run": True}),
)
async def erase_one_user(call: Call[NoQuery, EraseBody]) -> Response:
    """200 with what went, what stays to be counted, and what is left at Stripe."""
    body = call.body
    wish = EraseWish(reason=body.reason, dry_run=body.dry_run, even_if_subscribed=body.even_if_subscribed)
    return await answer_once(
        call,
        lambda attempt: erase_user(
            call.context,
            call.project,
            body.user_id,
            wish,
            call.operator,
            within_s=SEARCH_WITHIN_S,
            keep=attempt.keep,
        ),
    )


ROUTES = [rename_one_user, merge_two_users, erase_one_user]
