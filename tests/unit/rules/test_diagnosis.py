"""What each thing seen means, without a server: outcomes, remedies, and the sentence at the end."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from domain.model import Suspect
from domain.rules.diagnosis import Check, fail, first_step, ok, skip, warn, worst
from domain.rules.diagnosis import here as here_rules
from domain.rules.diagnosis import postgres as postgres_rules
from domain.rules.diagnosis import redis as redis_rules
from domain.rules.diagnosis import stripe as stripe_rules

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_the_first_failed_check_is_what_to_do_first_and_a_warning_only_without_one() -> None:
    checks = [ok("a", ""), warn("b", "", "do b"), fail("c", "", "do c"), skip("d", "")]
    assert (worst(checks), first_step(checks)) == ("failed", "First (c): do c.")
    assert (worst(checks[:2]), first_step(checks[:2])) == ("warning", "Nothing has failed; first (b): do b.")
    assert (worst(checks[:1]), first_step(checks[:1])) == ("ok", "Nothing to do.")
    skipped = [ok("a", ""), skip("d", "")]
    assert (worst(skipped), "1 checks were skipped" in first_step(skipped)) == ("ok", True)


@pytest.mark.parametrize(
    ("check", "outcome", "remedy"),
    [
        (
            postgres_rules.judge_server(14_0011, "14.11", is_standby=False, is_read_only=False),
            "failed",
            "15 to",
        ),
        (postgres_rules.judge_server(15_0000, "15.0", is_standby=False, is_read_only=False), "ok", ""),
        (postgres_rules.judge_server(18_0003, "18.3", is_standby=False, is_read_only=False), "ok", ""),
        (
            postgres_rules.judge_server(19_0000, "19.0", is_standby=False, is_read_only=False),
            "warning",
            "tell us",
        ),
        (
            postgres_rules.judge_server(18_0003, "18.3", is_standby=True, is_read_only=False),
            "failed",
            "takes writes",
        ),
        (
            postgres_rules.judge_server(18_0003, "18.3", is_standby=False, is_read_only=True),
            "failed",
            "takes writes",
        ),
        (postgres_rules.judge_refusal("… InvalidPasswordError"), "failed", "role or password"),
        (postgres_rules.judge_refusal("… InvalidCatalogNameError"), "failed", "create the database"),
        (postgres_rules.judge_refusal("… ProtocolViolationError"), "failed", "session mode"),
        (postgres_rules.judge_refusal("… ClientConfigurationError"), "failed", "sslrootcert=FILE"),
        (postgres_rules.judge_refusal("… ConnectionRefusedError"), "failed", "start Postgres"),
        (postgres_rules.judge_tls("postgresql://u:p@db:5432/t", None), "warning", "sslmode=verify-full"),
        (postgres_rules.judge_tls("postgresql://u:p@127.0.0.1/t", None), "ok", ""),
        (postgres_rules.judge_tls("postgresql://u:p@[::1]/t", None), "ok", ""),
        (postgres_rules.judge_tls("postgresql:///t", None), "ok", ""),
        (
            postgres_rules.judge_tls("postgresql://u@db/t?sslmode=require", "TLSv1.3"),
            "warning",
            "verify-full",
        ),
        (postgres_rules.judge_tls("postgresql://u@db/t?sslmode=verify-full", "TLSv1.3"), "ok", ""),
        (postgres_rules.judge_pooling(7, 8, 7), "ok", ""),
        (postgres_rules.judge_pooling(7, 7, 9), "failed", "pool_mode = session"),
        (postgres_rules.judge_pooling(7, 8, 9), "failed", "pool_mode = session"),
        # As PgBouncer 1.18 in transaction mode answers.
        (
            postgres_rules.judge_pooling_error("… InvalidSQLStatementNameError (26000)"),
            "failed",
            "pool_mode = session",
        ),
        (postgres_rules.judge_pooling_error("… TimeoutError"), "failed", "two connections"),
        (postgres_rules.judge_schema("0002", "0013", is_enough=False), "failed", "tollhouse migrate"),
        (postgres_rules.judge_schema("0014", "0013", is_enough=True), "ok", ""),
        (redis_rules.judge_server("queue", {"redis_version": "6.0.16"}), "failed", "6.2"),
        (redis_rules.judge_server("queue", {"redis_version": "6.2.0"}), "ok", ""),
        (redis_rules.judge_server("queue", {"redis_version": "10.0.1"}), "ok", ""),
        (
            redis_rules.judge_server("cache", {"redis_version": "7.2.4", "cluster_enabled": 1}),
            "failed",
            "CACHE_URL",
        ),
        (redis_rules.judge_server("queue", {"redis_version": "7.2.4", "role": "slave"}), "failed", "primary"),
        (redis_rules.judge_policy({"maxmemory_policy": "noeviction"}), "ok", ""),
        (redis_rules.judge_policy({"maxmemory_policy": "volatile-lru"}), "failed", "noeviction"),
        (redis_rules.judge_policy({}), "failed", "noeviction"),
        (redis_rules.judge_persistence({"aof_enabled": 0}), "warning", "appendonly yes"),
        (redis_rules.judge_apart({"run_id": "a"}, {"run_id": "a"}, (0, 1)), "ok", ""),
        (redis_rules.judge_apart({"run_id": "a"}, {"run_id": "a"}, (0, 0)), "warning", "/0"),
        (redis_rules.judge_apart({"run_id": "a"}, {"run_id": "b"}, (0, 0)), "ok", ""),
        (here_rules.judge_skew("clock", "it", 4.9, 0.0), "ok", ""),
        (here_rules.judge_skew("clock", "it", -5.6, 0.5), "warning", "NTP"),
        (here_rules.judge_skew("clock", "it", 5.6, 1.0), "ok", ""),
        (here_rules.judge_skew("clock", "it", 61.0, 0.5), "failed", "NTP"),
        (here_rules.judge_catalogs({}, []), "failed", "catalog apply"),
        (here_rules.judge_catalogs({"acme": 3}, ["acme.pro.month"]), "failed", "catalog apply"),
        (here_rules.judge_catalogs({"acme": 3}, []), "ok", ""),
        (here_rules.judge_stripe_catalog(is_drifted=True), "warning", "catalog verify"),
        (stripe_rules.judge_refused_key("…", lacks_permission=False), "failed", "copy the key anew"),
    ],
)
def test_what_was_seen_means_this_and_the_remedy_is_said(check: Check, outcome: str, remedy: str) -> None:
    assert check.outcome == outcome, check
    assert remedy in (check.next or "")
    assert (check.next is None) == (outcome == "ok")


def test_connections_are_counted_by_the_lowest_limit_and_by_who_is_there() -> None:
    pools = {"worker": 16, "api": 10}

    def judge(used: int = 3, role: int = -1, database: int = -1, most: int = 100) -> Check:
        return postgres_rules.judge_connections(
            max_connections=most, reserved=3, limits=(role, database), used=used, pools=pools
        )

    assert judge().outcome == "ok"
    assert judge().finding.startswith("97 to be had, 3 in use; one process of each kind takes up to 26")
    assert judge(role=20).finding.startswith("20 to be had")
    assert judge(database=25).outcome == judge(most=28).outcome == "warning"
    assert "who holds them" in (judge(used=80).next or "")


def test_a_role_needs_less_on_what_is_never_changed_and_a_superuser_more_care() -> None:
    all_ = list(postgres_rules.RIGHTS)
    held = {"users": all_, "audit_log": ["SELECT", "INSERT"], "alembic_version": ["SELECT"]}
    judge = partial(postgres_rules.judge_role, "app", schema="public", env="test")
    assert judge(is_superuser=False, held=held).outcome == "ok"
    assert judge(is_superuser=True, held=held).outcome == "warning"
    assert judge(is_superuser=True, held=held, env="local").outcome == "ok"
    assert judge(is_superuser=True, held={"users": ["SELECT"]}, env="local").outcome == "failed"
    nowhere = judge(schema=None, is_superuser=False, held={})
    assert (nowhere.outcome, "GRANT USAGE" in (nowhere.next or "")) == ("failed", True)
    assert judge(is_superuser=False, held={}).outcome == "skipped"
    many = {name: ["SELECT"] for name in "abcde"}
    found = judge(is_superuser=False, held=many)
    assert found.finding == (
        "app lacks INSERT, UPDATE, DELETE on a; INSERT, UPDATE, DELETE on b; "
        "INSERT, UPDATE, DELETE on c and 2 tables more"
    )


@pytest.mark.parametrize(
    ("mode", "env", "fixed", "base", "outcome"),
    [
        ("live", "production", None, stripe_rules.STRIPE, "ok"),
        ("live", "production", ("acct_1", "live", "production"), stripe_rules.STRIPE, "ok"),
        ("live", "production", ("acct_1", "test", "production"), stripe_rules.STRIPE, "failed"),
        ("live", "staging", ("acct_1", "live", "production"), stripe_rules.STRIPE, "failed"),
        ("live", "local", None, stripe_rules.STRIPE, "failed"),
        ("test", "production", None, stripe_rules.STRIPE, "warning"),
        ("test", "staging", None, stripe_rules.STRIPE, "ok"),
        ("live", "production", None, "http://127.0.0.1:8003", "failed"),
        ("test", "local", None, "http://127.0.0.1:8003", "ok"),
    ],
)
def test_account_mode_and_environment_must_belong_together(
    mode: str, env: str, fixed: tuple[str, str, str] | None, base: str, outcome: str
) -> None:
    found = stripe_rules.judge_account(
        account_id="acct_1", mode=mode, env=env, fixed=fixed, is_testing=env == "local", base=base
    )
    assert found.outcome == outcome, found


def test_a_secret_that_cannot_be_stripes_or_has_ended_is_named_before_a_delivery_is_refused() -> None:
    real = "whsec_" + "0123456789abcdef" * 2
    later, ago = NOW + timedelta(days=1), NOW - timedelta(seconds=1)
    cases: list[tuple[list[tuple[str, datetime | None]], str]] = [
        ([(real, None)], "ok"),
        ([(real, None), (real, ago)], "ok"),
        ([(real, later)], "warning"),
        ([(real, NOW)], "failed"),
        ([("whsec_…", None)], "failed"),
        ([("whsec_short", None), (real, None)], "failed"),
    ]
    for secrets, outcome in cases:
        found = stripe_rules.judge_secrets(secrets, NOW)
        assert found.outcome == outcome, found
        assert real not in found.finding


def test_a_pepper_that_was_typed_or_is_gone_is_named_and_never_shown() -> None:
    drawn = bytes(range(32)).hex()
    assert here_rules.judge_peppers({1: drawn}, {1: 4}).finding == "version 1; 4 living API keys"
    typed = here_rules.judge_peppers({1: drawn, 2: "ab" * 32}, {})
    assert (typed.outcome, "version 2" in typed.finding, "abab" in typed.finding) == ("failed", True, False)
    assert here_rules.judge_peppers({2: drawn}, {1: 4, 2: 1}).outcome == "failed"


def test_a_missing_right_is_named_as_the_dashboard_names_it() -> None:
    worker = [right for right in stripe_rules.RIGHTS if right.path == "/v1/invoices"]
    api = [right for right in stripe_rules.RIGHTS if right.needed_by == "api"]
    assert stripe_rules.judge_rights([]).outcome == "ok"
    assert stripe_rules.judge_rights(worker).next == (
        "in the Stripe dashboard, edit the restricted key: Read for Invoices"
    )
    assert stripe_rules.judge_rights([*worker, *api]).outcome == "failed"
    assert stripe_rules.judge_rights(api).outcome == "warning"


def test_an_endpoint_is_judged_as_a_reconciliation_judges_it() -> None:
    assert [check.outcome for check in stripe_rules.judge_endpoints([])] == ["ok"]
    found = stripe_rules.judge_endpoints(
        [
            Suspect(type=type_, object_kind="webhook_endpoint", object_id="we_1", found="seen")
            for type_ in ("endpoint_missing", "endpoint_events")
        ]
    )
    assert [check.outcome for check in found] == ["failed", "warning"]
    assert "we_1" in (found[1].next or "")
