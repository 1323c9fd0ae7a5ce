"""catalog.toml → the catalog and scenarios of each project, or every error at once (docs/catalog.md)."""

import tomllib
from decimal import Decimal
from typing import Any, get_args

from msgspec import Struct

from domain.rules.catalog.fields import CatalogInvalid, Problems, Table
from domain.rules.catalog.nouns import (
    Catalog,
    CheckoutOptions,
    DisputePolicy,
    PauseVoidPolicy,
    Policy,
    PortalOptions,
)
from domain.rules.catalog.places import is_timezone
from domain.rules.catalog.products import read_apps, read_features, read_plans
from domain.rules.catalog.scenarios import Scenario, read_scenarios

#: Stripe's portal lists at most so many products.
MOST_SWITCH_PLANS = 10
MOST_GRACE_DAYS = 365
MOST_SETTLE_HOURS = 24 * 14

_DISPUTE: tuple[DisputePolicy, ...] = get_args(DisputePolicy)
_PAUSE_VOID: tuple[PauseVoidPolicy, ...] = get_args(PauseVoidPolicy)


class CatalogFile(Struct, frozen=True, kw_only=True):
    """What one file says, by project, sorted."""

    catalogs: dict[str, Catalog]
    #: The file's tests of itself, in its order; () for a project without any.
    scenarios: dict[str, tuple[Scenario, ...]]


def parse_catalog_file(text: str, *, file: str) -> dict[str, Catalog]:
    """The catalogs of a file alone; errors as `read_catalog_file`."""
    return read_catalog_file(text, file=file).catalogs


def read_catalog_file(text: str, *, file: str) -> CatalogFile:
    """The catalogs and scenarios by project.

    `file` is the name that errors say. Raises CatalogInvalid with every error of the file; of a file that is
    no TOML, with the first one and its line.
    """
    problems = Problems(file)
    root = Table(_parse_toml(text, problems), "", problems)
    tables = root.tables("projects")
    catalogs = {key: _read_project(key, table) for key, table in tables.items()}
    scenarios = {key: read_scenarios(table, catalogs[key]) for key, table in tables.items()}
    for table in (*tables.values(), root):
        table.close()
    if not catalogs and not problems.errors:
        problems.note("", "", "has no project; add a table [projects.<key>]")
    _refuse_shared_ids(catalogs, problems)
    if problems.errors:
        raise CatalogInvalid(file, tuple(problems.errors))
    return CatalogFile(catalogs=catalogs, scenarios=scenarios)


def _parse_toml(text: str, problems: Problems) -> dict[str, Any]:
    try:
        # Decimal keeps a share such as 0.1 exactly as it is written.
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        problems.note("", "", f"is not TOML: {error}")
        raise CatalogInvalid(problems.file, tuple(problems.errors)) from error


def _read_project(key: str, table: Table) -> Catalog:
    apps = read_apps(table)
    features = read_features(table, apps)
    plans = read_plans(table, key, apps, features)
    return Catalog(
        project=key,
        name=table.text("name", key),
        timezone=_read_timezone(table),
        policy=_read_policy(table.table("policy")),
        checkout=_read_checkout(table.table("checkout")),
        portal=_read_portal(table.table("portal"), plans),
        apps=apps,
        features=features,
        plans=plans,
    )


def _read_timezone(table: Table) -> str:
    timezone = table.text("timezone", "UTC")
    if not is_timezone(timezone):
        table.wrong("timezone", f'is "{timezone}", no IANA time zone; write it like "Europe/Berlin" or "UTC"')
    return timezone


def _read_policy(table: Table) -> Policy:
    after_trial = table.optional_integer("grace_days_after_trial", most=MOST_GRACE_DAYS)
    policy = Policy(
        grace_days=table.integer("grace_days", 7, most=MOST_GRACE_DAYS),
        grace_days_after_trial=after_trial,
        settle_hours=table.integer("settle_hours", 24, most=MOST_SETTLE_HOURS),
        refund_revoke_from=_read_refund(table),
        dispute=table.choice("dispute", _DISPUTE, "suspend"),
        pause_void=table.choice("pause_void", _PAUSE_VOID, "paid_through"),
    )
    table.close()
    return policy


def _read_refund(table: Table) -> Decimal | None:
    written = table.raw("refund")
    if written is None or written == "revoke_full":
        return Decimal(1)
    if written == "keep":
        return None
    share = written.get("revoke_from") if isinstance(written, dict) and len(written) == 1 else None
    if isinstance(share, int | Decimal) and not isinstance(share, bool):
        exact = Decimal(share)
        # TOML also knows nan, which cannot even be compared.
        if exact.is_finite() and 0 < exact <= 1:
            return exact
    wanted = '"revoke_full", "keep" or { revoke_from = 0.5 } with a share above 0 and up to 1'
    table.wrong("refund", f"is {written}; it must be {wanted}")
    return None


def _read_checkout(table: Table) -> CheckoutOptions:
    options = CheckoutOptions(
        automatic_tax=table.boolean("automatic_tax", default=False),
        tax_id_collection=table.boolean("tax_id_collection", default=False),
        allow_promotion_codes=table.boolean("allow_promotion_codes", default=False),
    )
    table.close()
    return options


def _read_portal(table: Table, plans: dict[str, Any]) -> PortalOptions:
    switch_plans = table.known("switch_plans", table.texts("switch_plans"), plans, "plan")
    if len(switch_plans) > MOST_SWITCH_PLANS:
        table.wrong(
            "switch_plans", f"lists {len(switch_plans)} plans; Stripe's portal takes {MOST_SWITCH_PLANS}"
        )
    table.close()
    return PortalOptions(switch_plans=switch_plans)


def _refuse_shared_ids(catalogs: dict[str, Catalog], problems: Problems) -> None:
    """A Stripe object means one plan; two projects on one Stripe account share its ids."""
    seen: dict[str, str] = {}
    for catalog in catalogs.values():
        for plan in catalog.plans.values():
            place = f"projects.{catalog.project}.plans.{plan.key}"
            owner = seen.setdefault(plan.product_id, place)
            if owner != place:
                detail = f'"{plan.product_id}" is the product of [{owner}] too; give one of them its own'
                problems.note(place, "stripe_product", detail)
            for price in plan.prices.values():
                at_price = f"{place}.prices.{price.key}"
                for stripe_id in price.stripe_ids:
                    owner = seen.setdefault(stripe_id, at_price)
                    if owner != at_price:
                        problems.note(
                            at_price, "stripe_ids", f'"{stripe_id}" is listed in [{owner}] too; keep one'
                        )
