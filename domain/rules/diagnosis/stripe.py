"""What a Stripe key, its account and the signing secrets must be like."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from domain.model import Suspect
from domain.rules.diagnosis.nouns import Check, fail, ok, warn
from domain.rules.drift import KINDS

STRIPE = "https://api.stripe.com"
#: A real secret is `whsec_` and 32 letters more.
SHORTEST_SECRET = len("whsec_") + 24


class Right(Struct, frozen=True):
    """Something a key must be allowed to read."""

    #: A list of at most one row is asked for: that has no effect.
    path: str
    #: As the dashboard names it where restricted keys are made.
    permission: str
    #: Who cannot work without it. Every other process can.
    needed_by: Literal["worker", "scheduler", "api"]


RIGHTS = (
    Right("/v1/customers", "Customers", "worker"),
    Right("/v1/checkout/sessions", "Checkout Sessions", "worker"),
    Right("/v1/subscriptions", "Subscriptions", "worker"),
    Right("/v1/subscription_schedules", "Subscription schedules", "worker"),
    Right("/v1/invoices", "Invoices", "worker"),
    Right("/v1/invoice_payments", "Invoices (payments)", "worker"),
    Right("/v1/payment_intents", "PaymentIntents", "worker"),
    Right("/v1/charges", "Charges and Refunds", "worker"),
    Right("/v1/refunds", "Charges and Refunds (refunds)", "worker"),
    Right("/v1/disputes", "Disputes", "worker"),
    Right("/v1/products", "Products", "worker"),
    Right("/v1/prices", "Prices", "worker"),
    Right("/v1/events", "Events", "scheduler"),
    Right("/v1/webhook_endpoints", "Webhook Endpoints", "scheduler"),
    Right("/v1/promotion_codes", "Promotion Codes", "api"),
    Right("/v1/billing_portal/configurations", "Customer portal", "api"),
)

WHOSE = "correct TOLLHOUSE_STRIPE_SECRET_KEY, TOLLHOUSE_ENV or TOLLHOUSE_DATABASE_URL"


def judge_account(
    *, account_id: str, mode: str, env: str, fixed: tuple[str, str, str] | None, is_testing: bool, base: str
) -> Check:
    """`fixed`: account, mode and environment that this database belongs to; None: not fixed, or not known.

    `is_testing`: the environment is one for tests; `base`: where the API is asked.
    """
    here = f"account {account_id}, {mode} mode, TOLLHOUSE_ENV {env}"
    if mode == "live" and is_testing:
        finding = f"{here}: a live key where tests run"
        return fail("stripe_account", finding, "use a test key, or name the environment that sells")
    if fixed is not None and fixed != (account_id, mode, env):
        whose = f"this database belongs to account {fixed[0]}, {fixed[1]} mode, TOLLHOUSE_ENV {fixed[2]}"
        return fail("stripe_account", f"{here}; {whose}", WHOSE)
    if base != STRIPE and not is_testing:
        finding = f"{here}, asked at {base}"
        return fail("stripe_account", finding, f"unset TOLLHOUSE_STRIPE_API_BASE: Stripe is at {STRIPE}")
    if mode == "test" and env in {"production", "prod", "live"}:
        finding = f"{here}: a test key where the name promises real money"
        return warn("stripe_account", finding, "use the live key, or another TOLLHOUSE_ENV")
    return ok("stripe_account", here if base == STRIPE else f"{here}, asked at {base}")


def judge_refused_key(detail: str, *, lacks_permission: bool) -> Check:
    if lacks_permission:
        grant = "allow the key to read its own account (GET /v1/account), or use another key"
        return fail("stripe_account", detail, grant)
    copy = (
        "copy the key anew from the Stripe dashboard, Developers, API keys, into TOLLHOUSE_STRIPE_SECRET_KEY"
    )
    return fail("stripe_account", detail, copy)


def judge_rights(refused: Sequence[Right]) -> Check:
    """`refused`: what the key may not read."""
    if not refused:
        finding = f"may read all {len(RIGHTS)} kinds of objects that are read; writes were not tried"
        return ok("stripe_key_rights", finding)
    named = ", ".join(dict.fromkeys(f"{right.permission} (GET {right.path})" for right in refused))
    finding = f"the key may not read {named}"
    allow = f"in the Stripe dashboard, edit the restricted key: Read for {_permissions(refused)}"
    if all(right.needed_by == "api" for right in refused):
        return warn("stripe_key_rights", f"{finding}: enough for workers, not for api", allow)
    return fail("stripe_key_rights", finding, allow)


def _permissions(refused: Sequence[Right]) -> str:
    return ", ".join(dict.fromkeys(right.permission.partition(" (")[0] for right in refused))


def judge_endpoints(suspects: Sequence[Suspect]) -> list[Check]:
    """One line per thing that a reconciliation would name, or one that says there is none."""
    if not suspects:
        finding = "an endpoint leads here, sends every type that is used, in the version that is read"
        return [ok("stripe_endpoint", finding)]
    return [_judge_endpoint(suspect) for suspect in suspects]


def _judge_endpoint(suspect: Suspect) -> Check:
    kind = KINDS[suspect.type]
    named = "" if suspect.type == "endpoint_missing" else f"{suspect.object_id}: "
    next_ = (kind.next or "").format(object=suspect.object_id)
    level = fail if kind.severity == "critical" else warn
    return level("stripe_endpoint", f"{named}{kind.says} ({suspect.found})", next_)


def judge_secrets(secrets: Sequence[tuple[str, datetime | None]], at: datetime) -> Check:
    """(secret, valid until) of each; which one is the endpoint's, Stripe does not tell again."""
    name, variable = "webhook_secret", "TOLLHOUSE_STRIPE_WEBHOOK_SECRETS"
    made_up = [secret for secret, _ in secrets if len(secret) < SHORTEST_SECRET or not secret.isascii()]
    if made_up:
        copy = f"copy the signing secret from the endpoint's page in Stripe into {variable}"
        return fail(
            name, f"{len(made_up)} of {len(secrets)} cannot be Stripe's: too short, or not ASCII", copy
        )
    valid = [until for _, until in secrets if until is None or until > at]
    if not valid:
        renew = f"put the endpoint's present secret into {variable}, without an @ or with a later one"
        return fail(name, f"all {len(secrets)} have ended: every delivery is refused", renew)
    if all(until is not None for until in valid):
        last = max(until for until in valid if until is not None)
        finding = f"every one has an end, the last {last.isoformat(timespec='seconds')}"
        return warn(name, finding, f"add the secret that follows to {variable}")
    return ok(name, f"{len(valid)} valid")
