"""Look at this process's own settings, and at Stripe's copy of the catalogs."""

from collections.abc import Sequence
from datetime import UTC, datetime

from domain.context import Context
from domain.flows.diagnose.within import skip_all, within
from domain.flows.verify_catalog import verify_catalog
from domain.rules.diagnosis import Check, warn
from domain.rules.diagnosis import here as here_rules
from domain.rules.diagnosis import stripe as rules
from domain.store import deployment as deployments

CATALOG = ["catalog_at_stripe"]


async def examine_secrets(context: Context) -> list[Check]:
    secrets = [(one.secret.reveal(), one.not_after) for one in context.settings.stripe_webhook_secrets]
    if not secrets:
        why = "TOLLHOUSE_STRIPE_WEBHOOK_SECRETS is not set here; webhook needs it"
        return skip_all(["webhook_secret"], why)
    return [rules.judge_secrets(secrets, datetime.now(UTC))]


async def examine_catalog_at_stripe(context: Context, before: Sequence[Check], limit_s: float) -> list[Check]:
    """As `catalog verify` compares them, where there is a key, a schema, and no doubt whose account it is."""
    outcomes = {check.name: check.outcome for check in before}
    needed = ("schema", "stripe_account", "stripe_key_rights")
    if any(outcomes.get(name) in {None, "failed", "skipped"} for name in needed):
        return skip_all(CATALOG, "needs the schema, and a key of this deployment's Stripe account")
    # Some calls for each product, within the read budget: of a long catalog that is no fault of Stripe's.
    late = warn(CATALOG[0], f"not compared within {limit_s:g} s", "tollhouse catalog verify, which waits")
    return await within(limit_s, CATALOG[0], _compare(context), late=late)


async def _compare(context: Context) -> list[Check]:
    async with context.database.connection() as connection:
        fixed = await deployments.find_deployment(connection)
    if fixed is None:
        return skip_all(CATALOG, "no process with a Stripe key has reached Stripe yet")
    found = await verify_catalog(context)
    return [here_rules.judge_stripe_catalog(is_drifted=found.is_drifted)]
