"""Which of a user's grants keep a new one from counting: it would be stored, and change no answer.

Source: docs/entitlements.md, "Merge": deny > override > (sources and `allow`, plus `add`); of two overrides
the older stands.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from domain.model import Grant, GrantEffect
from domain.rules.catalog import Catalog
from domain.rules.grant import grant_source

_RANK: dict[GrantEffect, int] = {"deny": 0, "override": 1, "allow": 2, "add": 2}


class Outranking(Struct, frozen=True, kw_only=True):
    """A grant that stands above another one."""

    #: gr_….
    id: str
    effect: GrantEffect
    #: Keys of the features of which the lower one has no say, sorted.
    features: tuple[str, ...]
    #: From then on the lower one counts; None: never by itself.
    until: datetime | None


def list_outranking(new: Grant, others: Iterable[Grant], catalog: Catalog) -> tuple[Outranking, ...]:
    """Grants of the same user that are in force at some time of `new` and decide what it is about, sorted."""
    touched = _touched(new, catalog)
    found = (
        Outranking(id=one.grant_id, effect=one.effect, features=tuple(shared), until=_end(one))
        for one in sorted(others, key=_seniority)
        if _is_above(one, new) and _meet(one, new) and (shared := _shared(touched, _touched(one, catalog)))
    )
    return tuple(found)


def describe_outranking(above: Sequence[Outranking]) -> str | None:
    """What an operator should know and may do; None: nothing stands above."""
    if not above:
        return None
    named = "; ".join(
        f"{one.id} ({one.effect} on {', '.join(one.features)}, "
        f"{'without an end' if one.until is None else 'until ' + one.until.isoformat(timespec='seconds')})"
        for one in above
    )
    return f"Older or stronger grants decide instead: {named}. Revoke those for this one to count."


def _touched(grant: Grant, catalog: Catalog) -> set[tuple[str, str]]:
    """(app, feature) of all that it gives or takes."""
    return {(app, feature) for app in catalog.apps for feature in grant_source(grant, catalog, app).values}


def _shared(one: set[tuple[str, str]], other: set[tuple[str, str]]) -> list[str]:
    return sorted({feature for _, feature in one & other})


def _is_above(one: Grant, new: Grant) -> bool:
    if one.effect == new.effect == "override":
        return _seniority(one) < _seniority(new)
    return _RANK[one.effect] < _RANK[new.effect]


def _seniority(grant: Grant) -> tuple[datetime, str]:
    return (grant.created_at, grant.grant_id)


def _meet(one: Grant, new: Grant) -> bool:
    """Whether both are in force at some instant; intervals are half-open."""
    begins = max(one.starts_at, new.starts_at)
    return all(begins < end for end in (*_ends(one), *_ends(new)))


def _end(grant: Grant) -> datetime | None:
    return min(_ends(grant), default=None)


def _ends(grant: Grant) -> Iterator[datetime]:
    return (end for end in (grant.expires_at, grant.revoked_at) if end is not None)
