"""`tollhouse seed` against a whole deployment: every story once, and what an app is then told of each."""

import pytest

from deploy.local.processes import ProcessFailed
from deploy.local.seed.plan import plan_people
from deploy.local.seed.run import run_seed
from deploy.local.seed.stories import STORIES
from deploy.local.web import request
from tests.e2e.local.test_embedded_deployment import run_local

#: Story → the feature to look at, and what may be said of it, by the dice.
TOLD = {
    "looks at the page and leaves": ("export", {"no_subscription"}),
    "pays monthly": ("export", {"subscription_active"}),
    "pays yearly": ("export", {"subscription_active"}),
    "is on trial": ("sso", {"subscription_trialing"}),
    "stays after the trial": ("sso", {"subscription_active"}),
    "cannot pay after the trial": ("sso", {"in_grace", "payment_past_due", "subscription_canceled"}),
    "leaves during the trial": ("sso", {"subscription_canceled"}),
    "fails to pay, in grace": ("export", {"in_grace"}),
    "fails to pay until it ends": ("export", {"subscription_canceled"}),
    "fails to pay, then another card": ("export", {"subscription_active"}),
    "leaves at the period's end": ("export", {"subscription_active", "subscription_canceled"}),
    "leaves at once": ("export", {"subscription_canceled"}),
    "upgrades": ("sso", {"subscription_active"}),
    "downgrades with the period": ("export", {"subscription_active"}),
    "buys a pass, or two": ("export", {"purchase", "purchase_expired"}),
    "is a founder": ("export", {"purchase"}),
    "gets money back": ("export", {"refunded", "purchase"}),
    "disputes a payment": ("export", {"disputed", "purchase"}),
    "pays by bank transfer": ("export", {"purchase", "no_subscription"}),
    "is given something by hand": ("projects", {"grant", "denied", "catalog_default"}),
    "globex: pays monthly": ("guests", {"subscription_active"}),
    "globex: trial, perhaps over": ("guests", {"subscription_active", "subscription_trialing"}),
}


def test_every_story_ends_as_it_should_and_the_same_seed_is_refused_a_second_time(up, state) -> None:
    _, ready, _ = up
    words = ("seed", "--state", state, "--users", len(STORIES), "--seed", 3)
    code, said = run_local(*words)
    assert code == 0, said
    assert f"{len(STORIES)} users in " in said
    told = {
        person.story: reason_of(ready, person.story, person.user_id)
        for person in plan_people(len(STORIES), 3)
    }
    assert {story: reason for story, reason in told.items() if reason not in TOLD[story][1]} == {}
    with pytest.raises(ProcessFailed, match="--seed 3 was made before"):
        run_seed(state, 1, 3, print)


def reason_of(ready, story, user_id):
    project, app = STORIES[story].project, STORIES[story].app
    headers = {"Authorization": f"Bearer {ready.app_keys[f'{project}/{app}']}"}
    url = f"{ready.base_url}/api/v1/entitlements/{TOLD[story][0]}?user_id={user_id}"
    return request("GET", url, headers=headers).json()["reason"]
