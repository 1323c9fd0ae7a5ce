"""The JSON Schema of a catalog file, for editors: completion, hover texts and red lines while typing.

Editors know keys and types by it; what needs the whole file, such as whether a plan exists, is said by
`tollhouse catalog check` alone. A test asks the parser for the keys of each table and compares.
"""

from domain.rules.catalog.file import MOST_GRACE_DAYS, MOST_SETTLE_HOURS, MOST_SWITCH_PLANS
from domain.rules.catalog.products import MOST_AMOUNT_MINOR, MOST_TRIAL_DAYS
from domain.rules.catalog.scenario_schema import scenario_schema
from domain.rules.catalog.schema_shapes import (
    GRANTED,
    VALUE,
    Schema,
    choice,
    flag,
    keyed,
    number,
    rows,
    table,
    text,
    texts,
)


def catalog_schema() -> Schema:
    """Draft 2020-12; the same at every call."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tollhouse catalog",
        "description": "What each project sells and what each plan gives.",
        **table({"projects": keyed(_project(), "A product line with its own users, catalog and money.")}),
        "required": ["projects"],
    }


def _project() -> Schema:
    return table(
        {
            "name": text("For people. Default: the key."),
            "timezone": text('IANA time zone of the project, such as "Europe/Berlin". Default: UTC.'),
            "policy": _policy(),
            "checkout": _checkout(),
            "portal": _portal(),
            "apps": keyed(_app(), "A micro-app that asks for entitlements."),
            "features": keyed(_feature(), "A named capability."),
            "plans": keyed(_plan(), "A sellable bundle of features: one Stripe product."),
            "scenarios": rows(scenario_schema(), "Tests of this file, run by `tollhouse catalog check`."),
        },
        required=("apps",),
    )


def _policy() -> Schema:
    threshold = table({"revoke_from": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}})
    return table(
        {
            "grace_days": number("Days of access after a payment failed. Default: 7.", MOST_GRACE_DAYS),
            "grace_days_after_trial": number(
                "The same for the first invoice after a trial. Default: grace_days.", MOST_GRACE_DAYS
            ),
            "settle_hours": number("Hours a trial holds after its end. Default: 24.", MOST_SETTLE_HOURS),
            "refund": {
                "description": "From which share on a refund ends a purchase. Default: revoke_full.",
                "anyOf": [{"enum": ["revoke_full", "keep"]}, threshold],
            },
            "dispute": choice("What a dispute does. Default: suspend.", "suspend", "keep", "any_invoice"),
            "pause_void": choice(
                "Access while collection is paused by voiding. Default: paid_through.", "paid_through", "keep"
            ),
        }
    )


def _checkout() -> Schema:
    keys = ("automatic_tax", "tax_id_collection", "allow_promotion_codes")
    return table({key: flag("Passed on to Stripe's checkout. Default: false.") for key in keys})


def _portal() -> Schema:
    plans = texts("Plans a customer may switch between in Stripe's portal.")
    return table({"switch_plans": {**plans, "maxItems": MOST_SWITCH_PLANS}})


def _app() -> Schema:
    return table({"redirect_origins": texts("Exact origins to which a checkout may send back.")})


def _feature() -> Schema:
    return table(
        {
            "type": choice("What its value is.", "boolean", "integer", "enum", "set"),
            "apps": texts("The apps that see it. Default: all of the project."),
            "values": texts("Enums: the values in rank order, lowest first."),
            "default": {"description": "What everybody has. Default: nothing.", **VALUE},
            "merge": choice("Integers: how several sources count.", "max", "sum"),
            "on_unavailable": choice(
                "What a client answers when it cannot reach us. Default: last_known.",
                *("open", "closed", "last_known"),
            ),
            "max_stale_s": number("How many seconds last_known may be used. Default: 86400."),
        },
        required=("type",),
    )


def _plan() -> Schema:
    return table(
        {
            "name": text("Shown on Stripe's pages. Default: the key."),
            "kind": choice("Default: base.", "base", "addon"),
            "requires": text("Add-ons: counts only while this base plan gives access."),
            "group": text('At most one live subscription per user and group. Default: "main", add-ons none.'),
            "rank": number("Orders plans. Default: 0."),
            "trial_days": number("The longest trial a checkout may ask for. Default: 0.", MOST_TRIAL_DAYS),
            "grants": keyed(GRANTED, "By feature: what the plan gives."),
            "weights": keyed(number("Share of the revenue."), "By app: the split of a bundle's revenue."),
            "grandfather": flag("Subscribers keep what the plan gave when they bought. Default: false."),
            "grace_days": number("Instead of the policy's.", MOST_GRACE_DAYS),
            "grace_days_after_trial": number("Instead of the policy's.", MOST_GRACE_DAYS),
            "stripe_product": text("The Stripe product. Default: {project}_{plan}."),
            "prices": keyed(_price(), "A stable key such as month, year or once."),
        }
    )


def _price() -> Schema:
    return table(
        {
            "interval": choice("Absent: a one-time price.", "day", "week", "month", "year"),
            "interval_count": {**number("Every so many intervals. Default: 1.", 1095), "minimum": 1},
            "duration": {
                "description": 'One-time prices: "P30D" or "lifetime".',
                "type": "string",
                "pattern": "^(lifetime|P[1-9][0-9]{0,4}D)$",
            },
            "amounts": {
                "description": "Minor units by currency; the first currency is the price's own.",
                "type": "object",
                "propertyNames": {"pattern": "^[a-z]{3}$"},
                "additionalProperties": number("Minor units.", MOST_AMOUNT_MINOR),
                "minProperties": 1,
            },
            "stripe_ids": texts("Existing Stripe prices that mean this price too."),
        },
        required=("amounts",),
    )
