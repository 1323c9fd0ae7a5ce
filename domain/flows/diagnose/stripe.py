"""Look at Stripe: whose the key is, what it may read, where events go, and what time it is there."""

import asyncio
import time
from email.utils import parsedate_to_datetime

from domain.context import Context
from domain.errors import TollhouseError, Unavailable
from domain.flows.diagnose.within import skip_all, within
from domain.flows.reconcile.look import Account
from domain.flows.reconcile.stages import endpoint_suspects
from domain.rules.diagnosis import Check, fail
from domain.rules.diagnosis import here as here_rules
from domain.rules.diagnosis import stripe as rules
from domain.settings import TESTING
from domain.store import deployment as deployments
from domain.store.deployment import DeploymentRow
from domain.stripe_gateway import KeyRefused, StripeRefused

REST = ("stripe_key_rights", "stripe_endpoint", "clock_stripe")
#: Probes at once: a key may make 25 calls a second in test mode, and others make them too.
AT_ONCE = 4


async def examine_stripe(context: Context, limit_s: float) -> list[Check]:
    if context.stripe is None:
        why = "TOLLHOUSE_STRIPE_SECRET_KEY is not set here; api, worker and scheduler need it"
        return skip_all(("stripe_account", *REST), why)
    first = await within(limit_s, "stripe_account", _look_at_account(context), judge=_away)
    if len(first) == 1:
        return [*first, *skip_all(REST, "Stripe is not ready for it")]
    account, clock = first
    rights, endpoint = await asyncio.gather(
        within(limit_s, "stripe_key_rights", _look_at_rights(context)),
        within(limit_s, "stripe_endpoint", _look_at_endpoint(context)),
    )
    return [account, *rights, *endpoint, clock]


def _away(error: TollhouseError) -> Check:
    if isinstance(error, KeyRefused):
        return rules.judge_refused_key(error.detail, lacks_permission=error.lacks_permission)
    reach = "let this machine reach Stripe (or what TOLLHOUSE_STRIPE_API_BASE names), then look again"
    return fail("stripe_account", error.detail, reach)


async def _look_at_account(context: Context) -> list[Check]:
    """Two lines; an error is one."""
    stripe, settings = context.stripe_or_raise, context.settings
    began = time.time()
    account, date = await stripe.read_dated("/v1/account", _no_reserve)
    ended = time.time()
    fixed = await _find_deployment(context)
    judged = rules.judge_account(
        account_id=str(account["id"]),
        mode=stripe.mode,
        env=settings.env,
        fixed=None if fixed is None else (fixed.account_id, fixed.mode, fixed.env),
        is_testing=settings.env in TESTING,
        base=settings.stripe_api_base,
    )
    return [judged, _judge_clock(date, began, ended)]


def _judge_clock(date: str | None, began: float, ended: float) -> Check:
    """A `Date` is cut to whole seconds: the moment it means is half a second later, give or take as much."""
    if date is None:
        return skip_all(["clock_stripe"], "the answer had no Date")[0]
    theirs = parsedate_to_datetime(date).timestamp() + 0.5
    skew_s = theirs - (began + ended) / 2
    return here_rules.judge_skew("clock_stripe", "Stripe's clock", skew_s, 0.5 + (ended - began) / 2)


async def _find_deployment(context: Context) -> DeploymentRow | None:
    """None: nobody has fixed it, or Postgres cannot say, which is another line."""
    try:
        async with context.database.connection() as connection:
            return await deployments.find_deployment(connection)
    except Unavailable:
        return None


async def _look_at_rights(context: Context) -> list[Check]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def is_refused(right: rules.Right) -> bool:
        async with gate:
            try:
                await context.stripe_or_raise.read(right.path, _no_reserve, limit=1)
            except KeyRefused:
                return True
            except StripeRefused:
                # It may ask, and asked for what this account does not have.
                return False
        return False

    refused = await asyncio.gather(*(is_refused(right) for right in rules.RIGHTS))
    return [rules.judge_rights([right for right, no in zip(rules.RIGHTS, refused, strict=True) if no])]


async def _look_at_endpoint(context: Context) -> list[Check]:
    """As a reconciliation judges it."""
    try:
        return rules.judge_endpoints(await endpoint_suspects(Account(context, _no_reserve)))
    except KeyRefused:
        return skip_all(["stripe_endpoint"], "the key may not read webhook endpoints")


async def _no_reserve() -> None:
    """Some twenty calls, when somebody asks: they need no slot of the read budget."""
