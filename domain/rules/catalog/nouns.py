"""One project's catalog as everybody reads it: immutable, resolved (no key is left to a default) and JSON.

`parse_catalog_file` makes it from TOML, the database keeps it as the JSON of `encode_catalog`.
"""

from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Literal

import msgspec
from msgspec import Struct

from domain.model import FeatureValue

FeatureType = Literal["boolean", "integer", "enum", "set"]
MergeRule = Literal["max", "sum"]
OnUnavailable = Literal["open", "closed", "last_known"]
PlanKind = Literal["base", "addon"]
Interval = Literal["day", "week", "month", "year"]
DisputePolicy = Literal["suspend", "keep", "any_invoice"]
PauseVoidPolicy = Literal["paid_through", "keep"]


class GrantValue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan gives of one feature, or a feature's default."""

    #: true/false, a whole number, a value of the enum, strings of the set; None: unlimited (integers only).
    value: FeatureValue
    #: Integers of plans only: multiplied by the quantity of the item or purchase.
    per_unit: bool = False


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    grace_days: int = 7
    #: Grace when the first invoice after a trial fails; None: the same as `grace_days`.
    grace_days_after_trial: int | None = None
    #: How long a trial whose end has passed still holds while Stripe has not told what became of it.
    settle_hours: int = 24
    #: Share of the captured amount from which a refund ends a purchase: 1 is "full"; None: refunds never do.
    refund_revoke_from: Decimal | None = Decimal(1)
    dispute: DisputePolicy = "suspend"
    pause_void: PauseVoidPolicy = "paid_through"


class CheckoutOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    automatic_tax: bool = False
    tax_id_collection: bool = False
    allow_promotion_codes: bool = False


class PortalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: Plans a customer may switch between in Stripe's portal; at most 10.
    switch_plans: tuple[str, ...] = ()


class App(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    #: Exact origins (scheme://host[:port]) to which a checkout or the portal may send the customer back.
    redirect_origins: tuple[str, ...] = ()


class Feature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    type: FeatureType
    #: The apps that see it, sorted.
    apps: tuple[str, ...]
    #: Enums only, in rank order, lowest first.
    values: tuple[str, ...] = ()
    #: Integers only; None: max between base plans and allow-grants, plus the sum of add-ons.
    merge: MergeRule | None = None
    #: What a user without any source has; None: nothing.
    default: GrantValue | None = None
    #: What an SDK answers when it cannot reach the service.
    on_unavailable: OnUnavailable = "last_known"
    max_stale_s: int = 86_400


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    #: None: a one-time price.
    interval: Interval | None = None
    interval_count: int = 1
    #: One-time prices only: days of access per purchase; None: for a lifetime.
    duration_days: int | None = None
    #: The price's own currency; the other currencies of `amounts` are options of it.
    currency: str
    #: Minor units by ISO currency in small letters.
    amounts: dict[str, int]
    #: Imported legacy prices: they grant, and are never modified.
    stripe_ids: tuple[str, ...] = ()

    @property
    def is_one_time(self) -> bool:
        return self.interval is None


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    name: str
    kind: PlanKind = "base"
    #: Add-ons only: the plan that must give access for this one to count.
    requires: str | None = None
    #: At most one live subscription per user and group, and one trial; None: outside of all groups (add-ons).
    group: str | None = None
    rank: int = 0
    #: 0: no trial.
    trial_days: int = 0
    #: By feature key.
    grants: dict[str, GrantValue] = {}
    #: Revenue split of a bundle by app key; empty: not split.
    weights: dict[str, int] = {}
    grandfather: bool = False
    #: None: the policy's.
    grace_days: int | None = None
    grace_days_after_trial: int | None = None
    #: The plan's product in Stripe: `stripe_product` of the file, else `{project}_{plan}`.
    product_id: str
    prices: dict[str, Price] = {}

    def gives(self, feature: str) -> bool:
        """Whether it grants anything of the feature: false, 0 and an empty list are nothing."""
        grant = self.grants.get(feature)
        return grant is not None and (grant.value is None or bool(grant.value))


class OlderGrants(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a grandfathered plan granted in an earlier version, active on `[since, until)`."""

    plan: str
    since: datetime
    until: datetime
    grants: dict[str, GrantValue]


class Catalog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One version of one project's catalog. Everything keyed is sorted by its key."""

    project: str
    name: str
    #: An IANA zone: the day to which money figures belong.
    timezone: str = "UTC"
    policy: Policy = Policy()
    checkout: CheckoutOptions = CheckoutOptions()
    portal: PortalOptions = PortalOptions()
    apps: dict[str, App]
    features: dict[str, Feature]
    plans: dict[str, Plan]
    #: Of grandfathered plans only, by plan and time; not part of the file, see `with_older_grants`.
    older_grants: tuple[OlderGrants, ...] = ()

    @cached_property
    def plans_by_price_id(self) -> dict[str, Plan]:
        return {
            stripe_id: plan
            for plan in self.plans.values()
            for price in plan.prices.values()
            for stripe_id in price.stripe_ids
        }

    @cached_property
    def plans_by_product_id(self) -> dict[str, Plan]:
        return {plan.product_id: plan for plan in self.plans.values()}

    @cached_property
    def features_by_app(self) -> dict[str, tuple[Feature, ...]]:
        return {
            app: tuple(feature for _, feature in sorted(self.features.items()) if app in feature.apps)
            for app in self.apps
        }

    @cached_property
    def plans_giving(self) -> dict[str, tuple[str, ...]]:
        """By feature: the plans that give it, lowest rank first."""
        ranked = sorted(self.plans.values(), key=lambda plan: (plan.rank, plan.key))
        return {
            feature: tuple(plan.key for plan in ranked if plan.gives(feature)) for feature in self.features
        }


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Catalog)


def encode_catalog(catalog: Catalog) -> bytes:
    """The JSON in which a version is stored: equal catalogs are equal bytes."""
    return _encoder.encode(catalog)


def decode_catalog(data: bytes) -> Catalog:
    """Raises msgspec.ValidationError where `data` is not the JSON of a catalog."""
    return _decoder.decode(data)


def is_same_content(one: Catalog, other: Catalog) -> bool:
    """Whether both say the same: what was granted in earlier versions is history, not content."""
    return msgspec.structs.replace(one, older_grants=()) == msgspec.structs.replace(other, older_grants=())
