"""What of Stripe's products and prices is looked at, and what is to be done about them."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from domain.rules.catalog.diff import FieldChange

#: What a change or a note is about.
StripeNoun = Literal["product", "price", "portal", "endpoint"]


class StripeProduct(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    is_active: bool
    metadata: dict[str, str]
    #: The price that Stripe refuses to archive while it is this.
    default_price: str | None


class StripePrice(Struct, frozen=True, kw_only=True):
    id: str
    product: str
    is_active: bool
    currency: str
    #: Minor units by currency; None: of tiers, with decimals, or chosen by the customer.
    amounts: dict[str, int | None]
    #: (interval, count); None: one-time.
    recurring: tuple[str, int] | None
    #: False: metered, or by packages.
    is_plain: bool
    lookup_key: str | None
    metadata: dict[str, str]
    created: int


class StripeFound(Struct, frozen=True, kw_only=True):
    """What was read: products of the catalogs or with our metadata; prices of them, named, or sold.

    Of prices named or sold on other products those products, too.
    """

    products: dict[str, StripeProduct]
    prices: dict[str, StripePrice]


class StripeChange(Struct, frozen=True, kw_only=True):
    action: Literal["create", "update", "archive"]
    noun: StripeNoun
    #: In the catalog: `acme.pro`, `acme.pro.month`; of a portal its project, of an endpoint its URL.
    key: str
    #: None: Stripe will choose one.
    stripe_id: str | None
    fields: tuple[FieldChange, ...] = ()
    params: dict[str, Any]
    #: Of a creation: the same content is created once, however often it is asked for.
    content_key: str = ""


class StripeNote(Struct, frozen=True, kw_only=True):
    noun: StripeNoun
    stripe_id: str
    detail: str


class SoldPrice(Struct, frozen=True, kw_only=True):
    """The Stripe price that new checkouts of a catalog price sell."""

    project: str
    plan: str
    price: str
    price_id: str
    currencies: tuple[str, ...]


class StripePlan(Struct, frozen=True, kw_only=True):
    #: What must be there before the version is stored, in order.
    changes: tuple[StripeChange, ...]
    #: What comes last: nothing new is sold at it any more.
    archives: tuple[StripeChange, ...]
    #: Of every price that needs no change.
    sold: tuple[SoldPrice, ...]
    #: Not ours: named, never touched.
    unmanaged: tuple[StripeNote, ...]
    #: Why nothing can be applied until somebody acts.
    obstacles: tuple[StripeNote, ...]
    #: What makes each project's portal configuration: after the version is stored, before the archives.
    portals: tuple[StripeChange, ...] = ()
    #: What makes the webhook endpoint; after everything else. Empty where no URL is known, too.
    endpoints: tuple[StripeChange, ...] = ()
    #: Endpoints of ours that another one has replaced: an operator ends them, no apply does.
    retirable: tuple[StripeNote, ...] = ()
    #: Whether the webhook endpoint was looked at: TOLLHOUSE_WEBHOOK_URL says where it leads.
    is_endpoint_compared: bool = False

    @property
    def is_changed(self) -> bool:
        return bool(self.changes or self.portals or self.archives or self.endpoints)

    @property
    def all_changes(self) -> tuple[StripeChange, ...]:
        """In the order in which an apply makes them."""
        return (*self.changes, *self.portals, *self.archives, *self.endpoints)


def is_ours(metadata: Mapping[str, str], project: str) -> bool:
    """Whether we made it for this project: metadata that somebody removed makes it theirs."""
    return "tollhouse_v" in metadata and metadata.get("tollhouse_project") == project
