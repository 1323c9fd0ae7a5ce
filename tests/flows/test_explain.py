"""Explain over real rows: what was answered then, what is stored now, what the timeline already holds."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from domain.context import Context
from domain.errors import Unknown
from domain.flows.explain import Explained, Question, explain_feature
from domain.flows.grant import GrantWish, Operator, grant
from domain.flows.publish_catalog import publish_locally, read_catalog
from domain.flows.recompute import recompute_user
from domain.model import Reason
from domain.rules.answer import answer_at
from domain.store.session import Connection
from tests.flows.event_path import CATALOG, EventPath


async def why(path: EventPath, feature: str = "export", **fields: object) -> Explained:
    return await why_in(path.context, feature, **fields)


async def why_in(context: Context, feature: str = "export", **fields: object) -> Explained:
    values = {"project": "acme", "app": "editor", "user_id": "u_1", "feature": feature, **fields}
    return await explain_feature(context, Question(**values))  # type: ignore[arg-type]  # fields of a test


def clocked(path: EventPath, now: datetime) -> Context:
    """The same deployment at another moment."""

    async def answer(_connection: Connection) -> datetime:
        return now

    return msgspec.structs.replace(path.context, now=answer)


async def buy(path: EventPath, plan: str = "pro", price: str = "month", user_id: str = "u_1") -> str:
    """A purchase that has arrived; answers the customer."""
    customer = await path.make_customer(user_id)
    await path.buy(customer, plan, price)
    await arrive(path)
    return customer


async def arrive(path: EventPath) -> None:
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def recompute(path: EventPath, context: Context | None = None, user_id: str = "u_1") -> None:
    used = context or path.context
    (row,) = await path.rows("SELECT user_key FROM users WHERE user_id = $1", user_id)
    async with used.database.transaction() as connection:
        await recompute_user(used, connection, row["user_key"], cause="test")


async def pass_some_time(path: EventPath) -> datetime:
    """The database's present moment, later than everything that was written."""
    (row,) = await path.rows("SELECT clock_timestamp() AS now")
    now: datetime = row["now"]
    return now


# ── now ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_bought_feature_is_explained_by_its_subscription(path: EventPath) -> None:
    await buy(path)
    found = await why(path)
    stored = await path.stored()
    assert stored is not None
    assert (found.basis, found.version, found.catalog_version) == ("answered", stored.first_version, 1)
    assert (found.verdict.granted, found.rule.name) == (True, "subscription.active")
    assert found.cause in {event["type"] for event in await path.events()}
    (one,) = found.sources
    assert (one.source.kind, one.source.plan, one.outcome, one.why) == (
        "subscription",
        "pro",
        "wins",
        "gives",
    )
    assert found.notes == ()


async def test_a_user_whom_nobody_knows_has_the_defaults_explained(path: EventPath) -> None:
    found = await why(path, "seats", user_id="u_none")
    assert (found.basis, found.version, found.cause) == ("defaults", 0, None)
    assert (found.rule.name, found.verdict.value, found.default) == ("catalog.default", 1, 1)
    assert "Nobody knows a user 'u_none'" in found.notes[0]


async def test_a_user_without_a_stored_answer_has_the_defaults_explained(path: EventPath) -> None:
    await path.make_customer()
    found = await why(path, "sso")
    assert (found.basis, found.verdict.reason) == ("defaults", Reason.NO_SUBSCRIPTION)
    assert found.available_in == ("team",)
    assert found.notes == (
        "Nothing was stored for the user and this app: readers got the catalog's defaults.",
    )


async def test_what_is_stored_is_explained_even_where_it_is_stale_and_says_so(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscriptions SET status = 'incomplete'")
    found = await why(path)
    assert (found.verdict.granted, found.sources[0].outcome) == (True, "wins")
    assert "tollhouse explain <user> --project acme" in found.notes[0]
    await recompute(path)
    found = await why(path)
    assert (found.verdict.reason, found.notes) == (Reason.SUBSCRIPTION_INCOMPLETE, ())


async def test_an_answer_that_stayed_the_same_is_explained_by_the_present_facts(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscription_items SET period_end = period_end + interval '30 days'")
    await recompute(path)
    assert len(await path.rows("SELECT 1 FROM entitlement_history WHERE app = 'editor'")) == 1
    found = await why(path)
    assert (found.version, found.notes) == (1, ())


@pytest.mark.parametrize("user_id", ["u_1", "u_none"])
async def test_an_unknown_feature_is_refused_with_the_nearest_names(path: EventPath, user_id: str) -> None:
    await buy(path)
    with pytest.raises(Unknown, match="did you mean export") as refused:
        await why(path, "exprt", user_id=user_id)
    assert refused.value.code == "unknown_feature"


async def test_a_feature_of_another_app_is_unknown(path: EventPath) -> None:
    await buy(path)
    with pytest.raises(Unknown) as refused:
        await why(path, "formats")
    assert refused.value.code == "unknown_feature"


@pytest.mark.parametrize(
    ("names", "code"), [({"project": "none"}, "unknown_project"), ({"app": "none"}, "unknown_app")]
)
async def test_an_unknown_project_or_app_is_refused(
    path: EventPath, names: dict[str, str], code: str
) -> None:
    with pytest.raises(Unknown) as refused:
        await why(path, **names)
    assert refused.value.code == code


async def test_the_same_user_id_of_another_project_is_another_user(path: EventPath) -> None:
    await buy(path)
    found = await why(path, "boards", project="globex", app="board")
    assert (found.basis, found.sources) == ("defaults", ())


# ── then ────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_past_is_what_was_answered_then_with_the_facts_of_then(path: EventPath) -> None:
    await buy(path)
    then = await pass_some_time(path)
    await path.execute("UPDATE subscriptions SET status = 'incomplete'")
    await recompute(path)
    found = await why(path, at=then)
    assert (found.basis, found.version, found.verdict.granted) == ("answered", 1, True)
    assert (found.sources[0].outcome, found.notes) == ("wins", ())
    assert (await why(path)).version == 2


async def test_the_past_as_known_now_is_recomputed_from_todays_facts(path: EventPath) -> None:
    await buy(path)
    then = await pass_some_time(path)
    await path.execute("UPDATE subscriptions SET status = 'incomplete'")
    found = await why(path, at=then, as_known="now")
    assert (found.basis, found.version, found.cause) == ("recomputed", 0, None)
    assert found.verdict.reason is Reason.SUBSCRIPTION_INCOMPLETE


async def test_before_the_first_answer_there_were_only_defaults(path: EventPath) -> None:
    before = await pass_some_time(path)
    await buy(path)
    found = await why(path, at=before)
    assert (found.basis, found.version, found.sources) == ("defaults", 0, ())
    assert found.notes[0].startswith("The first answer of this user is of ")


async def test_as_known_now_a_subscription_gives_nothing_before_it_existed(path: EventPath) -> None:
    await buy(path)
    await path.execute("UPDATE subscriptions SET created_at = created_at - interval '1 day'")
    yesterday = datetime.now(UTC) - timedelta(hours=25)
    assert (await why(path, at=yesterday, as_known="now")).verdict.granted is False
    assert (await why(path, at=yesterday + timedelta(hours=2), as_known="now")).verdict.granted is True


async def test_the_past_is_explained_with_the_catalog_of_then(path: EventPath) -> None:
    await buy(path)
    then = await pass_some_time(path)
    text = CATALOG.read_text().replace("export", "saving")
    await publish_locally(path.context, read_catalog(text, file="catalog.toml"))
    await recompute(path)
    found = await why(path, at=then)
    assert (found.catalog_version, found.verdict.granted) == (1, True)
    assert (await why(path, "saving")).catalog_version == 2
    with pytest.raises(Unknown):
        await why(path, "export")


async def test_defaults_of_the_past_are_those_of_the_catalog_then(path: EventPath) -> None:
    then = await pass_some_time(path)
    text = CATALOG.read_text().replace("default = 1  ", "default = 2  ", 1)
    await publish_locally(path.context, read_catalog(text, file="catalog.toml"))
    assert (await why(path, "seats", at=then, user_id="u_none")).verdict.value == 1
    assert (await why(path, "seats", user_id="u_none")).verdict.value == 2


# ── segments that history has not got yet ───────────────────────────────────────────────────────────


async def test_the_future_is_what_the_stored_timeline_holds(path: EventPath) -> None:
    await buy(path, "pass", "once")
    end = (await why(path)).next_changes[0].at
    found = await why(path, at=end)
    assert (found.basis, found.version, found.cause) == ("expected", 2, "boundary")
    assert (found.answered_since, found.verdict.reason) == (end, Reason.PURCHASE_EXPIRED)
    assert (await why(path, at=end - timedelta(microseconds=1))).verdict.granted is True


async def test_a_boundary_that_nobody_recomputed_yet_is_answered_from_the_timeline(path: EventPath) -> None:
    await buy(path, "pass", "once")
    end = (await why(path)).next_changes[0].at
    late = clocked(path, end + timedelta(days=2))
    for at in (None, end + timedelta(days=1)):
        found = await why_in(late, at=at)
        assert (found.basis, found.version, found.cause) == ("answered", 2, "boundary")
        assert (found.verdict.granted, found.answered_since) == (False, end)
    assert (await why_in(late, at=end - timedelta(days=1))).verdict.granted is True


async def test_the_late_recompute_changes_nothing_of_what_is_explained(path: EventPath) -> None:
    await buy(path, "pass", "once")
    end = (await why(path)).next_changes[0].at
    late = clocked(path, end + timedelta(days=2))
    moments = [end - timedelta(days=1), end, end + timedelta(days=1)]
    before = [await why_in(late, at=at) for at in moments]
    await recompute(path, late)
    assert len(await path.rows("SELECT 1 FROM entitlement_history WHERE app = 'editor'")) == 2
    assert [await why_in(late, at=at) for at in moments] == before


async def test_what_is_explained_is_what_readers_get_at_every_moment(path: EventPath) -> None:
    await buy(path, "pass", "once")
    end = (await why(path)).next_changes[0].at
    stored = await path.stored()
    assert stored is not None
    for at in (end - timedelta(days=1), end, end + timedelta(days=1)):
        answer = msgspec.json.decode(answer_at(stored, "u_1", at).one("export"))
        found = await why(path, at=at)
        assert (found.version, found.verdict.reason) == (answer["version"], answer["reason"])
        assert found.notes == ()


async def test_a_user_on_a_test_clock_is_explained_at_the_clocks_time(path: EventPath) -> None:
    await buy(path, "pass", "once")
    end = (await why(path)).next_changes[0].at
    await path.execute("UPDATE users SET clock_at = $1", end + timedelta(days=1))
    found = await why(path)
    assert (found.at, found.verdict.reason) == (end + timedelta(days=1), Reason.PURCHASE_EXPIRED)
    assert found.basis == "answered"


# ── who sees what ───────────────────────────────────────────────────────────────────────────────────


async def give(path: EventPath, target_kind: str, target: str, effect: str = "allow") -> str:
    wish = GrantWish(effect=effect, target_kind=target_kind, target=target, reason="a friend of Ada")  # type: ignore[arg-type]  # texts of a test
    return (await grant(path.context, "acme", "u_1", wish, Operator(actor="ops/ada"))).given.id


async def test_operators_see_their_words_and_apps_do_not(path: EventPath) -> None:
    await give(path, "feature", "export")
    shown, hidden = await why(path, shows_all=True), await why(path)
    assert (shown.sources[0].operator_reason, shown.sources[0].actor) == ("a friend of Ada", "ops/ada")
    assert b"ada" not in msgspec.json.encode(hidden).lower()
    assert hidden.sources[0].source == shown.sources[0].source


async def test_apps_see_no_source_without_a_feature_of_theirs(path: EventPath) -> None:
    other = await give(path, "feature", "formats")
    mine = await give(path, "feature", "sso")
    assert [one.source.id for one in (await why(path)).sources] == [mine]
    shown = await why(path, shows_all=True)
    assert [one.source.id for one in shown.sources] == [other, mine]
    assert shown.cause == "grant"
