"""`catalog export`: the catalog file that says what a Stripe account sells, or its state as data."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from domain.context import Context
from domain.errors import Invalid
from domain.flows.fix_deployment import DeploymentCheck
from domain.flows.portal_configuration import read_configurations
from domain.flows.read_catalog import list_heads
from domain.flows.read_stripe_catalog import read_whole_account
from domain.flows.webhook_endpoint import find_endpoint
from domain.rules.catalog import Catalog
from domain.rules.catalog.fields import is_key
from domain.rules.catalog.stripe_export import ExportedCatalogs, export_catalogs
from domain.rules.catalog.stripe_nouns import StripeFound
from domain.rules.catalog.written import write_catalogs
from domain.rules.events import Deployment
from domain.rules.parity import AccountState, EndpointState, sold_at_stripe
from domain.rules.portal_settings import Configuration, find_configuration, portal_names

#: What a catalog does not say, of anything.
UNSAID = (
    "A catalog does not say descriptions, images, tax codes, tax behaviour, nicknames and trials of prices: "
    "they stay at Stripe as they are. Scenarios are not stored, so they are not in it."
)


class ExportedFile(Struct, frozen=True, kw_only=True):
    #: The catalog file.
    text: str
    #: By project: plans in it.
    plans: dict[str, int]
    #: What somebody has to look at; they stand as comments where they belong.
    remarks: int


async def export_catalog(context: Context, *, project: str | None) -> ExportedFile:
    """The file for which `catalog plan` finds no product or price to change; writes nothing.

    What Stripe does not know is taken from the catalogs in force. `project`: where products that are not
    ours become plans; None: nowhere, they are remarks.

    Raises:
        Invalid: `project` is no key, or there is nothing to be exported.
        WrongDeployment: the key is of another account or mode than this database.
        Throttled: the read budget has no slot for minutes.
        Unavailable: Stripe or Postgres is away.
    """
    if project is not None and not is_key(project):
        raise Invalid(f'"{project}" is no key of a project: use [a-z][a-z0-9_]*, such as acme.')
    account = await _read_account(context)
    exported = export_catalogs(account.found, account.heads, project=project, offered=account.offered)
    if not exported.catalogs:
        raise Invalid(
            f"Nothing at Stripe is ours, and no catalog is in force; {len(account.found.products)} products "
            "are not ours: --project KEY makes plans of them."
        )
    return _write(exported, account.deployment)


async def export_state(context: Context) -> AccountState:
    """What `catalog parity` compares: the catalogs in force, and what Stripe has for them.

    Raises: as `export_catalog`.
    """
    account, endpoint = await _read_account(context), await find_endpoint(context)
    sends = None
    if endpoint is not None:
        sends = EndpointState(types=sorted(endpoint["enabled_events"]), version=endpoint["api_version"])
    return AccountState(
        account=account.deployment.account_id,
        mode=account.deployment.mode,
        env=account.deployment.env,
        in_force=account.heads,
        at_stripe=sold_at_stripe(account.found, account.heads, account.offered),
        endpoint=sends,
    )


class _Account(Struct, frozen=True, kw_only=True):
    deployment: Deployment
    found: StripeFound
    #: The catalogs in force.
    heads: dict[str, Catalog]
    #: By project: the products between which its portal lets customers switch.
    offered: dict[str, list[str]]


async def _read_account(context: Context) -> _Account:
    deployment = await DeploymentCheck(context).ensure()
    found, configurations = await read_whole_account(context), await read_configurations(context)
    async with context.database.snapshot() as connection:
        heads = {key: head.catalog for key, head in (await list_heads(connection)).items()}
    offered = _offered(_projects(found, heads), configurations, deployment.env)
    return _Account(deployment=deployment, found=found, heads=heads, offered=offered)


def _write(exported: ExportedCatalogs, deployment: Deployment) -> ExportedFile:
    about = f"Made by tollhouse catalog export from {deployment.account_id}, {deployment.mode} mode."
    remarks = {**exported.remarks, "": [about, UNSAID, *exported.remarks.get("", ())]}
    return ExportedFile(
        text=write_catalogs(exported.catalogs, remarks),
        plans={project: len(catalog.plans) for project, catalog in exported.catalogs.items()},
        remarks=sum(map(len, exported.remarks.values())),
    )


def _projects(found: StripeFound, heads: Mapping[str, Catalog]) -> set[str]:
    return {*heads, *(one.metadata.get("tollhouse_project", "") for one in found.products.values())}


def _offered(
    projects: Iterable[str], configurations: Sequence[Configuration], env: str
) -> dict[str, list[str]]:
    found = {key: find_configuration(configurations, portal_names(key, env)) for key in projects}
    return {key: _products(one) for key, one in found.items() if one is not None}


def _products(configuration: Configuration) -> list[str]:
    update = configuration["features"]["subscription_update"]
    return [one["product"] for one in update.get("products") or ()] if update["enabled"] else []
