"""The JSON Schema of a catalog file, for editors: completion, hover texts and red lines while typing.

Editors know keys and types by it; what needs the whole file, such as whether a plan exists, is said by
`tollhouse catalog check` alone. A test asks the parser for the keys of each table and compares.
"""

from typing import Any

from domain.model import Reason
from domain.rules.catalog.fields import KEY, KEY_LENGTH, MOST
from domain.rules.catalog.file import MOST_GRACE_DAYS, MOST_SETTLE_HOURS, MOST_SWITCH_PLANS
from domain.rules.catalog.products import MOST_AMOUNT_MINOR, MOST_TRIAL_DAYS
from domain.rules.catalog.scenario_sources import DISPUTES, EFFECTS, PAUSES, REFUNDS, STATUSES, TARGETS
from domain.rules.catalog.values import UNLIMITED

Schema = dict[str, Any]


def catalog_schema() -> Schema:
    """Draft 2020-12; the same at every call."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tollhouse catalog",
        "description": "What each project sells and what each plan gives.",
        **_table({"projects": _keyed(_project(), "A product line with its own users, catalog and money.")}),
        "required": ["projects"],
    }


def _project() -> Schema:
    return _table(
        {
            "name": _text("For people. Default: the key."),
            "timezone": _text('IANA time zone of the project, such as "Europe/Berlin". Default: UTC.'),
            "policy": _policy(),
            "checkout": _checkout(),
            "portal": _portal(),
            "apps": _keyed(_app(), "A micro-app that asks for entitlements."),
            "features": _keyed(_feature(), "A named capability."),
            "plans": _keyed(_plan(), "A sellable bundle of features: one Stripe product."),
            "scenarios": _rows(_scenario(), "Tests of this file, run by `tollhouse catalog check`."),
        },
        required=("apps",),
    )


def _policy() -> Schema:
    threshold = _table({"revoke_from": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}})
    return _table(
        {
            "grace_days": _number("Days of access after a payment failed. Default: 7.", MOST_GRACE_DAYS),
            "grace_days_after_trial": _number(
                "The same for the first invoice after a trial. Default: grace_days.", MOST_GRACE_DAYS
            ),
            "settle_hours": _number("Hours a trial holds after its end. Default: 24.", MOST_SETTLE_HOURS),
            "refund": {
                "description": "From which share on a refund ends a purchase. Default: revoke_full.",
                "anyOf": [{"enum": ["revoke_full", "keep"]}, threshold],
            },
            "dispute": _choice("What a dispute does. Default: suspend.", "suspend", "keep", "any_invoice"),
            "pause_void": _choice(
                "Access while collection is paused by voiding. Default: paid_through.", "paid_through", "keep"
            ),
        }
    )


def _checkout() -> Schema:
    keys = ("automatic_tax", "tax_id_collection", "allow_promotion_codes")
    return _table({key: _flag("Passed on to Stripe's checkout. Default: false.") for key in keys})


def _portal() -> Schema:
    plans = _texts("Plans a customer may switch between in Stripe's portal.")
    return _table({"switch_plans": {**plans, "maxItems": MOST_SWITCH_PLANS}})


def _app() -> Schema:
    return _table({"redirect_origins": _texts("Exact origins to which a checkout may send back.")})


def _feature() -> Schema:
    return _table(
        {
            "type": _choice("What its value is.", "boolean", "integer", "enum", "set"),
            "apps": _texts("The apps that see it. Default: all of the project."),
            "values": _texts("Enums: the values in rank order, lowest first."),
            "default": {"description": "What everybody has. Default: nothing.", **_VALUE},
            "merge": _choice("Integers: how several sources count.", "max", "sum"),
            "on_unavailable": _choice(
                "What a client answers when it cannot reach us. Default: last_known.",
                *("open", "closed", "last_known"),
            ),
            "max_stale_s": _number("How many seconds last_known may be used. Default: 86400."),
        },
        required=("type",),
    )


def _plan() -> Schema:
    return _table(
        {
            "name": _text("Shown on Stripe's pages. Default: the key."),
            "kind": _choice("Default: base.", "base", "addon"),
            "requires": _text("Add-ons: counts only while this base plan gives access."),
            "group": _text(
                'At most one live subscription per user and group. Default: "main", add-ons none.'
            ),
            "rank": _number("Orders plans. Default: 0."),
            "trial_days": _number("The longest trial a checkout may ask for. Default: 0.", MOST_TRIAL_DAYS),
            "grants": _keyed(_GRANTED, "By feature: what the plan gives."),
            "weights": _keyed(_number("Share of the revenue."), "By app: the split of a bundle's revenue."),
            "grandfather": _flag("Subscribers keep what the plan gave when they bought. Default: false."),
            "grace_days": _number("Instead of the policy's.", MOST_GRACE_DAYS),
            "grace_days_after_trial": _number("Instead of the policy's.", MOST_GRACE_DAYS),
            "stripe_product": _text("The Stripe product. Default: {project}_{plan}."),
            "prices": _keyed(_price(), "A stable key such as month, year or once."),
        }
    )


def _price() -> Schema:
    return _table(
        {
            "interval": _choice("Absent: a one-time price.", "day", "week", "month", "year"),
            "interval_count": {**_number("Every so many intervals. Default: 1.", 1095), "minimum": 1},
            "duration": {
                "description": 'One-time prices: "P30D" or "lifetime".',
                "type": "string",
                "pattern": "^(lifetime|P[1-9][0-9]{0,4}D)$",
            },
            "amounts": {
                "description": "Minor units by currency; the first currency is the price's own.",
                "type": "object",
                "propertyNames": {"pattern": "^[a-z]{3}$"},
                "additionalProperties": _number("Minor units.", MOST_AMOUNT_MINOR),
                "minProperties": 1,
            },
            "stripe_ids": _texts("Existing Stripe prices that mean this price too."),
        },
        required=("amounts",),
    )


# ── scenarios ───────────────────────────────────────────────────────────────────────────────────────


def _scenario() -> Schema:
    return _table(
        {
            "name": _text("What customers may rely on, in a sentence."),
            "at": _time("When the question is asked. Default: 2026-01-01T00:00:00Z."),
            "app": _text("The app that asks. Default: every app that sees the feature."),
            "given": _rows({"anyOf": [_subscription(), _purchase(), _grant()]}, "What the user has."),
            "expect": _keyed(_EXPECTED, "By feature: the answer."),
        },
        required=("name", "expect"),
    )


def _subscription() -> Schema:
    return _table(
        {
            "subscription": _text("Key of the plan."),
            "price": _text("Key of its price. Default: the first recurring one."),
            "status": _choice("Stripe's. Default: active.", *STATUSES),
            "quantity": _number("Default: 1."),
            "created_at": _time('Default: "-30d".'),
            "period_end": _time('Default: "+30d".'),
            "trial_end": _time(""),
            "cancel_at": _time(""),
            "cancel_at_period_end": _flag("Default: false."),
            "ended_at": _time(""),
            "pause_behavior": _choice("How collection is paused.", *PAUSES),
            "pause_cause": _text("For status paused."),
            "first_failure_at": _time("When the present failures began: grace counts from it."),
            "is_failing_after_trial": _flag(
                "The failing invoice is the first after a trial. Default: false."
            ),
            "is_paid_for": _flag("Its price is on a paid invoice; else there is no grace. Default: true."),
            "paid_through": _time("End of what is paid."),
            "disputes": {**_texts("Statuses, of its latest paid invoice."), "items": {"enum": [*DISPUTES]}},
        },
        required=("subscription",),
    )


def _purchase() -> Schema:
    refund = _table(
        {
            "amount": _number("Minor units. Default: all of it."),
            "status": _choice("Stripe's. Default: succeeded.", *REFUNDS),
        }
    )
    return _table(
        {
            "purchase": _text("Key of the plan."),
            "price": _text("Key of its one-time price; needed where it has several."),
            "quantity": _number("Default: 1."),
            "paid_at": _time('Default: "-1d".'),
            "captured": _number("Minor units. Default: the price's amount."),
            "refunds": _rows(refund, "Money given back."),
            "disputes": {**_texts("Statuses."), "items": {"enum": [*DISPUTES]}},
        },
        required=("purchase",),
    )


def _grant() -> Schema:
    targets: Schema = {kind: _text(f"Key of the {kind} it is about.") for kind in TARGETS}
    return _table(
        {
            "grant": _choice("Its effect.", *EFFECTS),
            **targets,
            "value": {"description": "What it gives of a feature. Default: all there is.", **_VALUE},
            "starts_at": _time('Default: "-1d".'),
            "expires_at": _time(""),
            "revoked_at": _time(""),
        },
        required=("grant",),
    )


# ── what keys hold ──────────────────────────────────────────────────────────────────────────────────


def _table(properties: Schema, *, required: tuple[str, ...] = ()) -> Schema:
    table: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**table, "required": list(required)} if required else table


def _keyed(inner: Schema, description: str) -> Schema:
    names = {"pattern": f"^{KEY.pattern}$", "maxLength": KEY_LENGTH}
    return {
        "description": description,
        "type": "object",
        "propertyNames": names,
        "additionalProperties": inner,
    }


def _rows(inner: Schema, description: str) -> Schema:
    return {"description": description, "type": "array", "items": inner}


def _text(description: str) -> Schema:
    return {"description": description, "type": "string", "minLength": 1}


def _texts(description: str) -> Schema:
    return {"description": description, "type": "array", "items": {"type": "string"}, "uniqueItems": True}


def _flag(description: str) -> Schema:
    return {"description": description, "type": "boolean"}


def _number(description: str, most: int = MOST) -> Schema:
    return {"description": description, "type": "integer", "minimum": 0, "maximum": most}


def _choice(description: str, *choices: str) -> Schema:
    return {"description": description, "enum": list(choices)}


def _time(description: str) -> Schema:
    # A TOML time reaches a JSON Schema validator as a text too, whose form differs between tools.
    said = 'A time such as "+7d", "-3d12h", 2026-03-01 or 2026-03-01T00:00:00Z.'
    return {"description": f"{description} {said}".strip(), "type": "string"}


_VALUE: Schema = {
    "anyOf": [
        {"type": "boolean"},
        {"type": "integer", "minimum": 0},
        {"type": "string", "description": f'A value of the enum, or "{UNLIMITED}" of an integer.'},
        {"type": "array", "items": {"type": "string"}},
    ]
}
_GRANTED: Schema = {
    "anyOf": [
        *_VALUE["anyOf"],
        _table(
            {"value": _number("Of each unit."), "per_unit": _flag("Multiplied by the quantity bought.")},
            required=("value",),
        ),
    ]
}
_EXPECTED: Schema = {
    "anyOf": [
        *_VALUE["anyOf"],
        _table(
            {
                "granted": _flag("Whether there is access."),
                "value": {"description": "The value, as a plan would grant it.", **_VALUE},
                "reason": _choice("Why.", *(reason.value for reason in Reason)),
                "ends_at": _time('When this access ends if nothing changes, or "never".'),
            }
        ),
    ]
}
