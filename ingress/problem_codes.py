"""Every `code` a problem can have: what it means, and what to do. A test compares it with the source.

`docs/api.md` shows the same table; `python -m ingress.write_documents` writes it there.
"""

from msgspec import Struct


class Code(Struct, frozen=True):
    #: The HTTP status it always comes with; None: a terminal's only.
    status: int | None
    meaning: str
    then: str


_LATER = "send the same request after `Retry-After`"
_NEAREST = "the detail names the nearest; check the spelling and the key's project"
_TERMINAL = "follow the message"

CODES: dict[str, Code] = {
    "bad_request": Code(400, "the request cannot be understood", "read the detail"),
    "unknown_host": Code(421, "the request is for another host", "look at `TOLLHOUSE_ALLOWED_HOSTS`"),
    "bad_body": Code(400, "the webhook's body is no event", "Stripe sends none like it: look at who did"),
    "bad_signature": Code(
        400, "the webhook's signature is missing, old or wrong", "compare the endpoint's secret with ours"
    ),
    "malformed_http": Code(400, "what came is no HTTP/1.1 request", "look at the client or the proxy"),
    "malformed_json": Code(400, "the body is no valid JSON", "send JSON in UTF-8"),
    "unauthorized": Code(
        401, "no key, or none that is valid", "send a key that is neither ended nor revoked"
    ),
    "wrong_mode": Code(401, "a live key at a test deployment, or the other way", "take a key of this mode"),
    "forbidden": Code(403, "the key may not do this", "take another key"),
    "missing_scope": Code(403, "the key lacks the scope that the detail names", "make a key that has it"),
    "scope_not_yours": Code(
        403, "a key may not give a scope that it lacks", "ask with a key that has the scope"
    ),
    "wrong_app": Code(403, "the key is another app's", "take the key of this app, or leave `app` out"),
    "wrong_kind": Code(403, "an app's key cannot do this", "take a key of the project or of an operator"),
    "wrong_project": Code(403, "the key is another project's", "take a key of this project"),
    "not_found": Code(404, "nothing is at this path", "compare the path with this document"),
    "not_found_anywhere": Code(404, "nothing is named so", "the detail says where was looked"),
    "unknown_app": Code(404, "the project's catalog has no such app", _NEAREST),
    "unknown_checkout": Code(404, "the app has opened no such checkout", "compare the id"),
    "unknown_customer": Code(404, "Stripe or we know no such customer", "compare the id"),
    "unknown_dead": Code(404, "nothing of this name gave up, or it went on since", "list what gave up"),
    "unknown_event": Code(404, "there is no such event", "`tollhouse events list` shows which there are"),
    "unknown_feature": Code(404, "the app has or sees no such feature", _NEAREST),
    "unknown_grant": Code(404, "the project has no such grant", "list its grants"),
    "unknown_job": Code(404, "schedulers have no such job", "the detail lists them"),
    "unknown_key": Code(404, "there is no such key", "list the keys"),
    "unknown_run": Code(404, "there is no such reconciliation", "list the runs"),
    "unknown_project": Code(404, "no catalog of this project was applied", _NEAREST),
    "unknown_user": Code(404, "the project knows no such user", "check the user's id"),
    "method_not_allowed": Code(405, "the path takes other methods", "`Allow` lists them"),
    "request_timeout": Code(408, "the request did not arrive whole in time", "send it again, all at once"),
    "change_in_progress": Code(409, "another call is changing what this one would change", _LATER),
    "conflict": Code(409, "the state of what is named forbids it", "read the detail"),
    "currency_mismatch": Code(409, "the customer pays in another currency", "offer prices in that one"),
    "customer_deleted": Code(409, "Stripe has deleted the user's customer", "a checkout makes a new one"),
    "customer_taken": Code(409, "the customer is another user's", "look whose it is before taking it"),
    "idempotency_in_flight": Code(409, "the same call is under way", _LATER),
    "job_not_timed": Code(
        409, "every scheduler does this job all the time", "stop the schedulers if nothing may move"
    ),
    "job_not_paused": Code(409, "the job runs", "nothing is to be done"),
    "job_paused": Code(409, "somebody has paused the job already", "the detail says who, and why"),
    "import_pending": Code(
        409,
        "customers of an older system are still to come, and the user has none",
        "an operator imports them",
    ),
    "import_running": Code(None, "an import of the project is not at its end", _TERMINAL),
    "lines_invalid": Code(None, "lines of an import's file cannot be", _TERMINAL),
    "key_ended": Code(409, "the key is over already", "make a new one"),
    "reconciliation_running": Code(409, "one pass at a time, and one is running", "wait for its end"),
    "reconciliation_ended": Code(
        409, "the pass has ended by itself", "nothing is to be given up: look at it"
    ),
    "not_dead": Code(409, "it went on during the call: nothing was done", "look again"),
    "change_scheduled": Code(
        409, "a change waits for the end of the period", "change, cancel or resume the subscription here"
    ),
    "multiple_items": Code(
        409, "Stripe's portal changes no subscription of several items", "`POST /api/v1/subscription/change`"
    ),
    "no_billing_history": Code(409, "the user has never bought anything", "open a checkout first"),
    "no_customer": Code(409, "the user has no customer at Stripe", "open a checkout first"),
    "no_subscription": Code(404, "the user has no such subscription that runs", "open a checkout"),
    "no_switch_plans": Code(409, "the portal offers no plan to switch to", "the catalog's `[portal]` says"),
    "nothing_to_change": Code(409, "there is nothing for this page to do", "read the detail"),
    "portal_not_configured": Code(409, "Stripe's portal is not configured", "read the detail"),
    "price_not_in_stripe": Code(
        409, "the catalog has the price and Stripe does not", "run `tollhouse catalog apply`"
    ),
    "items_unmapped": Code(
        409, "the subscription has prices that the catalog does not know", "an operator changes it in Stripe"
    ),
    "payment_failed": Code(
        409, "the customer's payment was declined: nothing was changed", "another payment method first"
    ),
    "payment_method_missing": Code(
        409, "the customer has no payment method", "let them add one in the portal"
    ),
    "payment_past_due": Code(
        409, "a payment of the subscription is missing", "let the customer pay: the detail says where"
    ),
    "schedule_not_ours": Code(
        409, "somebody has planned the subscription's phases in Stripe", "an operator releases that schedule"
    ),
    "subscription_ended": Code(409, "the subscription has ended for good", "open a checkout"),
    "subscription_incomplete": Code(
        409, "the subscription's first payment is missing", "let the customer pay, or cancel it now"
    ),
    "subscription_paused": Code(409, "the subscription is paused", "the detail says how it goes on"),
    "set_to_cancel": Code(409, "the subscription is set to end", "resume it first"),
    "subscription_exists": Code(
        409, "the user has a subscription of this group", "send the call in `instead`: it changes that one"
    ),
    "too_many_keys": Code(409, "the app has two live keys", "revoke one, or let one end"),
    "stripe_refused": Code(422, "Stripe refuses what was sent", "`errors` names Stripe's parameter"),
    "already_bought": Code(
        409,
        "the user has bought the plan for a lifetime",
        "leave it out; after a full refund it can be sold again",
    ),
    "trial_used": Code(
        409, "the user had the trial: of the group, or of a plan that is in none", "ask without `trial_days`"
    ),
    "cursor_expired": Code(
        410, "changes after it are deleted", "take one with `cursor=now`, then read every user again"
    ),
    "expired": Code(410, "what is named is deleted for good", "read the detail"),
    "subscriptions_doubled": Code(
        409,
        "one user would have two live subscriptions, or open pages, of a group",
        "end one in Stripe first",
    ),
    "user_exists": Code(409, "the new id is a user's who has something", "merge the two instead"),
    "user_moved": Code(
        409, "what the id had is another user's since a rename or merge", "name that user: the detail does"
    ),
    "user_erased": Code(409, "the user was erased", "give the person a new user id"),
    "user_subscribed": Code(
        409,
        "the user has a running subscription, or a checkout page that can be paid",
        "end it in Stripe first",
    ),
    "body_too_large": Code(413, "the body is over the limit of the path", "send less at once"),
    "unsupported_media_type": Code(
        415, "the body is not declared as plain JSON", "send `Content-Type: application/json`, not encoded"
    ),
    "checkout_invalid": Code(422, "this checkout cannot be opened", "`errors` names every place"),
    "grant_invalid": Code(422, "this cannot be granted", "`errors` names every place"),
    "idempotency_key_reused": Code(
        422, "the `Idempotency-Key` stands for another call", "take a new key for a new call"
    ),
    "invalid": Code(422, "parameters, headers or body are not what the path takes", "`errors` names them"),
    "items_invalid": Code(422, "these items cannot be bought together", "`errors` names every place"),
    "key_invalid": Code(422, "this key cannot be", "read the detail"),
    "portal_invalid": Code(422, "this portal page cannot be opened", "`errors` names every place"),
    "reason_invalid": Code(422, "the reason is empty or too long", "say why, in a sentence"),
    "revocation_invalid": Code(422, "this cannot be revoked", "`errors` names every place"),
    "rate_limited": Code(429, "the key asks more often than it may", _LATER),
    "too_many_failed_logins": Code(429, "too many wrong keys from this address", _LATER),
    "head_too_large": Code(431, "the request line and headers are over the limit", "send less of them"),
    "internal_error": Code(500, "our fault", "tell us the `request_id`; the log says what"),
    "object_missing": Code(500, "Stripe does not know what it named before", "tell us the `request_id`"),
    "cache_away": Code(503, "Redis is away", _LATER),
    "database_away": Code(503, "Postgres is away", _LATER),
    "deadline_exceeded": Code(503, "body or answer was not there within 10 s; the detail says which", _LATER),
    "objects_vanish": Code(503, "Stripe denies too many objects it had", "an operator must look"),
    "schema_behind": Code(503, "the database is older than this release", "run `tollhouse migrate`"),
    "stripe_budget_exhausted": Code(503, "too much is being read from Stripe", _LATER),
    "stripe_key_refused": Code(503, "Stripe refuses our key", "an operator must look"),
    "stripe_rate_limited": Code(503, "Stripe has no time for us", _LATER),
    "unavailable": Code(503, "something this service depends on is away", _LATER),
    "catalog_invalid": Code(None, "the catalog file says something that cannot be", _TERMINAL),
    "not_confirmed": Code(None, "it changes Stripe in live mode, and nobody confirmed that", _TERMINAL),
    "live_key_in_test": Code(None, "a live Stripe key in an environment for tests", _TERMINAL),
    "endpoint_not_ready": Code(None, "the webhook endpoint that is to stay is not right yet", _TERMINAL),
    "events_owed": Code(None, "Stripe has events that an endpoint has not taken yet", _TERMINAL),
    "stripe_in_the_way": Code(None, "something at Stripe is in the way of the catalog", _TERMINAL),
    "settings_invalid": Code(None, "the environment lacks something or says something wrong", _TERMINAL),
    "wrong_deployment": Code(None, "the Stripe key is another account's or mode's", _TERMINAL),
}


def list_codes() -> str:
    """The table of codes, in Markdown."""
    rows = [
        f"| {code.status or ''} | `{name}` | {code.meaning} | {code.then} |"
        for name, code in sorted(CODES.items(), key=lambda item: (item[1].status or 999, item[0]))
    ]
    return "\n".join(("| status | code | means | then |", "|---|---|---|---|", *rows))
