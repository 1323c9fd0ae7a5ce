"""The rules once more, slow and obvious: what the state machine holds `compute` against.

Written from the sentences of docs/entitlements.md and not from domain/rules, of which it uses nothing but
the catalog's data. There are no lives and no spans here: each question is asked anew for one feature at one
instant, by looking at every source. Whoever changes a rule changes it here too, from the sentence.
"""

from datetime import datetime
from functools import cached_property
from typing import Any

from msgspec import UNSET, Struct

from domain.model import (
    Entitlement,
    EntitlementSet,
    Facts,
    Grant,
    Purchase,
    Reason,
    SourceRef,
    Subscription,
    SubscriptionItem,
)
from domain.rules.catalog import Catalog, Plan
from tests.unit.rules.oracle_sources import (
    REFUSALS,
    State,
    first_of,
    given_back,
    grant_state,
    is_inquiry,
    plan_of,
    purchase_state,
    sold_plan,
    subscription_state,
)
from tests.unit.rules.oracle_values import UNLIMITED, Given, plain

NOTHING: dict[str, Any] = {"boolean": False, "integer": 0, "enum": None, "set": []}
MISSING_MONEY = {"disputed", "payment_unpaid", "payment_past_due", "subscription_paused", "status_unknown"}


class Voice(Struct):
    """What one source says about one feature at one instant."""

    age: tuple[datetime, str, str]
    ref: SourceRef
    state: State
    #: What it gives or would give: a value, UNLIMITED, or nothing.
    value: Any
    plan: Plan | None
    is_unmapped: bool
    quantity: int
    flags: tuple[str, ...]


def expected(facts: Facts, catalog: Catalog, app: str, at: datetime) -> EntitlementSet:
    """What `compute` has to answer."""
    asked = [feature for key, feature in sorted(catalog.features.items()) if app in feature.apps]
    return {
        feature.key: Question(facts=facts, catalog=catalog, app=app, at=at, feature=feature).answer()
        for feature in asked
    }


class Question(Given):
    """One feature of one app at one instant."""

    facts: Facts
    at: datetime

    def answer(self) -> Entitlement:
        """Order: deny > override > sources, allow and add > the catalog's default > absent."""
        denies = self.live_grants("deny", self.at)
        if denies:
            return self.no(Reason.DENIED, denies)
        overrides = self.live_grants("override", self.at)
        if overrides:
            value = self.allowed(overrides[0])
            return (
                self.no(Reason.DENIED, overrides[:1]) if not value else self.by_override(overrides[0], value)
            )
        return self.merged() or self.defaulted() or self.refused()

    # ── granted ──

    def by_override(self, grant: Grant, value: Any) -> Entitlement:
        return self.yes(
            value,
            Reason.OVERRIDE,
            self.until_taken(first_of(grant.expires_at, grant.revoked_at)),
            [],
            [ref_of(grant)],
        )

    def merged(self) -> Entitlement | None:
        giving = [voice for voice in self.voices if self.counts(voice) and voice.value]
        adds = [grant for grant in self.live_grants("add", self.at) if self.added(grant)]
        value, winners = self.merge(giving)
        if not giving:
            default = self.default()
            value = default if isinstance(default, int) or default == UNLIMITED else 0
        if value == UNLIMITED:
            adds = []
        if not winners and not adds:
            return None
        for grant in adds:
            value += self.added(grant)
        if self.feature.type == "integer" and value != UNLIMITED:
            value = min(value, 2**53 - 1)
        ends = [self.end_of(voice) for voice in winners] + [
            first_of(grant.expires_at, grant.revoked_at) for grant in adds
        ]
        reason = winners[0].state.reason if winners else Reason.GRANT
        flags = [flag for voice in winners for flag in voice.flags]
        refs = [voice.ref for voice in winners] + [ref_of(grant) for grant in adds]
        assert reason is not None
        return self.yes(value, reason, self.until_taken(last_of(ends)), flags, refs)

    def merge(self, giving: list[Voice]) -> tuple[Any, list[Voice]]:
        """The merged value and the sources that made it, older first."""
        if not giving:
            return None, []
        values = [voice.value for voice in giving]
        if self.feature.type == "boolean":
            return True, giving
        if self.feature.type == "set":
            return sorted({text for texts in values for text in texts}), giving
        if self.feature.type == "enum":
            best = max(values, key=self.feature.values.index)
            return best, [voice for voice in giving if voice.value == best]
        if UNLIMITED in values:
            return UNLIMITED, [voice for voice in giving if voice.value == UNLIMITED]
        summed = [voice for voice in giving if self.is_summed(voice)]
        compared = [voice for voice in giving if not self.is_summed(voice)]
        best = max([voice.value for voice in compared], default=0)
        winners = [voice for voice in giving if voice in summed or voice.value == best]
        return best + sum(voice.value for voice in summed), winners

    def is_summed(self, voice: Voice) -> bool:
        if self.feature.merge is None:
            return voice.plan is not None and voice.plan.kind == "addon"
        return self.feature.merge == "sum"

    def default(self) -> Any:
        return None if self.feature.default is None else plain(self.feature.default.value)

    def defaulted(self) -> Entitlement | None:
        default = self.default()
        return self.yes(default, Reason.CATALOG_DEFAULT, self.until_taken(None), [], []) if default else None

    def until_taken(self, ends_at: datetime | None) -> datetime | None:
        """The end, or the instant before it at which a known deny or override takes the feature away."""
        starts = [
            one
            for grant in self.facts.grants
            for one in (grant.starts_at, grant.expires_at, grant.revoked_at)
        ]
        taken = [start for start in starts if start is not None and start > self.at and self.is_taken(start)]
        return first_of(ends_at, min(taken, default=None))

    def is_taken(self, at: datetime) -> bool:
        overrides = self.live_grants("override", at)
        return bool(self.live_grants("deny", at)) or (bool(overrides) and not self.allowed(overrides[0]))

    # ── refused ──

    def refused(self) -> Entitlement:
        """The first reason that applies; within one, the newest source."""
        speaking = [
            voice
            for voice in self.voices
            if voice.state.refusal is not None and (voice.value or voice.is_unmapped)
        ]
        for reason in REFUSALS:
            of_reason = [voice for voice in speaking if voice.state.refusal is reason]
            if of_reason:
                return self.no_by(reason, (max(of_reason, key=lambda voice: voice.age).ref,))
        has_plan = any(self.holds(voice) for voice in self.voices)
        ranked = sorted(self.catalog.plans.values(), key=lambda plan: (plan.rank, plan.key))
        answer = self.no_by(Reason.NOT_IN_PLAN if has_plan else Reason.NO_SUBSCRIPTION, ())
        fields = {name: getattr(answer, name) for name in answer.__struct_fields__}
        offered = [plan.key for plan in ranked if self.of_plan(plan, 1, None)]
        return Entitlement(**{**fields, "available_in": tuple(offered)})

    def holds(self, voice: Voice) -> bool:
        """A plan is held also while a payment for it is missing."""
        return voice.plan is not None and (
            voice.state.refusal is None or voice.state.refusal in MISSING_MONEY
        )

    def no(self, reason: Reason, grants: list[Grant]) -> Entitlement:
        return self.no_by(reason, tuple(ref_of(grant) for grant in grants))

    def no_by(self, reason: Reason, refs: tuple[SourceRef, ...]) -> Entitlement:
        return Entitlement(
            granted=False,
            type=self.feature.type,
            value=NOTHING[self.feature.type],
            unlimited=False if self.feature.type == "integer" else UNSET,
            reason=reason,
            sources=refs,
        )

    def yes(
        self, value: Any, reason: Reason, ends_at: datetime | None, flags: list[str], refs: list[SourceRef]
    ) -> Entitlement:
        return Entitlement(
            granted=True,
            type=self.feature.type,
            value=None if value == UNLIMITED else value,
            unlimited=value == UNLIMITED if self.feature.type == "integer" else UNSET,
            reason=reason,
            ends_at=ends_at,
            flags=tuple(sorted(set(flags))) or UNSET,
            sources=tuple(refs),
        )

    # ── every source that can give, older first ──

    @cached_property
    def voices(self) -> list[Voice]:
        found = [self.of_item(sub, item) for sub in self.facts.subscriptions for item in sub.items]
        found += [self.of_purchase(purchase) for purchase in self.facts.purchases]
        found += [self.of_grant(grant) for grant in self.facts.grants if grant.effect != "deny"]
        return sorted(found, key=lambda voice: voice.age)

    def live_grants(self, effect: str, at: datetime) -> list[Grant]:
        """Those that concern this feature, older first, then by id."""
        live = [
            grant
            for grant in self.facts.grants
            if grant.effect == effect and grant_state(grant, at).refusal is None and self.concerns(grant)
        ]
        return sorted(live, key=lambda grant: (grant.created_at, grant.grant_id))

    def counts(self, voice: Voice) -> bool:
        """It gives access, and so does the plan that its own requires; add and override count elsewhere."""
        if voice.state.refusal is not None or voice.ref.effect in {"add", "override"}:
            return False
        return self.requirement(voice) is None or bool(self.required(voice))

    def end_of(self, voice: Voice) -> datetime | None:
        if self.requirement(voice) is None:
            return voice.state.ends_at
        return first_of(voice.state.ends_at, last_of([base.state.ends_at for base in self.required(voice)]))

    def requirement(self, voice: Voice) -> str | None:
        return None if voice.plan is None else voice.plan.requires

    def required(self, voice: Voice) -> list[Voice]:
        wanted = self.requirement(voice)
        return [
            base
            for base in self.voices
            if base.plan is not None
            and base.plan.key == wanted
            and base.quantity > 0
            and base.state.refusal is None
        ]

    def of_item(self, subscription: Subscription, item: SubscriptionItem) -> Voice:
        plan = plan_of(self.catalog, item.price_id, item.product_id)
        quantity = 1 if item.quantity is None else item.quantity
        counted = [
            dispute
            for dispute in subscription.disputes
            if dispute.is_latest_paid_invoice or self.catalog.policy.dispute == "any_invoice"
        ]
        return Voice(
            age=(subscription.created_at, subscription.subscription_id, item.item_id),
            ref=SourceRef(
                kind="subscription",
                id=subscription.subscription_id,
                plan=None if plan is None else plan.key,
                price=item.price_key,
                revision=item.revision,
            ),
            state=subscription_state(subscription, item, plan, self.catalog, self.at),
            value=self.of_plan(plan, quantity, subscription.created_at),
            plan=plan,
            is_unmapped=plan is None,
            quantity=quantity,
            flags=("dispute_inquiry",) if any(is_inquiry(dispute) for dispute in counted) else (),
        )

    def of_purchase(self, purchase: Purchase) -> Voice:
        plan = sold_plan(purchase, self.catalog)
        flags = ["dispute_inquiry"] if any(is_inquiry(dispute) for dispute in purchase.disputes) else []
        if 0 < given_back(purchase) < purchase.captured_minor:
            flags.append("partially_refunded")
        return Voice(
            age=(purchase.paid_at, purchase.object_id, purchase.purchase_id),
            ref=SourceRef(
                kind="purchase",
                id=purchase.object_id,
                plan=None if plan is None else plan.key,
                price=purchase.price_key,
                revision=purchase.revision,
            ),
            state=purchase_state(purchase, self.facts.purchases, self.catalog, self.at),
            value=self.of_plan(plan, purchase.quantity, purchase.paid_at),
            plan=plan,
            is_unmapped=plan is None,
            quantity=purchase.quantity,
            flags=tuple(flags),
        )

    def of_grant(self, grant: Grant) -> Voice:
        ref = ref_of(grant)
        is_plan = grant.effect == "allow" and grant.target_kind == "plan"
        plan = self.catalog.plans.get(grant.target) if is_plan else None
        return Voice(
            age=(grant.created_at, grant.grant_id, ""),
            ref=SourceRef(
                kind="grant", id=ref.id, effect=ref.effect, plan=None if plan is None else plan.key
            ),
            state=grant_state(grant, self.at),
            value=self.added(grant) if grant.effect == "add" else self.allowed(grant),
            plan=plan,
            is_unmapped=False,
            quantity=1,
            flags=(),
        )


# ── small words ─────────────────────────────────────────────────────────────────────────────────────


def ref_of(grant: Grant) -> SourceRef:
    return SourceRef(kind="grant", id=grant.grant_id, effect=grant.effect)


def last_of(ends: list[datetime | None]) -> datetime | None:
    """None: one of them has no end."""
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) and known else None
