from deploy.local.stripe_simulator.events import changes
from deploy.local.stripe_simulator.store import Account, Json


def new_account() -> Account:
    return Account("sk_test_a", "acct_a", 0)


def charge(charge_id: str, customer: str | None, intent: str = "pi_1") -> Json:
    return {"id": charge_id, "object": "charge", "customer": customer, "payment_intent": intent}


def ids(rows: list[Json]) -> list[str]:
    return [row["id"] for row in rows]


def test_filter_follows_a_row_whose_field_changes() -> None:
    account = new_account()
    row = charge("ch_1", "cus_1")
    account.put("charge", row)
    row["customer"] = "cus_2"
    account.put("charge", row)
    assert ids(account.where("charge", "customer", "cus_1")) == []
    assert ids(account.where("charge", "customer", "cus_2")) == ["ch_1"]


def test_filter_keeps_the_order_of_creation_after_changes() -> None:
    account = new_account()
    for number in range(3):
        account.put("charge", charge(f"ch_{number}", "cus_1"))
    account.put("charge", charge("ch_0", "cus_1"))
    assert ids(account.where("charge", "customer", "cus_1")) == ["ch_0", "ch_1", "ch_2"]


def test_removed_row_leaves_the_filter() -> None:
    account = new_account()
    account.put("charge", charge("ch_1", "cus_1"))
    account.remove("charge", "ch_1")
    assert account.where("charge", "customer", "cus_1") == []


def test_all_given_filters_must_match() -> None:
    account = new_account()
    account.put("charge", charge("ch_1", "cus_1", "pi_1"))
    account.put("charge", charge("ch_2", "cus_1", "pi_2"))
    asked = {"customer": "cus_1", "payment_intent": "pi_2"}
    assert ids(account.select("charge", asked, "customer", "payment_intent")) == ["ch_2"]
    assert ids(account.select("charge", {}, "customer")) == ["ch_1", "ch_2"]


def test_clearing_keeps_the_kinds_that_are_named_and_what_belongs_to_them() -> None:
    account = new_account()
    account.put("charge", charge("ch_1", None))
    account.put("webhook_endpoint", {"id": "we_1"})
    account.put("endpoint_secret", {"id": "we_1", "secret": "whsec_1"})
    account.clear(frozenset({"webhook_endpoint"}))
    assert account.find("charge", "ch_1") is None
    assert account.find("endpoint_secret", "we_1") == {"id": "we_1", "secret": "whsec_1"}


def test_previous_attributes_name_former_values_only_of_what_differs() -> None:
    before = {"a": 1, "b": 2, "metadata": {"x": "1", "y": "2"}, "items": {"object": "list", "data": [1]}}
    after = {"a": 1, "b": 3, "metadata": {"x": "1", "z": "4"}, "items": {"object": "list", "data": [2]}}
    assert changes(before, after) == {
        "b": 2,
        "metadata": {"y": "2", "z": None},
        "items": {"object": "list", "data": [1]},
    }
