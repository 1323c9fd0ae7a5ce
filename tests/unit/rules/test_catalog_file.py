"""catalog.toml: what is read, and every way in which it is refused."""

from decimal import Decimal
from pathlib import Path

import pytest

from domain.rules.catalog import CatalogInvalid, GrantValue, parse_catalog_file

SAMPLE = Path(__file__).parents[3] / "deploy" / "local" / "catalog.toml"

#: A small right catalog, into which each test puts one wrong thing.
RIGHT = """
[projects.acme]
[projects.acme.apps.editor]
[projects.acme.features.export]
type = "boolean"
[projects.acme.features.seats]
type = "integer"
[projects.acme.features.level]
type = "enum"
values = ["low", "high"]
[projects.acme.features.formats]
type = "set"
[projects.acme.plans.pro]
[projects.acme.plans.pro.grants]
export = true
[projects.acme.plans.pro.prices.month]
interval = "month"
amounts = { usd = 1900 }
"""


def refusals(text: str) -> list[dict[str, str]]:
    with pytest.raises(CatalogInvalid) as raised:
        parse_catalog_file(text, file="shop.toml")
    return [dict(error) for error in raised.value.errors]


def refusal(text: str) -> tuple[str, str, str]:
    """Table, key and detail of the only error."""
    errors = refusals(text)
    assert len(errors) == 1, errors
    assert errors[0]["file"] == "shop.toml"
    return errors[0]["table"], errors[0]["key"], errors[0]["detail"]


def with_table(table: str, *lines: str) -> str:
    """The right catalog with lines put into a table, which may be new."""
    head = f"[projects.acme.{table}]\n" if table else "[projects.acme]\n"
    body = "".join(f"{line}\n" for line in lines)
    return RIGHT.replace(head, head + body) if head in RIGHT else RIGHT + head + body


def with_grant(line: str) -> str:
    return with_table("plans.pro.grants", line)


# ── what is read ────────────────────────────────────────────────────────────────────────────────────


def test_a_project_without_policy_gets_the_documented_one() -> None:
    policy = parse_catalog_file(RIGHT, file="shop.toml")["acme"].policy
    assert (policy.grace_days, policy.grace_days_after_trial, policy.settle_hours) == (7, None, 24)
    assert policy.refund_revoke_from == 1
    assert (policy.dispute, policy.pause_void) == ("suspend", "paid_through")


def test_a_refund_threshold_keeps_its_written_share() -> None:
    text = with_table("policy", "refund = { revoke_from = 0.1 }")
    assert parse_catalog_file(text, file="f")["acme"].policy.refund_revoke_from == Decimal("0.1")


def test_refund_keep_revokes_never() -> None:
    text = with_table("policy", 'refund = "keep"')
    assert parse_catalog_file(text, file="f")["acme"].policy.refund_revoke_from is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("seats = 5", GrantValue(value=5)),
        ('seats = "unlimited"', GrantValue(value=None)),
        ("seats = { value = 5, per_unit = true }", GrantValue(value=5, per_unit=True)),
        ('level = "high"', GrantValue(value="high")),
        ('formats = ["pdf", "png"]', GrantValue(value=["pdf", "png"])),
    ],
)
def test_a_grant_takes_each_form_of_its_feature_type(line: str, value: GrantValue) -> None:
    grants = parse_catalog_file(with_grant(line), file="f")["acme"].plans["pro"].grants
    assert grants[line.partition(" ")[0]] == value


def test_a_feature_without_apps_is_seen_by_all_apps() -> None:
    text = with_table("apps.viewer") + '[projects.acme.features.own]\ntype = "boolean"\napps = ["viewer"]\n'
    catalog = parse_catalog_file(text, file="f")["acme"]
    assert catalog.features["export"].apps == ("editor", "viewer")
    assert [feature.key for feature in catalog.features_by_app["editor"]] == sorted(
        catalog.features.keys() - {"own"}
    )


def test_the_first_currency_is_the_prices_own() -> None:
    text = RIGHT.replace("{ usd = 1900 }", "{ jpy = 2900, eur = 1900 }")
    price = parse_catalog_file(text, file="f")["acme"].plans["pro"].prices["month"]
    assert (price.currency, price.amounts) == ("jpy", {"eur": 1900, "jpy": 2900})


def test_a_base_plan_is_in_group_main_and_an_add_on_in_none() -> None:
    plans = parse_catalog_file(RIGHT + '[projects.acme.plans.more]\nkind = "addon"\n', file="f")["acme"].plans
    assert (plans["pro"].group, plans["more"].group) == ("main", None)


def test_the_order_of_tables_in_the_file_changes_nothing() -> None:
    head, *tables = RIGHT.strip().split("\n[")
    shuffled = "\n[".join([head, *reversed(tables)])
    assert parse_catalog_file(shuffled, file="f") == parse_catalog_file(RIGHT, file="f")


def test_the_shipped_sample_shows_each_kind_of_thing() -> None:
    catalogs = parse_catalog_file(SAMPLE.read_text(encoding="utf-8"), file="catalog.toml")
    acme, globex = catalogs["acme"], catalogs["globex"]
    assert (sorted(acme.apps), sorted(globex.apps)) == (["editor", "viewer"], ["board"])
    assert {feature.type for feature in acme.features.values()} == {"boolean", "integer", "enum", "set"}
    assert {plan.kind for plan in acme.plans.values()} == {"base", "addon"}
    assert {"month", "year"} <= acme.plans["pro"].prices.keys()
    assert acme.plans["pro"].trial_days == 0
    assert acme.plans["pass"].prices["once"].duration_days == 30
    assert all("http://localhost:3000" in app.redirect_origins for app in acme.apps.values())


# ── what is refused, with its place ─────────────────────────────────────────────────────────────────


def test_all_errors_are_told_at_once_with_file_table_and_key() -> None:
    text = with_table("policy", "grace_days = -1", "settle_hour = 3") + "[project]\n"
    errors = refusals(text)
    assert [(error["table"], error["key"]) for error in errors] == [
        ("projects.acme.policy", "grace_days"),
        ("projects.acme.policy", "settle_hour"),
        ("", "project"),
    ]
    assert errors[0]["field"] == "shop.toml: [projects.acme.policy] grace_days"


def test_the_message_of_the_error_lists_every_place() -> None:
    with pytest.raises(CatalogInvalid, match=r"(?s)shop\.toml has 2 errors:.*grace_days.*dispute") as raised:
        parse_catalog_file(with_table("policy", "grace_days = -1", 'dispute = "no"'), file="shop.toml")
    # A door lists `errors` itself: said in both, each place would be read twice.
    assert raised.value.detail == "shop.toml has 2 errors"


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    table, key, detail = refusal(with_table("plans.pro", "trail_days = 3"))
    assert (table, key) == ("projects.acme.plans.pro", "trail_days")
    assert 'did you mean "trial_days"?' in detail


def test_text_that_is_no_toml_is_refused_with_its_line() -> None:
    assert "line 2" in refusal("[projects.acme]\nname = \n")[2]


def test_a_file_without_a_project_is_refused() -> None:
    assert "[projects.<key>]" in refusal("")[2]


def test_a_project_without_an_app_is_refused() -> None:
    assert refusal("[projects.acme]\n")[:2] == ("projects.acme", "apps")


@pytest.mark.parametrize("key", ["Pro", "1st", "a-b", "_a", "é", "x" * 61])
def test_a_key_that_is_no_key_is_refused(key: str) -> None:
    table, wrong, detail = refusal(RIGHT + f'[projects.acme.plans."{key}"]\n')
    assert (table, wrong) == ("projects.acme.plans", key)
    assert "[a-z][a-z0-9_]*" in detail


@pytest.mark.parametrize("key", ["query", "changes", "stream", "snapshot"])
def test_a_reserved_feature_key_is_refused(key: str) -> None:
    table, _, detail = refusal(RIGHT + f'[projects.acme.features.{key}]\ntype = "boolean"\n')
    assert table == f"projects.acme.features.{key}"
    assert "reserved" in detail


@pytest.mark.parametrize(
    ("table", "line", "key"),
    [
        ("", "name = 3", "name"),
        ("", 'name = " "', "name"),
        ("", 'timezone = "Mars/Olympus"', "timezone"),
        ("", 'timezone = "../etc/passwd"', "timezone"),
        ("", "policy = 3", "policy"),
        ("policy", "grace_days = true", "grace_days"),
        ("policy", "grace_days = 366", "grace_days"),
        ("policy", "settle_hours = 1.5", "settle_hours"),
        ("policy", "grace_days_after_trial = -1", "grace_days_after_trial"),
        ("policy", 'refund = "half"', "refund"),
        ("policy", "refund = { revoke_from = 0 }", "refund"),
        ("policy", "refund = { revoke_from = 1.1 }", "refund"),
        ("policy", "refund = { revoke_from = nan }", "refund"),
        ("policy", "refund = { revoke_from = true }", "refund"),
        ("policy", "refund = { revoke_from = 0.5, x = 1 }", "refund"),
        ("policy", 'dispute = "ignore"', "dispute"),
        ("policy", 'pause_void = "stop"', "pause_void"),
        ("checkout", "automatic_tax = 1", "automatic_tax"),
        ("portal", 'switch_plans = "pro"', "switch_plans"),
        ("portal", 'switch_plans = ["pro", "pro"]', "switch_plans"),
        ("portal", 'switch_plans = ["max"]', "switch_plans"),
        ("features.more", "max_stale_s = 1", "type"),
        ("features.seats", 'merge = "min"', "merge"),
        ("features.export", 'merge = "max"', "merge"),
        ("features.export", 'values = ["a"]', "values"),
        ("features.export", 'apps = ["edtor"]', "apps"),
        ("features.export", 'on_unavailable = "maybe"', "on_unavailable"),
        ("features.export", "default = 1", "default"),
        ("features.seats", "default = { value = 5, per_unit = true }", "default"),
        ("features.level", 'default = "middle"', "default"),
        ("plans.pro", 'kind = "bundle"', "kind"),
        ("plans.pro", 'group = "The Group"', "group"),
        ("plans.pro", "trial_days = 731", "trial_days"),
        ("plans.pro", 'grandfather = "yes"', "grandfather"),
        ("plans.pro", 'requires = "pro"', "requires"),
        ("plans.pro.weights", "edtor = 70", "edtor"),
        ("plans.pro.weights", "editor = -1", "editor"),
        ("plans.pro.grants", "exprt = true", "exprt"),
        ("plans.pro.grants", "seats = -1", "seats"),
        ("plans.pro.grants", 'seats = "many"', "seats"),
        ("plans.pro.grants", "seats = { value = 5, per = true }", "seats"),
        ("plans.pro.grants", 'seats = { value = "unlimited", per_unit = true }', "seats"),
        ("plans.pro.grants", "seats = true", "seats"),
        ("plans.pro.grants", 'level = "middle"', "level"),
        ("plans.pro.grants", "level = 2", "level"),
        ("plans.pro.grants", 'formats = "png"', "formats"),
        ("plans.pro.grants", 'formats = ["png", "png"]', "formats"),
        ("plans.pro.prices.month", 'duration = "P30D"', "duration"),
        ("plans.pro.prices.month", "interval_count = 0", "interval_count"),
        ("plans.pro.prices.month", "stripe_ids = [1]", "stripe_ids"),
    ],
)
def test_a_wrong_value_is_refused_at_its_key(table: str, line: str, key: str) -> None:
    found_table, found_key, detail = refusal(with_table(table, line))
    assert found_table == (f"projects.acme.{table}" if table else "projects.acme")
    assert found_key == key
    assert detail


@pytest.mark.parametrize("duration", ['"P0D"', '"P1M"', '"30"', '"P36501D"', "30", '"forever"'])
def test_a_one_time_price_lasts_so_many_days_or_a_lifetime(duration: str) -> None:
    text = RIGHT + f"[projects.acme.plans.pro.prices.once]\namounts = {{ usd = 1 }}\nduration = {duration}\n"
    assert refusal(text)[1] == "duration"


def test_a_price_needs_an_interval_or_a_duration() -> None:
    text = RIGHT + "[projects.acme.plans.pro.prices.once]\namounts = { usd = 1 }\n"
    assert "missing" in refusal(text)[2]


@pytest.mark.parametrize(
    ("amounts", "key"),
    [("{ USD = 1 }", "USD"), ("{ usd = -1 }", "usd"), ("{ usd = 1.5 }", "usd"), ("{ euro = 1 }", "euro")],
)
def test_an_amount_is_minor_units_of_a_currency(amounts: str, key: str) -> None:
    table, wrong, _ = refusal(RIGHT.replace("{ usd = 1900 }", amounts))
    assert (table, wrong) == ("projects.acme.plans.pro.prices.month.amounts", key)


def test_a_price_without_amounts_is_refused() -> None:
    assert refusal(RIGHT.replace("amounts = { usd = 1900 }", ""))[1] == "amounts"


@pytest.mark.parametrize(
    "origin",
    [
        "https://editor.example/",
        "https://editor.example/path",
        "https://Editor.example",
        "https://me@editor.example",
        "https://*.example",
        "http://editor.example",
        "http://localhost.evil.example",
        "ftp://editor.example",
        "editor.example",
        "https://",
        "https://editor.example:port",
        "https://[::1",
        "https://editor.example?x=1",
    ],
)
def test_a_redirect_origin_is_exact_and_https(origin: str) -> None:
    table, key, _ = refusal(with_table("apps.editor", f'redirect_origins = ["{origin}"]'))
    assert (table, key) == ("projects.acme.apps.editor", "redirect_origins")


@pytest.mark.parametrize(
    "origin",
    [
        "https://editor.example",
        "https://editor.example:8443",
        "http://localhost:3000",
        "http://127.0.0.1:80",
        "http://[::1]:3000",
    ],
)
def test_a_redirect_origin_may_be_https_or_local_http(origin: str) -> None:
    text = with_table("apps.editor", f'redirect_origins = ["{origin}"]')
    assert parse_catalog_file(text, file="f")["acme"].apps["editor"].redirect_origins == (origin,)


def test_an_add_on_that_requires_an_unknown_plan_is_refused() -> None:
    text = RIGHT + '[projects.acme.plans.more]\nkind = "addon"\nrequires = "prro"\n'
    table, key, detail = refusal(text)
    assert (table, key) == ("projects.acme.plans.more", "requires")
    assert 'did you mean "pro"?' in detail


def test_an_add_on_cannot_require_an_add_on() -> None:
    text = RIGHT + (
        '[projects.acme.plans.more]\nkind = "addon"\n'
        '[projects.acme.plans.most]\nkind = "addon"\nrequires = "more"\n'
    )
    assert refusal(text)[:2] == ("projects.acme.plans.most", "requires")


def test_two_plans_with_one_product_are_refused() -> None:
    text = RIGHT + '[projects.acme.plans.max]\nstripe_product = "acme_pro"\n'
    table, key, detail = refusal(text)
    assert (table, key) == ("projects.acme.plans.pro", "stripe_product")
    assert "[projects.acme.plans.max]" in detail


def test_plans_of_two_projects_whose_product_ids_meet_are_refused() -> None:
    other = RIGHT.replace("projects.acme", "projects.acme_pro").replace("plans.pro", "plans.x")
    text = RIGHT.replace("plans.pro", "plans.pro_x") + other
    assert refusal(text)[1] == "stripe_product"


def test_a_stripe_price_listed_twice_is_refused() -> None:
    text = with_table("plans.pro.prices.month", 'stripe_ids = ["price_1"]') + (
        '[projects.acme.plans.pro.prices.year]\ninterval = "year"\namounts = { usd = 1 }\n'
        'stripe_ids = ["price_1"]\n'
    )
    table, key, detail = refusal(text)
    assert (table, key) == ("projects.acme.plans.pro.prices.year", "stripe_ids")
    assert "price_1" in detail


def test_the_portal_lists_at_most_ten_plans() -> None:
    plans = [f"plan_{number}" for number in range(11)]
    tables = "".join(f"[projects.acme.plans.{plan}]\n" for plan in plans)
    text = RIGHT + tables + f"[projects.acme.portal]\nswitch_plans = {plans}\n"
    assert refusal(text)[:2] == ("projects.acme.portal", "switch_plans")
