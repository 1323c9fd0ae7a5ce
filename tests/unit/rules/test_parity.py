"""Two deployments are the same where they sell and give the same, under whatever ids."""

import msgspec
from msgspec.structs import replace

from domain.rules.catalog import parse_catalog_file
from domain.rules.parity import AccountState, EndpointState, compare_accounts
from tests.flows.catalog_seeds import CATALOG_TOML


def state(text: str = CATALOG_TOML, **fields: object) -> AccountState:
    catalogs = parse_catalog_file(text, file="catalog.toml")
    values = {"account": "acct_1", "mode": "test", "env": "test", "in_force": catalogs, "at_stripe": catalogs}
    return AccountState(**{"endpoint": None, **values, **fields})  # type: ignore[arg-type] # by name


def differences(here: AccountState, there: AccountState) -> list[tuple[object, ...]]:
    # As it comes out of the other's file.
    read = msgspec.json.decode(msgspec.json.encode(there), type=AccountState)
    return [
        (
            one.place,
            one.noun.noun,
            one.noun.key,
            one.noun.change,
            tuple(field.field for field in one.noun.fields),
        )
        for one in compare_accounts(here, read)
    ]


def test_ids_that_each_account_chooses_are_no_difference() -> None:
    imported = CATALOG_TOML.replace(
        "[projects.acme.plans.pro]\n", '[projects.acme.plans.pro]\nstripe_product = "prod_1"\n'
    ).replace("amounts = { usd = 1900 }", 'amounts = { usd = 1900 }\nstripe_ids = ["price_1"]')
    assert differences(state(), state(imported, account="acct_2", mode="live", env="shop")) == []


def test_what_is_sold_or_given_otherwise_is_named_by_place_and_key() -> None:
    dearer = state(CATALOG_TOML.replace("usd = 1900", "usd = 2900").replace("value = 5", "value = 6"))
    assert differences(state(), replace(state(), in_force=dearer.in_force)) == [
        ("in force", "plan", "pro", "changed", ("grants.seats",)),
        ("in force", "price", "pro.month", "changed", ("amounts.usd",)),
    ]
    less = state(CATALOG_TOML[: CATALOG_TOML.index("[projects.acme.plans.team]")])
    assert differences(state(), replace(state(), at_stripe=less.at_stripe)) == [
        ("at Stripe", "plan", "team", "removed", ()),
        ("at Stripe", "price", "team.month", "removed", ()),
    ]
    assert differences(replace(state(), in_force={}), state()) == [
        ("in force", "project", "acme", "added", ())
    ]


def test_endpoints_are_compared_where_both_are_known() -> None:
    one, other = EndpointState(types=["a"], version="1"), EndpointState(types=["a", "b"], version=None)
    assert differences(state(endpoint=one), state()) == []
    assert differences(state(endpoint=one), state(endpoint=other)) == [
        ("endpoint", "endpoint", "events", "changed", ("types", "version"))
    ]
