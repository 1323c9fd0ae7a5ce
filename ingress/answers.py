"""The shapes of answers that are sent as bytes made elsewhere: `domain/rules/answer.py` writes them."""

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from domain.model import EntitlementSet, FeatureValue, Reason, SourceRef


class EntitlementsAnswer(Struct, frozen=True, kw_only=True):
    """What one user may use in one app."""

    project: str
    app: str
    user_id: str
    #: Only grows; equal versions are equal bytes. 0: nobody knows this user, these are the defaults.
    version: int
    #: When this version was computed; of a later segment, when it began.
    as_of: datetime
    #: The next instant at which the answer changes by itself; null: none is known.
    valid_until: datetime | None
    freshness: Literal["live", "stale"]
    #: Since when nobody could vouch for it; only where it is stale.
    stale_since: datetime | UnsetType = UNSET
    entitlements: EntitlementSet


class FeatureAnswer(Struct, frozen=True, kw_only=True):
    """One of them, flat."""

    project: str
    app: str
    user_id: str
    version: int
    as_of: datetime
    valid_until: datetime | None
    freshness: Literal["live", "stale"]
    stale_since: datetime | UnsetType = UNSET
    feature: str
    granted: bool
    type: Literal["boolean", "integer", "enum", "set"]
    value: FeatureValue
    unlimited: bool | UnsetType = UNSET
    reason: Reason
    ends_at: datetime | None
    flags: tuple[str, ...] | UnsetType = UNSET
    available_in: tuple[str, ...] | UnsetType = UNSET
    sources: tuple[SourceRef, ...]
