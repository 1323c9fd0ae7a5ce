"""The JSON Schema of a scenario table."""

from domain.model import Reason
from domain.rules.catalog.scenario_sources import DISPUTES, EFFECTS, PAUSES, REFUNDS, STATUSES, TARGETS
from domain.rules.catalog.schema_shapes import (
    VALUE,
    Schema,
    choice,
    flag,
    instant,
    keyed,
    number,
    rows,
    table,
    text,
    texts,
)


def scenario_schema() -> Schema:
    return table(
        {
            "name": text("What customers may rely on, in a sentence."),
            "at": instant("When the question is asked. Default: 2026-01-01T00:00:00Z."),
            "app": text("The app that asks. Default: every app that sees the feature."),
            "given": rows({"anyOf": [_subscription(), _purchase(), _grant()]}, "What the user has."),
            "expect": keyed(_EXPECTED, "By feature: the answer."),
        },
        required=("name", "expect"),
    )


def _subscription() -> Schema:
    return table(
        {
            "subscription": text("Key of the plan."),
            "price": text("Key of its price. Default: the first recurring one."),
            "status": choice("Stripe's. Default: active.", *STATUSES),
            "quantity": number("Default: 1."),
            "created_at": instant('Default: "-30d".'),
            "period_end": instant('Default: "+30d".'),
            "trial_end": instant(""),
            "cancel_at": instant(""),
            "cancel_at_period_end": flag("Default: false."),
            "ended_at": instant(""),
            "pause_behavior": choice("How collection is paused.", *PAUSES),
            "pause_cause": text("For status paused."),
            "first_failure_at": instant("When the present failures began: grace counts from it."),
            "is_failing_after_trial": flag("The failing invoice is the first after a trial. Default: false."),
            "is_paid_for": flag("Its price is on a paid invoice; else there is no grace. Default: true."),
            "paid_through": instant("End of what is paid."),
            "disputes": {**texts("Statuses, of its latest paid invoice."), "items": _DISPUTE},
        },
        required=("subscription",),
    )


def _purchase() -> Schema:
    refund = table(
        {
            "amount": number("Minor units. Default: all of it."),
            "status": choice("Stripe's. Default: succeeded.", *REFUNDS),
        }
    )
    return table(
        {
            "purchase": text("Key of the plan."),
            "price": text("Key of its one-time price; needed where it has several."),
            "quantity": number("Default: 1."),
            "paid_at": instant('Default: "-1d".'),
            "captured": number("Minor units. Default: the price's amount."),
            "refunds": rows(refund, "Money given back."),
            "disputes": {**texts("Statuses."), "items": _DISPUTE},
        },
        required=("purchase",),
    )


def _grant() -> Schema:
    targets: Schema = {kind: text(f"Key of the {kind} it is about.") for kind in TARGETS}
    return table(
        {
            "grant": choice("Its effect.", *EFFECTS),
            **targets,
            "value": {"description": "What it gives of a feature. Default: all there is.", **VALUE},
            "starts_at": instant('Default: "-1d".'),
            "expires_at": instant(""),
            "revoked_at": instant(""),
        },
        required=("grant",),
    )


_DISPUTE: Schema = {"anyOf": [{"enum": [*DISPUTES]}, {"type": "string", "pattern": "^appeal_"}]}
_EXPECTED: Schema = {
    "anyOf": [
        *VALUE["anyOf"],
        table(
            {
                "granted": flag("Whether there is access."),
                "value": {"description": "The value, as a plan would grant it.", **VALUE},
                "reason": choice("Why.", *(reason.value for reason in Reason)),
                "ends_at": instant('When this access ends if nothing changes, or "never".'),
            }
        ),
    ]
}
