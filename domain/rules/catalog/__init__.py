"""The catalog: what a project sells and what it gives. Read from TOML, kept as JSON, asked by the engine."""

from domain.rules.catalog.expectations import Expected
from domain.rules.catalog.fields import CatalogError, CatalogInvalid
from domain.rules.catalog.file import CatalogFile, parse_catalog_file, read_catalog_file
from domain.rules.catalog.lookups import find_price, lookup_key, plan_grants, plan_of, with_older_grants
from domain.rules.catalog.nouns import (
    App,
    Catalog,
    CheckoutOptions,
    Feature,
    GrantValue,
    OlderGrants,
    Plan,
    Policy,
    PortalOptions,
    Price,
    decode_catalog,
    encode_catalog,
    is_same_content,
)
from domain.rules.catalog.scenarios import Scenario
from domain.rules.catalog.stripe_nouns import (
    SoldPrice,
    StripeChange,
    StripeFound,
    StripeNote,
    StripePlan,
    StripePrice,
    StripeProduct,
)
from domain.rules.catalog.stripe_plan import compare_stripe
from domain.rules.catalog.stripe_shape import stripe_objects
from domain.rules.catalog.values import fits, is_nothing, read_value

__all__ = [
    "App",
    "Catalog",
    "CatalogError",
    "CatalogFile",
    "CatalogInvalid",
    "CheckoutOptions",
    "Expected",
    "Feature",
    "GrantValue",
    "OlderGrants",
    "Plan",
    "Policy",
    "PortalOptions",
    "Price",
    "Scenario",
    "SoldPrice",
    "StripeChange",
    "StripeFound",
    "StripeNote",
    "StripePlan",
    "StripePrice",
    "StripeProduct",
    "compare_stripe",
    "decode_catalog",
    "encode_catalog",
    "find_price",
    "fits",
    "is_nothing",
    "is_same_content",
    "lookup_key",
    "parse_catalog_file",
    "plan_grants",
    "plan_of",
    "read_catalog_file",
    "read_value",
    "stripe_objects",
    "with_older_grants",
]
