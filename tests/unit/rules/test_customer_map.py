"""The map of an import: every wrong line is named, and a right file is read whole."""

import pytest

from domain.rules.customer_map import Fault, read_map, user_of_metadata

HEADER = "stripe_customer_id,user_id"


def faults_of(*lines: str) -> list[tuple[int, str]]:
    return [(fault.line, fault.said) for fault in read_map([HEADER, *lines]).faults]


def test_columns_are_found_by_name_and_others_passed_over() -> None:
    read = read_map(["reason,user_id,stripe_customer_id", "no map, u_1 ,cus_1", "", '"a, b","u,2",cus_2'])
    assert read.faults == ()
    assert [(one.line, one.customer_id, one.user_id) for one in read.lines] == [
        (2, "cus_1", "u_1"),
        (4, "cus_2", "u,2"),
    ]


@pytest.mark.parametrize(
    "header", ["", "user_id", "stripe_customer_id,user", "user_id,user_id,stripe_customer_id"]
)
def test_a_file_without_both_columns_is_refused_at_its_first_line(header: str) -> None:
    (fault,) = read_map([header, "cus_1,u_1"]).faults
    assert fault.line == 1
    assert "the first line has to name" in fault.said


def test_a_file_that_maps_nobody_says_so() -> None:
    assert read_map([HEADER]).faults == (Fault(line=0, said="the file maps no customer"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("../products,u_1", "cannot be a Stripe customer's id"),
        (",u_1", "cannot be a Stripe customer's id"),
        ("cus_1,", "names no user"),
        (f"cus_1,{'u' * 256}", "at most 255 characters"),
        ("cus_1,u\0", "no NUL"),
        ("cus_1", "has 1 columns, the first line 2"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(line: str, said: str) -> None:
    ((number, found),) = faults_of("cus_0,u_0", line)
    assert number == 3
    assert said in found


def test_a_customer_named_twice_is_wrong_whether_or_not_for_the_same_user() -> None:
    assert faults_of("cus_1,u_1", "cus_2,u_1", "cus_1,u_1", "cus_2,u_2") == [
        (4, "the same as line 2: a customer is named once"),
        (5, "cus_2 is another user's in line 3: a customer is named once"),
    ]


@pytest.mark.parametrize(
    ("metadata", "user_id", "said"),
    [
        ({"account": " u_1 "}, "u_1", None),
        ({"account": " "}, None, "its metadata has no account"),
        ({}, None, "its metadata has no account"),
        (None, None, "its metadata has no account"),
        ({"account": "u" * 256}, None, "metadata account: a user_id has at most 255 characters, and no NUL"),
    ],
)
def test_metadata_names_a_user_or_says_why_not(
    metadata: object, user_id: str | None, said: str | None
) -> None:
    assert user_of_metadata(metadata, "account") == (user_id, said)
