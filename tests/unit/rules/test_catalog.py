"""A catalog's JSON, its lookups, and its objects in Stripe's shape."""

from datetime import UTC, datetime

import msgspec
import pytest

from domain.rules.catalog import (
    Catalog,
    Feature,
    GrantValue,
    decode_catalog,
    encode_catalog,
    find_price,
    is_same_content,
    lookup_key,
    parse_catalog_file,
    plan_grants,
    plan_of,
    stripe_objects,
    with_older_grants,
)
from domain.rules.catalog.values import fits
from tests.unit.rules.builders import CATALOG, CATALOG_TOML, make_catalog


def version(seats: int, *, grandfather: bool = True) -> Catalog:
    flag = "true" if grandfather else "false"
    return make_catalog(
        **{"grants = { export = true, seats = 3 }": f"grandfather = {flag}\ngrants = {{ seats = {seats} }}"}
    )


def instant(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


def test_a_catalog_survives_its_json() -> None:
    data = encode_catalog(CATALOG)
    assert decode_catalog(data) == CATALOG
    assert encode_catalog(decode_catalog(data)) == data


def test_older_grants_survive_the_json() -> None:
    head = with_older_grants(version(3), [(version(9), instant(2020), instant(2021))])
    assert decode_catalog(encode_catalog(head)) == head


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="policies"):
        decode_catalog(encode_catalog(CATALOG).replace(b'"policy"', b'"policies"'))


def test_a_price_listed_in_stripe_ids_beats_its_product() -> None:
    plan = plan_of(CATALOG, "price_legacy", "acme_team")
    assert plan is not None
    assert plan.key == "pro"


def test_a_price_that_is_not_listed_is_mapped_by_its_product() -> None:
    plan = plan_of(CATALOG, "price_from_the_dashboard", "acme_team")
    assert plan is not None
    assert plan.key == "team"


def test_an_unknown_price_of_an_unknown_product_has_no_plan() -> None:
    assert plan_of(CATALOG, "price_x", "prod_x") is None


def test_a_plan_may_be_a_product_that_exists_already() -> None:
    catalog = make_catalog(**{"rank = 20": 'rank = 20\nstripe_product = "prod_old"'})
    assert plan_of(catalog, "price_x", "prod_old") == catalog.plans["pro"]
    assert plan_of(catalog, "price_x", "acme_pro") is None


def test_a_price_is_found_by_the_keys_of_plan_and_price() -> None:
    assert find_price(CATALOG, "pass", "once") == CATALOG.plans["pass"].prices["once"]
    assert find_price(CATALOG, "pass", "month") is None
    assert find_price(CATALOG, "none", "once") is None


def test_a_lookup_key_names_project_plan_and_price() -> None:
    assert lookup_key("acme", "pro", "month") == "acme:pro:month"


def test_a_plan_that_is_not_grandfathered_grants_what_the_head_says() -> None:
    earlier = (version(9, grandfather=True), instant(2020), instant(2021))
    head = with_older_grants(version(3, grandfather=False), [earlier])
    assert head.older_grants == ()
    assert plan_grants(head, head.plans["founder"], instant(2020))["seats"] == GrantValue(value=3)


@pytest.mark.parametrize(("bought", "seats"), [(2019, 9), (2020, 9), (2021, 8), (2022, 3), (2030, 3)])
def test_a_grandfathered_plan_grants_what_it_granted_when_it_was_bought(bought: int, seats: int) -> None:
    earlier = [
        (version(8), instant(2021), instant(2022)),
        (version(9), instant(2020), instant(2021)),
    ]
    head = with_older_grants(version(3), earlier)
    assert plan_grants(head, head.plans["founder"], instant(bought))["seats"] == GrantValue(value=seats)


def test_what_was_granted_earlier_is_no_content_of_a_version() -> None:
    head = with_older_grants(version(3), [(version(9), instant(2020), instant(2021))])
    assert is_same_content(head, version(3))
    assert is_same_content(version(3), head)
    assert not is_same_content(head, version(4))


def test_stripe_objects_have_stable_ids_and_the_lookup_keys() -> None:
    text = CATALOG_TOML.replace("{ usd = 4900 }", "{ usd = 4900, eur = 4500 }")
    objects = stripe_objects(parse_catalog_file(text, file="f"))
    products = {product["id"]: product for product in objects["products"]}
    prices = {price["id"]: price for price in objects["prices"]}
    assert products["acme_team"]["name"] == "team"
    team = prices["price_acme.team.month"]
    assert (team["product"], team["lookup_key"]) == ("acme_team", "acme:team:month")
    assert (team["currency"], team["unit_amount"]) == ("usd", 4900)
    assert team["currency_options"] == {"eur": {"unit_amount": 4500}}
    assert team["recurring"] == {"interval": "month", "interval_count": 1}
    assert prices["price_acme.pass.once"]["recurring"] is None


def test_every_stripe_price_is_mapped_back_to_its_plan() -> None:
    for price in stripe_objects({"acme": CATALOG})["prices"]:
        plan = plan_of(CATALOG, price["id"], price["product"])
        assert plan is not None
        assert plan.key == price["metadata"]["tollhouse_plan"]


def test_a_text_with_nul_is_no_value_of_a_set() -> None:
    formats = Feature(key="formats", type="set", apps=("tool",))
    assert fits(formats, ["png", "\N{PILE OF POO}"])
    assert not fits(formats, ["png", "a\0b"])
