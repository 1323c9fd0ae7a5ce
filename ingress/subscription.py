"""`POST /api/v1/subscription/change`, `/cancel` and `/resume`: what a user pays for, without a checkout."""

from collections.abc import Awaitable
from typing import Annotated, Literal

from msgspec import Meta
from starlette.responses import Response

from domain.flows.change_plan import (
    Asked,
    Changed,
    Concluded,
    Item,
    Preview,
    When,
    cancel_subscription,
    change_subscription,
    resume_subscription,
)
from ingress.checkout import ItemBody
from ingress.lifespan import Running
from ingress.operation import Call, Example, operation
from ingress.repeating import answer_once
from ingress.wire import NoQuery, UserId, WireStruct

#: A key of the catalog. Postgres cannot store NUL.
Key = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00]*\Z")]


class ChangeBody(WireStruct, frozen=True):
    user_id: UserId
    #: Of the catalog: a user has at most one live subscription in it.
    group: Key
    #: The whole that it is to become: plan and add-ons. What is not named goes.
    items: Annotated[list[ItemBody], Meta(min_length=1, max_length=20)]
    #: `now` charges the difference; `period_end` waits for the running period's end.
    when: When = "now"
    #: Say what it would cost and change, and do nothing.
    preview: bool = False


class CancelBody(WireStruct, frozen=True):
    user_id: UserId
    group: Key
    when: When = "period_end"
    preview: bool = False


class ResumeBody(WireStruct, frozen=True):
    user_id: UserId
    group: Key
    when: Literal["now"] = "now"
    preview: bool = False


_COMMON = ("unknown_project", "unknown_app", "no_subscription", "change_in_progress", "schedule_not_ours")
_STRIPES = ("payment_failed", "payment_method_missing", "stripe_refused")


@operation(
    "POST",
    "/api/v1/subscription/change",
    summary="Change the plan, the add-ons or a quantity",
    says="`items` are the whole that the group's subscription is to become. With `preview` nothing is "
    "changed: the answer says what it would cost, by Stripe's own invoice preview, and what the answers of "
    "the app would gain and lose.",
    scope="subscription:write",
    of="app",
    answers={200: Changed | Preview},
    refuses=(
        *_COMMON,
        *_STRIPES,
        "items_invalid",
        "items_unmapped",
        "price_not_in_stripe",
        "subscription_incomplete",
        "subscription_paused",
        "payment_past_due",
        "set_to_cancel",
    ),
    is_repeatable=True,
    example=Example(
        body={
            "user_id": "u_example",
            "group": "main",
            "items": [{"plan": "team", "price": "month", "quantity": 1}],
            "when": "now",
            "preview": True,
        },
    ),
)
async def change_subscription_items(call: Call[NoQuery, ChangeBody]) -> Response:
    body = call.body
    items = [Item(item.plan, item.price, item.quantity) for item in body.items]
    asked = _asked(call, body)
    syncer = call.running.syncer
    return await answer_once(
        call,
        lambda _attempt: _ring(
            call.running, change_subscription(call.context, syncer, asked, items, body.when)
        ),
    )


@operation(
    "POST",
    "/api/v1/subscription/cancel",
    summary="End the subscription of a group",
    says="At the period's end unless `when` is `now`. Nothing is given back for the time that is left.",
    scope="subscription:write",
    of="app",
    answers={200: Changed | Preview},
    refuses=(*_COMMON, *_STRIPES, "subscription_incomplete"),
    is_repeatable=True,
    example=Example(
        body={"user_id": "u_example", "group": "main", "when": "period_end", "preview": True},
        # Nobody has paid the checkout of this user.
    ),
)
async def cancel_group_subscription(call: Call[NoQuery, CancelBody]) -> Response:
    body = call.body
    asked = _asked(call, body)
    syncer = call.running.syncer
    return await answer_once(
        call,
        lambda _attempt: _ring(call.running, cancel_subscription(call.context, syncer, asked, body.when)),
    )


@operation(
    "POST",
    "/api/v1/subscription/resume",
    summary="Take back an end or a change that waits",
    says="Also begins the first paid period of a subscription that is paused because its trial ended without "
    "a payment method.",
    scope="subscription:write",
    of="app",
    answers={200: Changed | Preview},
    refuses=(
        *_COMMON,
        *_STRIPES,
        "subscription_ended",
        "subscription_incomplete",
        "subscription_paused",
    ),
    is_repeatable=True,
    example=Example(body={"user_id": "u_example", "group": "main", "preview": True}),
)
async def resume_group_subscription(call: Call[NoQuery, ResumeBody]) -> Response:
    asked = _asked(call, call.body)
    syncer = call.running.syncer
    return await answer_once(
        call, lambda _attempt: _ring(call.running, resume_subscription(call.context, syncer, asked))
    )


async def _ring(running: Running, verb: Awaitable[Concluded | Preview]) -> Changed | Preview:
    """What it answers; what it owes a worker hears of."""
    done = await verb
    if isinstance(done, Preview):
        return done
    running.ring(done.owed)
    return done.changed


def _asked(
    call: Call[NoQuery, ChangeBody] | Call[NoQuery, CancelBody] | Call[NoQuery, ResumeBody],
    body: ChangeBody | CancelBody | ResumeBody,
) -> Asked:
    return Asked(
        project=call.project,
        app=call.app,
        user_id=body.user_id,
        group=body.group,
        is_preview=body.preview,
    )


ROUTES = [change_subscription_items, cancel_group_subscription, resume_group_subscription]
