"""A project's portal configuration at Stripe: found by its metadata, made and kept in step with the catalog.

Nothing of it is stored here. It carries `tollhouse_project`, `tollhouse_env` and, as `tollhouse_settings`, a
digest of what we last set: at a session only a catalog that says something else changes it. `catalog verify`
and `apply` compare each feature. What is set in the dashboard beside (texts, links, a name) stays.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping

from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, ReplayedFailure
from domain.flows.read_budget import CLAIM_WAIT_S, budget_of, patient_budget
from domain.rules.catalog import Catalog, StripeChange, StripePlan
from domain.rules.portal_settings import (
    PortalSettings,
    coming_prices,
    compare_portal,
    creation_key,
    creation_params,
    find_configuration,
    portal_names,
    portal_settings,
)
from domain.stripe_gateway import JsonObject
from domain.telemetry import get_logger

log = get_logger()

PATH = "/v1/billing_portal/configurations"
#: How long one process takes a configuration for what it was. Whoever switches it off in the dashboard waits
#: no longer than that for it to be noticed, and most sessions cost one call to Stripe.
KEPT_S = 600.0
#: How long the reads of one command wait for their share of the budget, in seconds.
PATIENCE_S = 300.0
#: Stripe shows the products of a configuration only when it is asked to.
SHOW_PRODUCTS = ["data.features.subscription_update.products"]


class _Kept(Struct, frozen=True):
    configuration_id: str
    digest: str
    until: float


class PortalConfigurations:
    """The configurations that one process knows, by project; one per process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[str, _Kept] = {}
        #: Two that find none at once would both create it: the second waits and finds it.
        self._ensuring = asyncio.Lock()

    async def ensure(self, project: str, wanted: PortalSettings) -> str:
        """The id of the project's configuration, which allows what is wanted.

        Raises:
            Conflict: it was switched off at Stripe.
            Unavailable: Stripe or Postgres is away; asking again is safe.
        """
        async with self._ensuring:
            kept = self._kept.get(project)
            if kept is not None and kept.digest == wanted.digest and time.monotonic() < kept.until:
                return kept.configuration_id
            configuration_id = await self._find_or_make(project, wanted)
            self._kept[project] = _Kept(configuration_id, wanted.digest, time.monotonic() + KEPT_S)
        return configuration_id

    def forget(self, project: str) -> None:
        """Look again at the next session: what was kept did not do."""
        self._kept.pop(project, None)

    async def _find_or_make(self, project: str, wanted: PortalSettings) -> str:
        found = await self._find(project)
        if found is None:
            return await self._make(project, wanted)
        configuration_id: str = found["id"]
        if not found["active"]:
            raise Conflict(
                f"The portal configuration {configuration_id} of {project} is switched off at Stripe: "
                "activate it there.",
                code="portal_not_configured",
            )
        if found["metadata"].get("tollhouse_settings") != wanted.digest:
            await self._change(found, wanted)
        return configuration_id

    async def _find(self, project: str) -> JsonObject | None:
        reserve = budget_of(self._context, CLAIM_WAIT_S)
        listed = self._context.stripe_or_raise.read_list(PATH, reserve)
        return find_configuration([one async for one in listed], self._names(project))

    async def _make(self, project: str, wanted: PortalSettings) -> str:
        names = self._names(project)
        params, key = creation_params(names, wanted), creation_key(names, wanted)
        try:
            made = await self._context.stripe_or_raise.create(PATH, params, idempotency_key=key)
        except ReplayedFailure:
            # Two at once may make one each now: the older one is found from then on.
            key = f"portal:{uuid.uuid4()}"
            made = await self._context.stripe_or_raise.create(PATH, params, idempotency_key=key)
        configuration_id: str = made["id"]
        log.info("portal_configuration_created", project=project, configuration=configuration_id)
        return configuration_id

    async def _change(self, found: JsonObject, wanted: PortalSettings) -> None:
        await self._context.stripe_or_raise.create(
            f"{PATH}/{found['id']}",
            {"features": wanted.features, "metadata": {"tollhouse_settings": wanted.digest}},
            # For the SDK's own second try alone: the same change twice is one, and Stripe would repeat a
            # failure under the same key for a day.
            idempotency_key=f"portal:{uuid.uuid4()}",
        )
        log.info("portal_configuration_changed", configuration=found["id"])

    def _names(self, project: str) -> dict[str, str]:
        return portal_names(project, self._context.settings.env)


async def plan_portals(
    context: Context, given: Mapping[str, Catalog], planned: StripePlan
) -> tuple[StripeChange, ...]:
    """What makes each project's configuration allow what its catalog says; here every feature is compared.

    `planned`: what becomes of the prices, which the configuration names.

    Raises:
        Throttled: the read budget has no slot for minutes.
        Unavailable: Stripe or Postgres is away, or the key may not read configurations.
    """
    found = await read_configurations(context)
    changes = (
        compare_portal(
            catalog,
            portal_settings(catalog, coming_prices(planned, project)),
            found,
            env=context.settings.env,
            mode=context.stripe_or_raise.mode,
        )
        for project, catalog in sorted(given.items())
    )
    return tuple(change for change in changes if change is not None)


async def read_configurations(context: Context) -> list[JsonObject]:
    """All of the account, with the products that can be switched to; errors as `plan_portals`."""
    reserve = patient_budget(context, PATIENCE_S)
    listed = context.stripe_or_raise.read_list(PATH, reserve, expand=SHOW_PRODUCTS)
    return [one async for one in listed]
