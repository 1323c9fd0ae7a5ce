from pathlib import Path

import pytest

from deploy.local.stripe_simulator.journal import FILE_NAME, Journal, StateUnusable
from deploy.local.stripe_simulator.store import Store


def reopened(directory: Path) -> Store:
    return Store(Journal(directory))


def test_committed_rows_come_back_in_order(tmp_path: Path) -> None:
    store = reopened(tmp_path)
    account = store.open_account("sk_test_a", "acct_a")
    for number in (3, 1, 2):
        account.put("customer", {"id": f"cus_{number}", "email": "a@example.com"})
    store.commit()
    account.put("customer", {"id": "cus_3", "email": "b@example.com"})
    account.remove("customer", "cus_1")
    store.commit()
    store.close()
    again = reopened(tmp_path)
    found = again.accounts["acct_a"]
    assert list(found.rows["customer"]) == ["cus_3", "cus_2"]
    assert [row["id"] for row in found.where("customer", "email", "b@example.com")] == ["cus_3"]
    again.close()


def test_uncommitted_rows_are_gone(tmp_path: Path) -> None:
    store = reopened(tmp_path)
    store.open_account("sk_test_a", "acct_a").put("customer", {"id": "cus_1"})
    store.close()
    again = reopened(tmp_path)
    assert again.accounts["acct_a"].rows == {}
    again.close()


def test_damaged_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database" * 100)
    with pytest.raises(StateUnusable, match="--reset"):
        Journal(tmp_path)


def test_second_simulator_on_one_state_is_refused(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(StateUnusable, match="in use by another simulator"):
        Journal(tmp_path)
    first.close()


def test_state_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    journal.close()


def test_key_of_an_account_may_change_but_not_be_shared(tmp_path: Path) -> None:
    store = reopened(tmp_path)
    store.open_account("sk_test_a", "acct_a")
    store.open_account("sk_test_b", "acct_a")
    assert store.find_by_key("sk_test_a") is None
    with pytest.raises(ValueError, match="acct_a"):
        store.open_account("sk_test_b", "acct_b")
    store.close()
