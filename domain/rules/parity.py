"""Two Stripe accounts, such as test and live, compared by what they sell: ids differ, keys do not. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from domain.rules.catalog import Catalog, Plan, PortalOptions, StripeFound, compare_stripe
from domain.rules.catalog.diff import FieldChange, NounChange, diff_catalogs
from domain.rules.catalog.stripe_export import export_catalogs

#: Of the file: one of another number is refused.
FORMAT: Literal[1] = 1
Place = Literal["in force", "at Stripe", "endpoint"]


class EndpointState(Struct, frozen=True, kw_only=True):
    types: list[str]
    #: None: the account's own.
    version: str | None


class AccountState(Struct, frozen=True, kw_only=True):
    format: Literal[1] = FORMAT
    account: str
    mode: str
    env: str
    #: By project: the catalog that this deployment answers from.
    in_force: dict[str, Catalog]
    #: By project: the plans, prices and portal that Stripe has for it, and nothing else of a catalog.
    at_stripe: dict[str, Catalog]
    #: The webhook endpoint; None: there is none, or its URL is not known.
    endpoint: EndpointState | None


class EndpointChange(Struct, frozen=True, kw_only=True):
    noun: Literal["endpoint"] = "endpoint"
    key: str = "events"
    change: Literal["changed"] = "changed"
    fields: tuple[FieldChange, ...]


class Difference(Struct, frozen=True, kw_only=True):
    place: Place
    #: None: of the deployment.
    project: str | None
    #: `added`: only there; `removed`: only here. Of its fields `before` is here, `after` there.
    noun: NounChange | EndpointChange


def sold_at_stripe(
    found: StripeFound, heads: Mapping[str, Catalog], offered: Mapping[str, Sequence[str]]
) -> dict[str, Catalog]:
    """What Stripe has of each project, whatever its catalog in force says should be there.

    A plan is known by the product that the catalog in force names, else by our metadata. `offered`: by
    project the products between which its portal lets customers switch.
    """
    exported = export_catalogs(found, heads, project=None, offered=offered).catalogs
    sold = {(one.project, one.plan, one.price) for one in compare_stripe(exported, found).sold}
    return {
        key: _only_stripes(catalog, found, sold, offered.get(key, ())) for key, catalog in exported.items()
    }


def _only_stripes(
    catalog: Catalog, found: StripeFound, sold: AbstractSet[tuple[str, str, str]], offered: Sequence[str]
) -> Catalog:
    plans = {}
    for key, plan in catalog.plans.items():
        if plan.product_id in found.products:
            prices = {name: one for name, one in plan.prices.items() if (catalog.project, key, name) in sold}
            plans[key] = Plan(key=key, name=plan.name, product_id=plan.product_id, prices=prices)
    keys = {plan.product_id: key for key, plan in plans.items()}
    portal = PortalOptions(switch_plans=tuple(sorted(keys[one] for one in offered if one in keys)))
    return Catalog(
        project=catalog.project, name=catalog.project, portal=portal, apps={}, features={}, plans=plans
    )


def compare_accounts(here: AccountState, there: AccountState) -> tuple[Difference, ...]:
    """Everything that is not the same for customers; products that are not ours are not looked at."""
    return (
        *_compare("in force", here.in_force, there.in_force),
        *_compare("at Stripe", here.at_stripe, there.at_stripe),
        *_compare_endpoints(here.endpoint, there.endpoint),
    )


def _compare(place: Place, here: Mapping[str, Catalog], there: Mapping[str, Catalog]) -> Iterator[Difference]:
    for project in sorted(here.keys() | there.keys()):
        if project not in there:
            changes: tuple[NounChange, ...] = (NounChange(noun="project", key=project, change="removed"),)
        elif project not in here:
            changes = (NounChange(noun="project", key=project, change="added"),)
        else:
            changes = diff_catalogs(_without_ids(here[project]), _without_ids(there[project]))
        yield from (Difference(place=place, project=project, noun=change) for change in changes)


def _without_ids(catalog: Catalog) -> Catalog:
    """What an account chose by itself is no difference; nor is what was granted in earlier versions."""
    plans = {key: _plan_without_ids(catalog.project, plan) for key, plan in catalog.plans.items()}
    return replace(catalog, plans=plans, older_grants=())


def _plan_without_ids(project: str, plan: Plan) -> Plan:
    prices = {key: replace(price, stripe_ids=()) for key, price in plan.prices.items()}
    return replace(plan, product_id=f"{project}_{plan.key}", prices=prices)


def _compare_endpoints(here: EndpointState | None, there: EndpointState | None) -> Iterator[Difference]:
    """Where one of them is not known nothing is said: a test deployment may well have none."""
    if here is None or there is None:
        return
    fields = [
        FieldChange(field=name, before=getattr(here, name), after=getattr(there, name))
        for name in here.__struct_fields__
        if getattr(here, name) != getattr(there, name)
    ]
    if fields:
        yield Difference(place="endpoint", project=None, noun=EndpointChange(fields=tuple(fields)))
