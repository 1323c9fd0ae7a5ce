"""The nouns of Tollhouse that more than one room touches. Words: docs/architecture.md, "Words".

Everything is frozen; times are aware UTC; money is integer minor units with its ISO currency.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType

# ── facts: what can give access, as read from Stripe and from our grants; never pre-judged ──────────


class SubscriptionItem(Struct, frozen=True, kw_only=True):
    item_id: str
    price_id: str
    product_id: str
    #: The catalog's key and revision of this price where `prices` knows it; None: made in the dashboard.
    price_key: str | None = None
    revision: int | None = None
    #: None for metered prices: counts as 1.
    quantity: int | None = 1
    period_start: datetime
    period_end: datetime
    #: Whether this price is on a paid invoice of the subscription (0-amount trial invoices count).
    is_paid_for: bool = False


class Dispute(Struct, frozen=True, kw_only=True):
    dispute_id: str
    #: Stripe's value: warning_*, needs_response, under_review, won, lost, prevented, appeal_*.
    status: str
    amount_minor: int
    #: For a subscription's invoice: whether that invoice is its latest paid one with an amount.
    is_latest_paid_invoice: bool = True


class Refund(Struct, frozen=True, kw_only=True):
    refund_id: str
    #: Stripe's value; `succeeded` and `pending` count.
    status: str
    amount_minor: int


class Subscription(Struct, frozen=True, kw_only=True):
    subscription_id: str
    #: Stripe's value, any string: an unknown one is judged by `last_known_status`.
    status: str
    created_at: datetime
    items: tuple[SubscriptionItem, ...]
    trial_end: datetime | None = None
    cancel_at: datetime | None = None
    cancel_at_period_end: bool = False
    ended_at: datetime | None = None
    #: `keep_as_draft`, `mark_uncollectible`, `void` or None (collection is not paused).
    pause_behavior: str | None = None
    #: For status `paused`: Stripe's cause (`first_payment_failure`, `final_payment_failure`, …) or None.
    pause_cause: str | None = None
    #: Start of the present failure streak, from its oldest open invoice; None: no invoice is known.
    first_failure_at: datetime | None = None
    #: Whether that streak began with the first invoice after a trial.
    is_failing_after_trial: bool = False
    #: Largest line period end over its paid invoices; None: no paid invoice is known.
    paid_through: datetime | None = None
    #: For a status we do not know: the last one we knew, and when the unknown one was first seen.
    last_known_status: str | None = None
    unknown_since: datetime | None = None
    disputes: tuple[Dispute, ...] = ()


class Purchase(Struct, frozen=True, kw_only=True):
    """One paid one-time line. Unpaid ones are no purchases and are not in `Facts`."""

    #: `{session or invoice id}/{line id}`: stable, one per line.
    purchase_id: str
    #: The session or invoice it stands on, as answers show it.
    object_id: str
    price_id: str
    product_id: str
    price_key: str | None = None
    revision: int | None = None
    quantity: int = 1
    paid_at: datetime
    #: What was captured of the payment, minor units; 0 for a free purchase.
    captured_minor: int = 0
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()


GrantEffect = Literal["allow", "add", "override", "deny"]
GrantTarget = Literal["feature", "plan", "app", "project"]
FeatureValue = bool | int | str | list[str] | None


class Grant(Struct, frozen=True, kw_only=True):
    grant_id: str
    effect: GrantEffect
    target_kind: GrantTarget
    #: Key of the feature, plan, app or project.
    target: str
    #: None: what the target gives by itself (true, a plan's own grants); for an integer, None is unlimited.
    value: FeatureValue = None
    created_at: datetime
    starts_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class Facts(Struct, frozen=True, kw_only=True):
    subscriptions: tuple[Subscription, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    grants: tuple[Grant, ...] = ()


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


class Reason(StrEnum):
    """Why. The granted ones first, then the refusals in the order in which the first that applies is said."""

    SUBSCRIPTION_ACTIVE = "subscription_active"
    SUBSCRIPTION_TRIALING = "subscription_trialing"
    IN_GRACE = "in_grace"
    PURCHASE = "purchase"
    GRANT = "grant"
    OVERRIDE = "override"
    CATALOG_DEFAULT = "catalog_default"

    DENIED = "denied"
    DISPUTED = "disputed"
    PAYMENT_UNPAID = "payment_unpaid"
    PAYMENT_PAST_DUE = "payment_past_due"
    SUBSCRIPTION_PAUSED = "subscription_paused"
    SUBSCRIPTION_INCOMPLETE = "subscription_incomplete"
    STATUS_UNKNOWN = "status_unknown"
    PRICE_UNMAPPED = "price_unmapped"
    REFUNDED = "refunded"
    PURCHASE_EXPIRED = "purchase_expired"
    REVOKED = "revoked"
    GRANT_EXPIRED = "grant_expired"
    SUBSCRIPTION_CANCELED = "subscription_canceled"
    NOT_STARTED = "not_started"
    NOT_IN_PLAN = "not_in_plan"
    NO_SUBSCRIPTION = "no_subscription"


class SourceRef(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A source as an answer names it. Ids are Stripe's, or `gr_…` for a grant."""

    kind: Literal["subscription", "purchase", "grant"]
    id: str
    plan: str | None = None
    price: str | None = None
    revision: int | None = None
    effect: GrantEffect | None = None


class Entitlement(Struct, frozen=True, kw_only=True):
    """The answer for one feature at one instant."""

    granted: bool
    type: Literal["boolean", "integer", "enum", "set"]
    #: Not granted: false / 0 / null / []. None for an integer also where `unlimited`.
    value: FeatureValue
    #: Integers only.
    unlimited: bool | UnsetType = UNSET
    reason: Reason
    #: When this access ends if nothing changes; None: no end is known.
    ends_at: datetime | None = None
    flags: tuple[str, ...] | UnsetType = UNSET
    #: Plans of the catalog that would grant it; only with `not_in_plan` and `no_subscription`.
    available_in: tuple[str, ...] | UnsetType = UNSET
    sources: tuple[SourceRef, ...] = ()


#: All features visible to one app, by key, sorted: its JSON is deterministic to the byte.
EntitlementSet = dict[str, Entitlement]


class Segment(Struct, frozen=True, kw_only=True):
    """The answer on the half-open interval `[begins_at, ends_at)`; `ends_at` None: no end is known."""

    begins_at: datetime
    ends_at: datetime | None
    entitlements: EntitlementSet


Timeline = tuple[Segment, ...]


# ── the inbox and its targets (docs/event-path.md) ─────────────────────────────────────────────────


class EventState(StrEnum):
    PENDING = "pending"
    PROCESSED = "processed"
    IGNORED = "ignored"
    FOREIGN = "foreign"
    FAILED = "failed"


class Owner(StrEnum):
    UNKNOWN = "unknown"
    OURS = "ours"
    FOREIGN = "foreign"


class TargetRef(Struct, frozen=True, order=True):
    """What is synced as one: a customer, or an object whose customer is not known yet."""

    kind: str
    stripe_id: str


class NewEvent(Struct, frozen=True, kw_only=True):
    """An event as the inbox takes it: `pending` always has an object and a target, the others no target."""

    event_id: str
    source: str
    type: str
    state: EventState
    reason: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    target: TargetRef | None = None
    api_version: str | None = None
    #: When Stripe made it, whole seconds; None for internal events.
    created_at: datetime | None = None
    request_id: str | None = None
    #: Compressed JSON (zlib); None for internal events without one.
    payload: bytes | None = None


class PendingEvent(Struct, frozen=True, kw_only=True):
    event_id: str
    source: str
    type: str
    object_kind: str
    object_id: str
    tries: int
    received_at: datetime
    request_id: str | None
    payload: bytes | None


class Claim(Struct, frozen=True, kw_only=True):
    """A lease on a target: the right to commit for it while `token` is still in its row."""

    target_id: int
    target: TargetRef
    token: str
    owner: Owner
    #: The target's `dirty_seq` when it was claimed: what this run may settle at most.
    claimed_seq: int
    claims: int
    failures: int
    #: Failures of any kind in a row.
    attempts: int


# ── Stripe customers ────────────────────────────────────────────────────────────────────────────────


class LinkedCustomer(Struct, frozen=True, kw_only=True):
    """A Stripe customer of a user, as the portal wants to know it."""

    customer_id: str
    is_primary: bool
    #: Stripe said so.
    is_deleted: bool
    #: Whether it has a subscription that has not ended.
    is_subscribed: bool
    #: Whether anything was ever billed to it.
    has_history: bool


# ── reconciliation ──────────────────────────────────────────────────────────────────────────────────


class Suspect(Struct, frozen=True, kw_only=True):
    """A difference that a pass has seen once; its `type` is a name in `domain.rules.drift.KINDS`."""

    type: str
    #: What a repair reads: the kind and id of Stripe's object; for a user's answers `app` and its key.
    object_kind: str
    object_id: str
    #: None: of nobody known.
    customer_id: str | None = None
    project: str | None = None
    user_key: int | None = None
    #: What differs, for a human; no personal data.
    found: str


class Counts(Struct, frozen=True, kw_only=True):
    """What a run of the reconciler has done so far."""

    #: Calls to Stripe.
    reads: int = 0
    #: Objects and users compared.
    compared: int = 0
    #: Of those: left alone, because events of theirs wait.
    pending: int = 0
    #: Objects of others on the account.
    foreign: int = 0
    #: Named at the first look.
    suspected: int = 0
    #: Still there at the second.
    drifts: int = 0
    #: Have a repair under way.
    repaired: int = 0


# ── stored answers ──────────────────────────────────────────────────────────────────────────────────


class StoredSegment(Struct, frozen=True, kw_only=True):
    """One segment of a stored timeline; `entitlements` are the bytes of its `EntitlementSet`."""

    begins_at: datetime
    ends_at: datetime | None
    entitlements: Raw


class StoredSet(Struct, frozen=True, kw_only=True):
    """The stored answers of one user and app: segment i has version `first_version + i`.

    A catalog's defaults for users we do not know are a `StoredSet` too, with `user_key` and
    `first_version` 0 and one endless segment.
    """

    project: str
    app: str
    user_key: int
    first_version: int
    last_version: int
    catalog_version: int
    computed_at: datetime
    #: Frozen time of the customer's Stripe test clock; None: real time.
    clock_at: datetime | None = None
    segments: tuple[StoredSegment, ...]


class CachedSet(Struct, frozen=True, kw_only=True):
    """A `StoredSet` as caches hold it. The user's id is not in it: the key is a hash, the reader knows it."""

    stored: StoredSet
    #: Unix seconds, taken before the bytes left Postgres (a writer: before COMMIT); copying never renews it.
    read_at: float
