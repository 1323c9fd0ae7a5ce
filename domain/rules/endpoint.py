"""The account's webhook endpoints: which lead here, what is wrong with them, what makes them right. Pure.

One truth for reconciliation's drifts and `catalog plan`, `apply` and `verify`.

Source: docs.stripe.com/api/webhook_endpoints (the API version of an endpoint is fixed when it is made).
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec import Struct

from domain.rules.catalog import StripeChange, StripeNote
from domain.rules.catalog.diff import FieldChange

#: Where an endpoint of this service ends, whatever host it is reached at.
ENDPOINT_PATH = "/api/v1/webhooks/stripe"
#: What Stripe takes for every type there is.
ALL_TYPES = "*"

Endpoint = Mapping[str, Any]


class EndpointWanted(Struct, frozen=True, kw_only=True):
    #: Where Stripe reaches this deployment.
    url: str
    #: Exactly the types to be sent.
    types: frozenset[str]
    #: The API version in which objects are read.
    version: str
    #: TOLLHOUSE_ENV, written on what we make.
    env: str


class EndpointPlan(Struct, frozen=True, kw_only=True):
    #: What makes the one that is to stay; at most one change.
    changes: tuple[StripeChange, ...] = ()
    #: Of ours, beside the one that stays: to be switched off by an operator, once the other one delivers.
    retirable: tuple[StripeNote, ...] = ()
    #: Of others: named, never touched.
    unmanaged: tuple[StripeNote, ...] = ()


def leads_here(endpoint: Endpoint, url: str | None) -> bool:
    """`url` None: told by the path alone."""
    given = str(endpoint["url"])
    return given == url if url is not None else given.partition("?")[0].endswith(ENDPOINT_PATH)


def is_enabled(endpoint: Endpoint) -> bool:
    return bool(endpoint["status"] == "enabled")


def lacking_types(endpoint: Endpoint, used: Iterable[str]) -> list[str]:
    sent = endpoint["enabled_events"]
    return [] if ALL_TYPES in sent else sorted(set(used) - set(sent))


def has_version(endpoint: Endpoint, version: str) -> bool:
    """Null is the account's own version, which may be any: nothing tells that it is another one."""
    return endpoint.get("api_version") in {version, None}


def compare_endpoints(found: Sequence[Endpoint], wanted: EndpointWanted) -> EndpointPlan:
    """What makes one endpoint lead here, in our version, with exactly our types.

    One of another version stays until somebody retires it: a new one is made beside it, and both deliver
    each event, which is counted once.
    """
    here = [one for one in found if leads_here(one, wanted.url)]
    chosen = choose_endpoint(found, wanted)
    changes = _create(wanted, here) if chosen is None else _correct(chosen, wanted)
    left = () if chosen is None or changes else tuple(_retirable(found, chosen, wanted))
    others = (one for one in found if one not in here and not _is_ours(one, wanted.env))
    return EndpointPlan(changes=tuple(changes), retirable=left, unmanaged=tuple(map(_note_other, others)))


def choose_endpoint(found: Sequence[Endpoint], wanted: EndpointWanted) -> Endpoint | None:
    """The one that is to stay: of our version, enabled before others, the oldest. None: there is none."""
    fitting = [one for one in found if leads_here(one, wanted.url) and has_version(one, wanted.version)]
    return min(fitting, key=_first, default=None)


def _first(endpoint: Endpoint) -> tuple[bool, int, str]:
    return (not is_enabled(endpoint), endpoint["created"], endpoint["id"])


def _create(wanted: EndpointWanted, here: Sequence[Endpoint]) -> list[StripeChange]:
    versions = ", ".join(sorted({str(one["api_version"]) for one in here if is_enabled(one)})) or None
    return [
        StripeChange(
            action="create",
            noun="endpoint",
            key=wanted.url,
            stripe_id=None,
            fields=(FieldChange(field="api_version", before=versions, after=wanted.version),),
            params={
                "url": wanted.url,
                "enabled_events": sorted(wanted.types),
                "api_version": wanted.version,
                "description": f"Tollhouse, {wanted.env}",
                "metadata": {"tollhouse_v": "1", "tollhouse_env": wanted.env},
            },
        )
    ]


def _correct(chosen: Endpoint, wanted: EndpointWanted) -> list[StripeChange]:
    fields: list[FieldChange] = []
    params: dict[str, Any] = {}
    if not is_enabled(chosen):
        fields.append(FieldChange(field="status", before=chosen["status"], after="enabled"))
        params["disabled"] = False
    if set(chosen["enabled_events"]) != wanted.types:
        before, after = _shown_types(chosen["enabled_events"], wanted.types)
        fields.append(FieldChange(field="enabled_events", before=before, after=after))
        params["enabled_events"] = sorted(wanted.types)
    if not fields:
        return []
    return [
        StripeChange(
            action="update",
            noun="endpoint",
            key=wanted.url,
            stripe_id=chosen["id"],
            fields=tuple(fields),
            params=params,
        )
    ]


def _shown_types(sent: Sequence[str], wanted: AbstractSet[str]) -> tuple[str, str]:
    """What goes and what comes, with their number: forty names beside forty hide the one that differs."""
    gone, new = sorted(set(sent) - wanted), sorted(wanted - set(sent))
    return (
        f"{len(sent)} types" + (f", with {', '.join(gone)}" if gone else ""),
        f"{len(wanted)} types" + (f", with {', '.join(new)}" if new else ""),
    )


def _retirable(found: Sequence[Endpoint], chosen: Endpoint, wanted: EndpointWanted) -> Iterable[StripeNote]:
    for one in found:
        if one is chosen or not is_enabled(one):
            continue
        if not leads_here(one, wanted.url):
            if _is_ours(one, wanted.env):
                yield _left_over(one, f"was made for this deployment at {one['url']}")
        elif has_version(one, wanted.version):
            yield _left_over(one, f"sends everything a second time, beside {chosen['id']}")
        else:
            yield _left_over(one, f"sends version {one['api_version']}; {chosen['id']} has taken its place")


def _left_over(endpoint: Endpoint, detail: str) -> StripeNote:
    return StripeNote(noun="endpoint", stripe_id=endpoint["id"], detail=detail)


def _note_other(endpoint: Endpoint) -> StripeNote:
    return StripeNote(noun="endpoint", stripe_id=endpoint["id"], detail=f"leads to {endpoint['url']}")


def _is_ours(endpoint: Endpoint, env: str) -> bool:
    metadata = endpoint["metadata"]
    return "tollhouse_v" in metadata and metadata.get("tollhouse_env") == env
