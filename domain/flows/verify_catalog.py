"""`catalog verify`: does Stripe still have what the catalogs in force say, and is that what is sold?"""

from collections.abc import Mapping

from msgspec import Struct

from domain.context import Context
from domain.errors import Unknown
from domain.flows.apply_catalog import StripeChange, StripeNote, StripePlan, plan_stripe
from domain.flows.read_catalog import list_heads
from domain.rules.catalog import Catalog
from domain.store import billing

__all__ = ["SoldElsewhere", "StripeChange", "StripeNote", "StripePlan", "Verified", "verify_catalog"]


class SoldElsewhere(Struct, frozen=True, kw_only=True):
    #: In the catalog: `acme.pro.month`.
    key: str
    #: What checkouts sell; None: nothing, the price was never stored.
    sold: str | None
    #: What Stripe has for it.
    at_stripe: str


class Verified(Struct, frozen=True, kw_only=True):
    #: By project: the version that was compared.
    versions: dict[str, int]
    stripe: StripePlan
    sold_elsewhere: tuple[SoldElsewhere, ...]

    @property
    def is_drifted(self) -> bool:
        stripe = self.stripe
        return stripe.is_changed or bool(stripe.obstacles or stripe.retirable or self.sold_elsewhere)


async def verify_catalog(context: Context) -> Verified:
    """Compare every catalog in force with Stripe; writes nothing.

    Raises:
        Unknown: no catalog was ever applied.
        WrongDeployment: the key is of another account or mode than this database.
        Unavailable: Stripe or Postgres is away.
    """
    versions, given, heads = await _read_heads(context)
    if not given:
        raise Unknown("No catalog was applied yet. Next: tollhouse catalog apply FILE")
    planned = await plan_stripe(context, given)
    elsewhere = [
        SoldElsewhere(key=".".join(key), sold=heads.get(key), at_stripe=one.price_id)
        for one in planned.sold
        if heads.get(key := (one.project, one.plan, one.price)) != one.price_id
    ]
    return Verified(versions=versions, stripe=planned, sold_elsewhere=tuple(elsewhere))


async def _read_heads(
    context: Context,
) -> tuple[dict[str, int], Mapping[str, Catalog], dict[tuple[str, str, str], str]]:
    versions: dict[str, int] = {}
    given: dict[str, Catalog] = {}
    heads: dict[tuple[str, str, str], str] = {}
    async with context.database.snapshot() as connection:
        for project, head in (await list_heads(connection)).items():
            versions[project], given[project] = head.version, head.catalog
            sold = await billing.list_head_prices(connection, project, sorted(head.catalog.plans))
            heads |= {(project, *key): price_id for key, price_id in sold.items()}
    return versions, given, heads
