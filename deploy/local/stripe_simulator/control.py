"""The control plane, `/_sim/*`: what a test or the demo may do that Stripe's API cannot. JSON in and out."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.local.stripe_simulator import (
    bank_control,
    billing_control,
    population,
    portal_control,
    purchase,
    render_control,
)
from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.events import record_event
from deploy.local.stripe_simulator.faults import Fault
from deploy.local.stripe_simulator.moments import clock_named, moment_of
from deploy.local.stripe_simulator.read_lag import Lag
from deploy.local.stripe_simulator.rendering import snapshot
from deploy.local.stripe_simulator.seeding import Seed, plant
from deploy.local.stripe_simulator.sender import MODES, DeliveryMode
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Json
from deploy.local.stripe_simulator.subscriptions import emit_update
from deploy.local.stripe_simulator.wishes import Wish, find_account


class ResetWish(Wish, frozen=True, kw_only=True):
    #: Kinds of rows that stay, for instance `["product", "price", "webhook_endpoint"]`.
    keep: list[str] = msgspec.field(default_factory=list)


class DeliverWish(Wish, frozen=True, kw_only=True):
    """Fields as in `sender.DeliveryMode`."""

    mode: str = "normal"
    duplicate: int = 1
    drop: float = 0.0
    delay_s: float = 0.0
    window_s: float = 0.2
    seed: int | None = None


class LagWish(Wish, frozen=True, kw_only=True):
    """Fields as in `read_lag.Lag`."""

    seconds: float
    share: float = 1.0
    seed: int = 0
    path_pattern: str = "*"


class FailWish(Wish, frozen=True, kw_only=True):
    """Fields as in `faults.Fault`; `clear` first removes every rule."""

    path_pattern: str | None = None
    method: str | None = None
    status: int | None = None
    times: int | None = 1
    latency_s: float = 0.0
    body: dict[str, Any] | None = None
    stall: bool = False
    cut: bool = False
    when: str = "before"
    saved: bool = False
    share: float = 1.0
    clear: bool = False


class EventWish(Wish, frozen=True, kw_only=True):
    """An event to emit; `overrides` replaces fields of its envelope, for instance `livemode`."""

    type: str
    object: dict[str, Any]
    previous_attributes: dict[str, Any] | None = None
    overrides: dict[str, Any] = msgspec.field(default_factory=dict)


class SeedWish(Seed, frozen=True, kw_only=True):
    """Products, prices and endpoints to make or bring up to date; `account` as in `Wish`."""

    account: str | None = None


class ClockWish(Wish, frozen=True, kw_only=True):
    #: Ahead of the real time; negative: behind it; 0: right again.
    offset_s: float = 0.0
    #: Whether what time does by itself waits: no trial ends, nothing renews, until a wish without it.
    stands: bool = False


class FieldsWish(Wish, frozen=True, kw_only=True):
    fields: dict[str, Any]


class SettleWish(Wish, frozen=True, kw_only=True):
    outcome: str = "succeeded"


class AccountWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    secret_key: str
    account_id: str


def reset(simulator: Simulator, wish: ResetWish, _path: Json) -> Json:
    """Empty one account, or all of them; then also delivery mode, faults and stats begin anew."""
    accounts = [find_account(simulator, wish.account)] if wish.account else simulator.store.accounts.values()
    for account in accounts:
        account.clear(frozenset(wish.keep))
    if wish.account is None:
        simulator.sender.set_mode(DeliveryMode())
        simulator.faults.rules.clear()
        simulator.read_lag.set(Lag(), [])
        simulator.clock_offset_s = 0.0
        simulator.clock_stands = False
        simulator.stats.clear()
    return {"ok": True}


def deliver(simulator: Simulator, wish: DeliverWish, _path: Json) -> Json:
    if wish.mode not in MODES:
        raise StripeError(f"mode is {wish.mode!r}: use one of {', '.join(MODES)}")
    if wish.duplicate < 1 or not 0 <= wish.drop <= 1 or wish.delay_s < 0 or wish.window_s < 0:
        raise StripeError("duplicate must be at least 1, drop between 0 and 1, waits not negative")
    fields = msgspec.structs.asdict(wish)
    del fields["account"]
    simulator.sender.set_mode(DeliveryMode(**fields))
    return {"ok": True, **fields}


def lag_reads(simulator: Simulator, wish: LagWish, _path: Json) -> Json:
    if wish.seconds < 0 or not 0 <= wish.share <= 1:
        raise StripeError("seconds must not be negative, share between 0 and 1")
    fields = msgspec.structs.asdict(wish)
    del fields["account"]
    simulator.commit()
    simulator.read_lag.set(Lag(**fields), list(simulator.store.accounts.values()))
    return {"ok": True, **fields}


def set_clock(simulator: Simulator, wish: ClockWish, _path: Json) -> Json:
    """What the `Date` of every answer says from now on; objects and signatures keep the real time."""
    simulator.clock_offset_s = wish.offset_s
    simulator.clock_stands = wish.stands
    return {"ok": True, "offset_s": wish.offset_s, "stands": wish.stands}


def fail(simulator: Simulator, wish: FailWish, _path: Json) -> Json:
    rules = simulator.faults.rules
    if wish.clear:
        rules.clear()
    if wish.path_pattern is not None:
        if wish.when not in {"before", "after"}:
            raise StripeError(f"when is {wish.when!r}: use 'before' or 'after'")
        if wish.times is not None and wish.times < 1:
            raise StripeError("times must be at least 1, or null: until cleared")
        if wish.saved and wish.status is None:
            raise StripeError("only a failure is saved: name its status")
        if not 0 <= wish.share <= 1:
            raise StripeError("share is a part of the calls: between 0 and 1")
        if wish.status is None and not wish.latency_s and not wish.stall and not wish.cut:
            raise StripeError("a fault needs a status, a latency_s, stall or cut")
        fields = msgspec.structs.asdict(wish)
        del fields["account"], fields["clear"]
        rules.append(Fault(**fields))
    elif not wish.clear:
        raise StripeError("path_pattern is missing: for instance '/v1/customers/*'; or send clear: true")
    return {"ok": True, "rules": len(rules)}


def seed(simulator: Simulator, wish: SeedWish, _path: Json) -> Json:
    return plant(find_account(simulator, wish.account), wish)


def emit_event(simulator: Simulator, wish: EventWish, _path: Json) -> Json:
    data: Json = {"object": wish.object}
    if wish.previous_attributes is not None:
        data["previous_attributes"] = wish.previous_attributes
    return record_event(find_account(simulator, wish.account), wish.type, data, overrides=wish.overrides)


def change_subscription(simulator: Simulator, wish: FieldsWish, path: Json) -> Json:
    """Overwrite raw fields, for instance the status; emits customer.subscription.updated."""
    account = find_account(simulator, wish.account)
    row = account.load("subscription", path["id"])
    if unknown := wish.fields.keys() - (row.keys() - {"id", "object", "customer"}):
        raise StripeError(f"these fields of a subscription cannot be set here: {', '.join(sorted(unknown))}")
    before = snapshot(account, row)
    row |= wish.fields
    account.put("subscription", row)
    emit_update(account, before, row, None)
    return snapshot(account, row)


def settle(simulator: Simulator, wish: SettleWish, path: Json) -> Json:
    if wish.outcome not in {"succeeded", "failed"}:
        raise StripeError(f"outcome is {wish.outcome!r}: use 'succeeded' or 'failed'")
    account = find_account(simulator, wish.account)
    session = account.load("checkout.session", path["id"])
    purchase.settle(account, session, succeeded=wish.outcome == "succeeded")
    return session


def add_account(simulator: Simulator, wish: AccountWish, _path: Json) -> Json:
    try:
        account = simulator.store.open_account(wish.secret_key, wish.account_id)
    except ValueError as error:
        raise StripeError(str(error), status=409) from error
    return {"account_id": account.account_id}


def show_stats(simulator: Simulator, _query: Json) -> Json:
    return simulator.stats.summary()


def show_deliveries(simulator: Simulator, query: Json) -> Json:
    """Attempts, oldest first; the query filters by any field of an attempt, and by `since` (unix time)."""
    since = float(query.pop("since", 0))
    found = [
        attempt
        for attempt in simulator.stats.attempts
        if attempt["started_at"] >= since and all(str(attempt.get(name)) == query[name] for name in query)
    ]
    return {"data": found}


def show_state(simulator: Simulator, _query: Json) -> Json:
    """How many rows of each kind every account has, and what is still owed to endpoints."""
    return {
        "accounts": {
            account.account_id: {kind: len(rows) for kind, rows in account.rows.items() if rows}
            for account in simulator.store.accounts.values()
        },
        "delivery_mode": {
            name: getattr(simulator.sender.mode, name) for name in simulator.sender.mode.__dataclass_fields__
        },
        "faults": len(simulator.faults.rules),
        "read_lag_s": simulator.read_lag.lag.seconds,
    }


def control_routes(simulator: Simulator) -> list[Route]:
    """Every answer is JSON; a refusal has Stripe's envelope and says what to send instead."""
    writes: list[tuple[str, type[Any], Callable[[Simulator, Any, Json], Json]]] = [
        *bank_control.WRITES,
        *billing_control.WRITES,
        *population.WRITES,
        *portal_control.WRITES,
        *render_control.WRITES,
        ("/_sim/accounts", AccountWish, add_account),
        ("/_sim/checkout/{id}/settle", SettleWish, settle),
        ("/_sim/clock", ClockWish, set_clock),
        ("/_sim/deliver", DeliverWish, deliver),
        ("/_sim/events", EventWish, emit_event),
        ("/_sim/fail", FailWish, fail),
        ("/_sim/read_lag", LagWish, lag_reads),
        ("/_sim/reset", ResetWish, reset),
        ("/_sim/seed", SeedWish, seed),
        ("/_sim/subscriptions/{id}", FieldsWish, change_subscription),
    ]
    reads: list[tuple[str, Callable[[Simulator, Json], Json]]] = [
        ("/_sim/deliveries", show_deliveries),
        ("/_sim/state", show_state),
        ("/_sim/stats", show_stats),
    ]
    routes = [Route(path, writing(simulator, wish, act), methods=["POST"]) for path, wish, act in writes]
    return routes + [Route(path, reading(simulator, show), methods=["GET"]) for path, show in reads]


def writing(
    simulator: Simulator, wish_type: type[Any], act: Callable[[Simulator, Any, Json], Json]
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            wish = msgspec.json.decode(await request.body() or b"{}", type=wish_type)
            account = find_account(simulator, getattr(wish, "account", None))
            clock = clock_named(account, request.path_params.values())
            with account.standing_at(moment_of(clock)):
                answered = act(simulator, wish, request.path_params)
        except msgspec.MsgspecError as error:
            return refuse(StripeError(f"{error} (in the JSON body of {request.url.path})"))
        except StripeError as error:
            return refuse(error)
        simulator.commit()
        return as_json(answered, 200)

    return handle


def reading(
    simulator: Simulator, show: Callable[[Simulator, Json], Json]
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return as_json(show(simulator, dict(request.query_params)), 200)

    return handle


def refuse(error: StripeError) -> Response:
    return as_json({"error": error.error}, error.status)


def as_json(body: Json, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
