"""The demo's second part: an operator makes exceptions by HTTP, and the micro-app asks after each."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from deploy.local.demo_steps import FEATURE, Mismatch, Story, ask, entitlement, expect, expect_equal

#: A message takes milliseconds; without one a reader asks anew after 10 s, which is too late here.
READABLE_TIMEOUT_S = 5.0
#: Somebody who never bought anything.
GUEST = "u_31"
TARGET = {"feature": FEATURE}


def grant_what_nobody_bought(story: Story) -> str:
    expect_equal("no_subscription", entitlement(expect(200, ask(story, GUEST, "acme/editor")))["reason"])
    began = time.monotonic()
    given = act(story, "grant", 201, effect="allow", reason="paid by bank transfer, case 12")
    found = ask_for_the_version_of(story, given)
    took = f"{(time.monotonic() - began) * 1000:.0f} ms"
    expect_equal({"granted": True, "reason": "grant"}, {k: found[k] for k in ("granted", "reason")})
    expect_equal([given["id"]], [source["id"] for source in found["sources"]])
    story.figures.append(("An operator's grant, until the app has read it", took))
    return (
        f"an operator grants {FEATURE} to {GUEST}, who bought nothing: the app reads it {took} after the call"
    )


def deny_it(story: Story) -> str:
    """A deny beats the grant; whatever is bought later, too."""
    given = act(story, "grant", 201, effect="deny", reason="abuse, case 13")
    found = ask_for_the_version_of(story, given)
    expect_equal({"granted": False, "reason": "denied"}, {k: found[k] for k in ("granted", "reason")})
    return f"the operator denies {FEATURE} to {GUEST}: the app reads denied"


def revoke_both(story: Story) -> str:
    revoked = act(story, "revoke", 200, reason="cases 12 and 13 closed")
    if len(revoked["revoked"]) != 2:  # noqa: PLR2004 - the grant and the deny
        raise Mismatch("the grant and the deny ended", revoked)
    expect_equal([], revoked["still_granted_by"])
    found = ask_for_the_version_of(story, revoked)
    expect_equal({"granted": False, "reason": "revoked"}, {k: found[k] for k in ("granted", "reason")})
    return f"the operator revokes both: {FEATURE} is not granted to {GUEST}, reason revoked"


def explain_it(story: Story) -> str:
    """Why it is refused now, and why it was refused a moment before that: history knows."""
    now = explain(story)
    expect_equal("grant.revoked", now["rule"]["name"])
    show_sources(story, now)
    before = explain(story, just_before(now["answered_since"]))
    expect_equal("grant.deny", before["rule"]["name"])
    expect_equal(["denied", "denies"], [one["why"] for one in before["sources"]])
    show_sources(story, before)
    return f"explain: version {now['version']} by {now['rule']['name']}, before it {before['rule']['name']}"


STEPS: tuple[Callable[[Story], str], ...] = (
    grant_what_nobody_bought,
    deny_it,
    revoke_both,
    explain_it,
)


def act(story: Story, verb: str, status: int, **wish: Any) -> dict[str, Any]:
    """One call of the operators' API about FEATURE of GUEST."""
    headers = {"Authorization": f"Bearer {story.ready.operator_key}", "Tollhouse-Actor": "demo"}
    body = {"user_id": GUEST, "target": TARGET, **wish}
    answer = story.app.request("POST", f"/api/v1/admin/{verb}?project=acme", send_json=body, headers=headers)
    done: dict[str, Any] = expect(status, answer)
    return done


def ask_for_the_version_of(story: Story, done: dict[str, Any]) -> dict[str, Any]:
    """Ask as the app until the answer is of the version that the operator was told: the cache has it already,
    and what readers remember ends with a message on its way.
    """
    deadline = time.monotonic() + READABLE_TIMEOUT_S
    while True:
        answer = expect(200, ask(story, GUEST, "acme/editor"))
        if answer["version"] >= done["versions"]["editor"]:
            return entitlement(answer)
        if time.monotonic() > deadline:
            raise Mismatch(f"version {done['versions']['editor']} within {READABLE_TIMEOUT_S} s", answer)


def explain(story: Story, at: str | None = None) -> dict[str, Any]:
    """Why FEATURE is or was what it is for GUEST, as an operator sees it."""
    asked = {"user_id": GUEST, "project": "acme", "app": "editor", **({} if at is None else {"at": at})}
    headers = {"Authorization": f"Bearer {story.ready.operator_key}"}
    path = f"/api/v1/entitlements/{FEATURE}/explain?{urlencode(asked)}"
    explained: dict[str, Any] = expect(200, story.app.request("GET", path, headers=headers))
    return explained


def just_before(instant: str) -> str:
    return (datetime.fromisoformat(instant) - timedelta(milliseconds=1)).isoformat()


def show_sources(story: Story, explained: dict[str, Any]) -> None:
    story.say(f"  version {explained['version']}: {explained['rule']['sentence']}")
    for one in explained["sources"]:
        story.say(
            f"    {one['source']['effect']} {one['outcome']}: {one['sentence']} ({one['operator_reason']})"
        )
