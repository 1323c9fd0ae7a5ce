"""From what Stripe has to the catalogs that say it: for these `compare_stripe` finds nothing to change. Pure.

What Stripe does not know (features, grants, apps) is taken from the catalog in force; where there is none, a
remark says what to write. What a catalog cannot say becomes a remark: nothing is left out in silence.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from domain.rules.catalog.fields import is_key
from domain.rules.catalog.lookups import lookup_key
from domain.rules.catalog.nouns import App, Catalog, Plan, PortalOptions, Price
from domain.rules.catalog.stripe_import import add_foreign_plans
from domain.rules.catalog.stripe_nouns import StripeFound, StripePrice, StripeProduct, is_ours
from domain.rules.catalog.stripe_plan import find_imported, has_terms
from domain.rules.catalog.stripe_terms import choose_key, find_fault, price_of, show_terms


class ExportedCatalogs(Struct, frozen=True, kw_only=True):
    catalogs: dict[str, Catalog]
    #: By the path of the table they are about; "": the file.
    remarks: dict[str, list[str]]


def export_catalogs(
    found: StripeFound,
    heads: Mapping[str, Catalog],
    *,
    project: str | None,
    offered: Mapping[str, Sequence[str]],
) -> ExportedCatalogs:
    """`found`: the whole account. `heads`: the catalogs in force.

    `project`: where products that are not ours become plans; None: they are remarks. `offered`: by project
    the products between which its portal lets customers switch.
    """
    draft = _Draft(found)
    for key in sorted({*heads, *_our_projects(draft)}):
        draft.catalogs[key] = _export_project(draft, key, heads.get(key), offered.get(key, ()))
    if project is not None and project not in draft.catalogs:
        draft.catalogs[project] = _new_catalog(draft, project)
    add_foreign_plans(draft.catalogs, draft.remarks, found, project)
    remarks = {path: said for path, said in draft.remarks.items() if said}
    return ExportedCatalogs(catalogs=dict(sorted(draft.catalogs.items())), remarks=remarks)


class _Draft:
    def __init__(self, found: StripeFound) -> None:
        self.found = found
        self.catalogs: dict[str, Catalog] = {}
        self.remarks: defaultdict[str, list[str]] = defaultdict(list)
        self.by_lookup_key = {one.lookup_key: one for one in found.prices.values() if one.lookup_key}
        self.by_product: defaultdict[str, list[StripePrice]] = defaultdict(list)
        for price in sorted(found.prices.values(), key=lambda one: (one.created, one.id)):
            self.by_product[price.product].append(price)


def _our_projects(draft: _Draft) -> list[str]:
    """Named by a product of ours, or by a price of ours on somebody else's product."""
    written = [one.metadata for one in draft.found.products.values()]
    written += [one.metadata for one in draft.found.prices.values()]
    named = {one.get("tollhouse_project", "") for one in written if "tollhouse_v" in one}
    return sorted(name for name in named if is_key(name))


def _new_catalog(draft: _Draft, project: str) -> Catalog:
    draft.remarks[f"projects.{project}.apps.app"].append(
        "Stripe does not know your apps: name each, and its redirect_origins."
    )
    return Catalog(project=project, name=project, apps={"app": App(key="app")}, features={}, plans={})


def _export_project(draft: _Draft, project: str, head: Catalog | None, offered: Sequence[str]) -> Catalog:
    base = head if head is not None else _new_catalog(draft, project)
    plans = {key: _refresh_plan(draft, project, plan) for key, plan in base.plans.items()}
    for product in draft.found.products.values():
        if product.id not in base.plans_by_product_id and _is_of(draft, project, product):
            _add_plan(draft, project, product, plans)
    portal = base.portal
    if head is None:
        keys = {plan.product_id: plan.key for plan in plans.values()}
        portal = PortalOptions(switch_plans=tuple(keys[one] for one in offered if one in keys))
    return replace(base, plans=dict(sorted(plans.items())), portal=portal, older_grants=())


# ── plans of the catalog in force ───────────────────────────────────────────────────────────────────


def _refresh_plan(draft: _Draft, project: str, plan: Plan) -> Plan:
    """As the catalog in force says it, with the name and amounts that Stripe has."""
    said = draft.remarks[f"projects.{project}.plans.{plan.key}"]
    product = draft.found.products.get(plan.product_id)
    if product is None:
        said.append(f"Stripe has no product {plan.product_id}.")
        return plan
    if not product.is_active:
        said.append(f"{product.id} is archived at Stripe.")
    prices = {key: _refresh_price(draft, project, plan, price) for key, price in plan.prices.items()}
    name = product.name if is_ours(product.metadata, project) and product.name.strip() else plan.name
    refreshed = replace(plan, name=name, prices=prices)
    _remark_other_prices(draft, project, refreshed)
    return refreshed


def _refresh_price(draft: _Draft, project: str, plan: Plan, price: Price) -> Price:
    holder = draft.by_lookup_key.get(lookup_key(project, plan.key, price.key))
    if find_imported(plan, price, draft.found):
        return price
    said = draft.remarks[f"projects.{project}.plans.{plan.key}.prices.{price.key}"]
    if holder is None or not is_ours(holder.metadata, project) or holder.product != plan.product_id:
        said.append("Stripe has no price of ours under its lookup key: apply makes it.")
        return price
    if not holder.is_active:
        said.append(f"{holder.id} is archived at Stripe: apply sets it back.")
    if has_terms(holder, plan, price):
        return price
    if (fault := find_fault(holder)) is not None:
        said.append(f"{holder.id} {fault}: a catalog cannot say that, and apply replaces it.")
        return price
    said.append(f"{holder.id} asks for other terms than the catalog in force.")
    return price_of(holder, price.key, duration_days=price.duration_days, stripe_ids=price.stripe_ids)


# ── plans that no catalog in force names ────────────────────────────────────────────────────────────


def _is_of(draft: _Draft, project: str, product: StripeProduct) -> bool:
    """Ours, or somebody else's that we sell at a price of ours."""
    if is_ours(product.metadata, project):
        return True
    prices = draft.by_product[product.id]
    return product.is_active and any(one.is_active and is_ours(one.metadata, project) for one in prices)


def _named_plan(draft: _Draft, project: str, product: StripeProduct) -> str:
    if is_ours(product.metadata, project):
        return product.metadata.get("tollhouse_plan", "")
    named = (one.metadata for one in draft.by_product[product.id] if is_ours(one.metadata, project))
    return next(named, {}).get("tollhouse_plan", "")


def _add_plan(draft: _Draft, project: str, product: StripeProduct, plans: dict[str, Plan]) -> None:
    if not product.is_active:
        draft.remarks[f"projects.{project}"].append(
            f"{product.id} ({product.name}) is archived, and no plan names it: who has it gets nothing."
        )
        return
    named = _named_plan(draft, project, product)
    key = named if is_key(named) and named not in plans else choose_key(product.name, plans)
    draft.remarks[f"projects.{project}.plans.{key}"].append(
        "Stripe does not know what it gives, nor its group and rank: write them."
    )
    plan = Plan(
        key=key,
        name=product.name if product.name.strip() else key,
        group="main",
        product_id=product.id,
        prices=_sold_prices(draft, project, key, product),
    )
    plans[key] = plan
    _remark_other_prices(draft, project, plan)


def _sold_prices(draft: _Draft, project: str, plan: str, product: StripeProduct) -> dict[str, Price]:
    """Those that hold one of our lookup keys."""
    prices = {}
    for one in draft.by_product[product.id]:
        *owner, key = (one.lookup_key or "").split(":")
        if owner != [project, plan] or not is_key(key) or not one.is_active or find_fault(one):
            continue
        if is_ours(one.metadata, project):
            prices[key] = price_of(one, key)
            if one.recurring is None:
                draft.remarks[f"projects.{project}.plans.{plan}.prices.{key}"].append(
                    "Stripe does not know for how long it gives access: a lifetime is assumed."
                )
    return dict(sorted(prices.items()))


# ── what of a product is no price of its plan ───────────────────────────────────────────────────────


def _remark_other_prices(draft: _Draft, project: str, plan: Plan) -> None:
    said = draft.remarks[f"projects.{project}.plans.{plan.key}"]
    listed = {price_id for price in plan.prices.values() for price_id in price.stripe_ids}
    archived = []
    for one in draft.by_product[plan.product_id]:
        if one.id in listed or _is_sold(project, plan, one):
            continue
        if not one.is_active:
            archived.append(one.id)
        elif is_ours(one.metadata, project):
            terms = show_terms(one)
            said.append(f"{one.id} ({terms}) is ours and sold no longer: apply archives it.")
        else:
            said.append(
                f"{one.id} ({show_terms(one)}) is not ours and gives this plan to whoever has it. To sell "
                "it, list it in the stripe_ids of a price with the same terms."
            )
    if archived:
        said.append(f"Archived prices go on giving it: {', '.join(archived)}.")


def _is_sold(project: str, plan: Plan, one: StripePrice) -> bool:
    keys = {lookup_key(project, plan.key, key) for key in plan.prices}
    return one.lookup_key in keys and is_ours(one.metadata, project)
