"""The webhook endpoint at Stripe: make it, correct it, and switch off the one it has replaced.

Stripe cannot change an endpoint's API version. One of another version is therefore replaced: a new one is
made beside it, its secret is added to what `webhook` accepts, and then somebody retires the old one. Until
then both deliver every event, which the inbox counts once; events that only the new one could deliver before
its secret is known are tried again by Stripe for three days, and found in its list by reconciliation.
"""

import time
import uuid

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, TollhouseError, Unknown
from domain.flows.confirm_live import require_confirmation
from domain.flows.fix_deployment import DeploymentCheck
from domain.flows.read_budget import patient_budget
from domain.flows.record_action import NOBODY, Operator, record_action
from domain.rules.catalog import StripeChange, StripeNote
from domain.rules.endpoint import Endpoint, EndpointPlan, EndpointWanted, choose_endpoint, compare_endpoints
from domain.rules.events import OLD_NAMES, USED
from domain.settings import Secret
from domain.stripe_gateway import API_VERSION, JsonObject, Reserve
from domain.telemetry import get_logger

log = get_logger()

PATH = "/v1/webhook_endpoints"
#: How long the reads of one command wait for their share of the budget, in seconds.
PATIENCE_S = 300.0


class MadeEndpoint(Struct, frozen=True, kw_only=True):
    id: str
    #: Shown once: Stripe's dashboard shows it again, its API does not. None: Stripe did not say it.
    signing_secret: Secret | None


async def plan_endpoint(context: Context) -> EndpointPlan | None:
    """What makes the endpoint right; None: TOLLHOUSE_WEBHOOK_URL does not say where it leads.

    Raises:
        Throttled: the read budget has no slot for minutes.
        Unavailable: Stripe or Postgres is away, or the key may not read endpoints.
    """
    if not context.settings.webhook_url:
        return None
    return compare_endpoints(await _read_endpoints(context), _wanted(context))


async def find_endpoint(context: Context) -> Endpoint | None:
    """The one that leads here; None: there is none, or TOLLHOUSE_WEBHOOK_URL does not say where. As above."""
    if not context.settings.webhook_url:
        return None
    return choose_endpoint(await _read_endpoints(context), _wanted(context))


async def set_endpoint(context: Context, change: StripeChange) -> MadeEndpoint | None:
    """Carry out a change of `plan_endpoint`; what was made, with its secret, and None where none was."""
    path = PATH if change.stripe_id is None else f"{PATH}/{change.stripe_id}"
    # Two applies at once make two endpoints, and the next plan names the second. A key of the content would,
    # within a day, answer from Stripe's memory with one that somebody has deleted since.
    done = await context.stripe_or_raise.create(
        path, change.params, idempotency_key=f"endpoint:{uuid.uuid4()}"
    )
    log.info("webhook_endpoint_set", action=change.action, endpoint=done["id"])
    if change.action != "create":
        return None
    return MadeEndpoint(id=done["id"], signing_secret=Secret(done["secret"]) if "secret" in done else None)


async def list_retirable(context: Context) -> tuple[StripeNote, ...]:
    """The endpoints that one which was just made or corrected has replaced; () where Stripe does not say.

    What was done is done and its secret has to be told: an error here must not hide it.
    """
    try:
        planned = await plan_endpoint(context)
    except TollhouseError as error:
        log.warning("webhook_endpoint_not_read_again", error=error.code)
        return ()
    return planned.retirable if planned is not None else ()


async def retire_endpoint(
    context: Context,
    endpoint_id: str,
    *,
    confirmed: str | None,
    anyway: bool = False,
    operator: Operator = NOBODY,
) -> None:
    """Switch off an endpoint that another one of ours has replaced; it stays at Stripe, disabled.

    The row of the audit log is there before Stripe is asked.

    `confirmed`: what was typed for `find_confirmation`. `anyway`: also while Stripe still owes events.

    Raises:
        Conflict: not confirmed, no URL is set, the one that is to stay needs a change first, or Stripe owes
            events that it has made since there are two: the new one's secret may be missing here.
        Unknown: nothing of ours under this id waits to be retired.
        WrongDeployment, Unavailable: as `plan_stripe`.
    """
    require_confirmation(context, confirmed)
    await DeploymentCheck(context).ensure()
    found = await _read_endpoints(context)
    _refuse_unready(context, found, endpoint_id)
    if not anyway:
        await _refuse_owed(context, found)
    async with context.database.transaction() as connection:
        await record_action(
            connection,
            operator,
            action="endpoint.retire",
            project=None,
            user_key=None,
            subject=("endpoint", endpoint_id),
            reason=None,
            details={"anyway": anyway},
        )
    key = f"endpoint:{uuid.uuid4()}"
    await context.stripe_or_raise.create(f"{PATH}/{endpoint_id}", {"disabled": True}, idempotency_key=key)
    log.info("webhook_endpoint_retired", endpoint=endpoint_id)


def _refuse_unready(context: Context, found: list[JsonObject], endpoint_id: str) -> None:
    if not context.settings.webhook_url:
        raise Conflict(
            "TOLLHOUSE_WEBHOOK_URL is not set: set it to the URL of the endpoint that stays.",
            code="endpoint_not_ready",
        )
    planned = compare_endpoints(found, _wanted(context))
    if planned.changes:
        raise Conflict(
            "The endpoint that is to stay is not right yet. Next: tollhouse catalog apply FILE",
            code="endpoint_not_ready",
        )
    if endpoint_id not in {one.stripe_id for one in planned.retirable}:
        waiting = ", ".join(one.stripe_id for one in planned.retirable) or "none"
        raise Unknown(f"{endpoint_id} is no endpoint that can be retired here. These can: {waiting}.")


async def _refuse_owed(context: Context, found: list[JsonObject]) -> None:
    """Whether what the newest endpoint should have delivered has arrived; others' failures count, too."""
    since = max(one["created"] for one in found if one["url"] == context.settings.webhook_url)
    owed = await context.stripe_or_raise.read(
        "/v1/events",
        _reserve(context),
        delivery_success=False,
        created={"gte": since, "lte": int(time.time() - context.settings.reconcile_settle_s)},
        limit=100,
    )
    if owed["data"]:
        count = f"{len(owed['data'])}{' or more' if owed['has_more'] else ''}"
        raise Conflict(
            f"Stripe has {count} events since the new endpoint was made that not every endpoint has taken, "
            f"such as {owed['data'][0]['id']}: is the new signing secret in "
            "TOLLHOUSE_STRIPE_WEBHOOK_SECRETS, and was webhook restarted? --anyway retires it nevertheless.",
            code="events_owed",
        )


async def _read_endpoints(context: Context) -> list[JsonObject]:
    listed = context.stripe_or_raise.read_list(PATH, _reserve(context))
    return [found async for found in listed]


def _reserve(context: Context) -> Reserve:
    return patient_budget(context, PATIENCE_S)


def _wanted(context: Context) -> EndpointWanted:
    return EndpointWanted(
        url=context.settings.webhook_url,
        types=frozenset(USED.keys() - OLD_NAMES),
        version=API_VERSION,
        env=context.settings.env,
    )
