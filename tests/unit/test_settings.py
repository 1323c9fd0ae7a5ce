"""The environment: every mistake names its variable and says what to write there."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.settings import Settings, SettingsInvalid, load_settings, stripe_mode

GIVEN = {
    "TOLLHOUSE_DATABASE_URL": "postgresql://tollhouse@db/tollhouse",
    "TOLLHOUSE_REDIS_URL": "redis://queue:6379/0",
    "TOLLHOUSE_STRIPE_SECRET_KEY": "sk_test_1",
    "TOLLHOUSE_STRIPE_WEBHOOK_SECRETS": "whsec_1",
    "TOLLHOUSE_KEY_PEPPERS": "1:" + "ab" * 32,
    "HOME": "/home/somebody",
}


def load(process: str = "worker", **changes: str | None) -> Settings:
    environ = {**GIVEN, **{f"TOLLHOUSE_{name.upper()}": value for name, value in changes.items()}}
    return load_settings(process, {name: value for name, value in environ.items() if value is not None})  # type: ignore[arg-type] # parametrised


@pytest.mark.parametrize("process", ["webhook", "read", "api", "worker", "scheduler", "cli", "migrate"])
def test_each_process_loads_what_it_needs(process: str) -> None:
    assert load(process).database_url.reveal() == "postgresql://tollhouse@db/tollhouse"


@pytest.mark.parametrize(
    ("process", "missing"),
    [
        ("webhook", "stripe_webhook_secrets"),
        ("webhook", "database_url"),
        ("read", "key_peppers"),
        ("api", "stripe_secret_key"),
        ("worker", "stripe_secret_key"),
        ("worker", "redis_url"),
    ],
)
def test_a_process_names_what_it_cannot_start_without(process: str, missing: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"TOLLHOUSE_{missing.upper()}"):
        load(process, **{missing: None})


def test_the_webhook_needs_no_stripe_key() -> None:
    assert load("webhook", stripe_secret_key=None).stripe_secret_key == ""


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(SettingsInvalid, match="did you mean TOLLHOUSE_REDIS_URL"):
        load(redis_ur="redis://x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "mysql://db"),
        ("redis_url", "localhost:6379"),
        ("stripe_secret_key", "pk_test_1"),
        ("webhook_url", "https://billing.example.com/webhooks"),
        ("webhook_url", "http://billing.example.com/api/v1/webhooks/stripe"),
        ("webhook_url", "https://u:p@billing.example.com/api/v1/webhooks/stripe"),
        ("stripe_webhook_secrets", "secret"),
        ("stripe_webhook_secrets", "whsec_1@tomorrow"),
        ("key_peppers", "abc"),
        ("key_peppers", "1:abcd"),
        ("key_peppers", "1:zz"),
        ("lease_s", "0"),
        ("lease_s", "long"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("stripe_rate", "many"),
        ("drain_s", "-1"),
        ("drain_s", "16"),
        ("drain_s", "nan"),
    ],
)
def test_a_value_that_cannot_be_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"TOLLHOUSE_{name.upper()}"):
        load(**{name: value})


def test_a_lease_shorter_than_a_fetch_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="TOLLHOUSE_FETCH_TIMEOUT_S"):
        load(lease_s="5")


def test_a_value_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("sk_live_1\n")
    assert (
        load(stripe_secret_key=None, stripe_secret_key_file=str(secret)).stripe_secret_key.reveal()
        == "sk_live_1"
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="STRIPE_SECRET_KEY_FILE"):
        load(stripe_secret_key=None, stripe_secret_key_file=str(tmp_path / "gone"))


def test_an_empty_value_counts_as_missing() -> None:
    with pytest.raises(SettingsInvalid, match="TOLLHOUSE_REDIS_URL"):
        load(redis_url="")


@pytest.mark.parametrize(
    ("queue", "cache"),
    [
        ("redis://q:6379/0", "redis://q:6379/1"),
        ("redis://q:6379/4", "redis://q:6379/5"),
        ("redis://q:6379", "redis://q:6379/1"),
    ],
)
def test_the_cache_is_the_next_database_of_the_queues_server(queue: str, cache: str) -> None:
    assert load(redis_url=queue).cache_url.reveal() == cache


def test_a_cache_of_its_own_is_taken_as_it_is() -> None:
    assert load(cache_url="redis://cache:6379/0").cache_url.reveal() == "redis://cache:6379/0"


def test_secrets_do_not_print() -> None:
    settings = load()
    for text in (
        repr(settings),
        f"{settings.stripe_secret_key}",
        str(settings.key_peppers),
        format(settings.database_url),
    ):
        assert "sk_test_1" not in text
        assert "ab" * 32 not in text
        assert "tollhouse@db" not in text


def test_a_rotated_webhook_secret_may_end() -> None:
    both = load(stripe_webhook_secrets="whsec_1@2026-12-01T00:00:00Z, whsec_2").stripe_webhook_secrets
    assert [secret.secret.reveal() for secret in both] == ["whsec_1", "whsec_2"]
    assert [secret.not_after for secret in both] == [datetime(2026, 12, 1, tzinfo=UTC), None]


def test_the_newest_pepper_comes_first() -> None:
    peppers = load(key_peppers=f"1:{'ab' * 32},3:{'cd' * 32},2:{'ef' * 32}").key_peppers
    assert [version for version, _ in peppers] == [3, 2, 1]


@pytest.mark.parametrize(
    ("key", "mode"),
    [("sk_test_1", "test"), ("rk_test_1", "test"), ("sk_live_1", "live"), ("rk_live_1", "live")],
)
def test_the_mode_is_the_keys_prefix(key: str, mode: str) -> None:
    assert stripe_mode(key) == mode
