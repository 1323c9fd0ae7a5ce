"""What applying some catalogs would change at Stripe: products, prices, portals and the webhook endpoint."""

from collections.abc import Mapping

import msgspec

from domain.context import Context
from domain.flows.fix_deployment import DeploymentCheck
from domain.flows.portal_configuration import plan_portals
from domain.flows.read_stripe_catalog import read_stripe_catalog
from domain.flows.webhook_endpoint import plan_endpoint
from domain.rules.catalog import Catalog, StripePlan, compare_stripe


async def plan_stripe(context: Context, given: Mapping[str, Catalog]) -> StripePlan:
    """What applying would change at Stripe; writes nothing there.

    Raises:
        WrongDeployment: the key is of another account or mode than this database.
        Unavailable: Stripe or Postgres is away.
    """
    await DeploymentCheck(context).ensure()
    planned = compare_stripe(given, await read_stripe_catalog(context, given))
    portals = await plan_portals(context, given, planned)
    return await _with_endpoint(context, msgspec.structs.replace(planned, portals=portals))


async def _with_endpoint(context: Context, planned: StripePlan) -> StripePlan:
    endpoint = await plan_endpoint(context)
    if endpoint is None:
        return planned
    return msgspec.structs.replace(
        planned,
        endpoints=endpoint.changes,
        retirable=endpoint.retirable,
        unmanaged=(*planned.unmanaged, *endpoint.unmanaged),
        is_endpoint_compared=True,
    )
