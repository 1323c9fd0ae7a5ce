"""The part of the control plane that says how events are written: API version, snapshot or thin."""

from typing import Literal

from deploy.local.stripe_simulator.errors import StripeError
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account, Json
from deploy.local.stripe_simulator.versions import default_version, read_version, set_default_version
from deploy.local.stripe_simulator.wishes import Wish, find_account


class RenderWish(Wish, frozen=True, kw_only=True):
    """What is None stays as it is."""

    #: endive, dahlia, clover, basil, acacia, 2020, 2018, 2016, or a version as Stripe writes it.
    version: str | None = None
    payload: Literal["snapshot", "thin"] | None = None
    #: Id of a webhook endpoint; None: the account's default version, and every endpoint follows it.
    endpoint: str | None = None


def render_events(simulator: Simulator, wish: RenderWish, _path: Json) -> Json:
    """Takes effect for what is sent from now on, also of events that have already happened."""
    account = find_account(simulator, wish.account)
    version = None if wish.version is None else read_version(wish.version)
    rows = list(account.rows.get("webhook_endpoint", {}).values())
    chosen = [row for row in rows if wish.endpoint in {None, row["id"]}]
    if wish.endpoint is not None and not chosen:
        raise StripeError(f"no webhook endpoint {wish.endpoint!r}: GET /v1/webhook_endpoints lists them")
    if version is not None and wish.endpoint is None:
        set_default_version(account, version)
    for row in chosen:
        write_differently(account, row, wish, version)
    return {"ok": True, "default": default_version(account), "endpoints": [row["id"] for row in chosen]}


def write_differently(account: Account, row: Json, wish: RenderWish, version: str | None) -> None:
    if version is not None:
        row["api_version"] = version if wish.endpoint is not None else None
        account.put("webhook_endpoint", row)
    if wish.payload is not None:
        secret = account.load("endpoint_secret", row["id"])
        account.put("endpoint_secret", {**secret, "payload": wish.payload})


WRITES = (("/_sim/render", RenderWish, render_events),)
