import pytest

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.errors import StripeError


def test_brackets_nest_into_hashes_and_arrays() -> None:
    form = params.decode_form(
        "items[0][price]=a&items[0][metadata][k]=v%20w&items[1][price]=b&lookup_keys[]=x"
    )
    assert form == {
        "items": {"0": {"price": "a", "metadata": {"k": "v w"}}, "1": {"price": "b"}},
        "lookup_keys": {"0": "x"},
    }


def test_empty_brackets_count_upwards() -> None:
    form = params.decode_form("expand[]=a&expand[]=b&expand[]=c")
    assert params.list_of(params.text)(form["expand"], "expand") == ["a", "b", "c"]


def test_array_is_read_in_the_order_of_its_numbers() -> None:
    numbers = {str(n): f"value-{n}" for n in reversed(range(12))}
    assert params.list_of(params.text)(numbers, "x") == [f"value-{n}" for n in range(12)]


@pytest.mark.parametrize("body", ["a=1&a[b]=2", "a[b]=2&a=1", "a[b]=1&a[b][c]=2"])
def test_name_that_is_both_value_and_hash_is_refused(body: str) -> None:
    with pytest.raises(StripeError):
        params.decode_form(body)


@pytest.mark.parametrize(
    ("reader", "raw", "code"),
    [
        (params.integer, "1.5", "parameter_invalid_integer"),
        (params.integer, "٣", "parameter_invalid_integer"),
        (params.amount, "-1", "parameter_invalid_integer"),
        (params.text, "", "parameter_invalid_empty"),
        (params.boolean, "yes", None),
        (params.currency, "dollars", None),
        (params.one_of("a", "b"), "c", None),
        (params.list_of(params.text), "a", None),
        (params.list_of(params.text), {"x": "a"}, None),
        (params.list_of(params.text, at_most=1), {"0": "a", "1": "b"}, None),
        (params.hash_of({}), "a", None),
        (params.metadata, {"k" * 41: "v"}, None),
        (params.metadata, {"k": "v" * 501}, None),
        (params.metadata, {str(n): "v" for n in range(51)}, None),
    ],
)
def test_value_of_the_wrong_kind_is_refused_by_name(
    reader: params.Reader, raw: params.Raw, code: str | None
) -> None:
    with pytest.raises(StripeError) as caught:
        reader(raw, "the_name")
    assert caught.value.status == 400
    assert "the_name" in caught.value.error["param"]
    assert caught.value.error.get("code") == code


def test_unknown_parameter_is_named_in_full() -> None:
    reader = params.list_of(params.hash_of({"price": params.text}))
    with pytest.raises(StripeError, match=r"items\[0\]\[prise\]") as caught:
        reader({"0": {"prise": "x"}}, "items")
    assert caught.value.error["code"] == "parameter_unknown"
    assert caught.value.error["param"] == "items[0][prise]"


def test_missing_parameter_is_named_in_full() -> None:
    reader = params.list_of(params.hash_of({"price": params.text}, required=("price",)))
    with pytest.raises(StripeError) as caught:
        reader({"0": {}}, "items")
    assert caught.value.error["code"] == "parameter_missing"
    assert caught.value.error["param"] == "items[0][price]"


def test_refusal_of_a_malformed_parameter_is_not_saved_under_the_idempotency_key() -> None:
    with pytest.raises(StripeError) as caught:
        params.integer("x", "n")
    assert caught.value.is_saved is False


def test_empty_metadata_value_removes_its_key_and_empty_metadata_removes_all() -> None:
    now = {"a": "1", "b": "2"}
    assert params.changed_metadata(now, params.metadata({"a": "", "c": "3"}, "metadata")) == {
        "b": "2",
        "c": "3",
    }
    assert params.changed_metadata(now, params.metadata("", "metadata")) == {}
    assert params.changed_metadata(now, None) == now


@pytest.mark.parametrize(
    ("raw", "inside", "outside"),
    [
        ("5", [5], [4, 6]),
        ({"gt": "5"}, [6], [5]),
        ({"gte": "5", "lt": "7"}, [5, 6], [4, 7]),
        ({"lte": "7"}, [0, 7], [8]),
    ],
)
def test_created_filter_keeps_what_lies_inside(
    raw: params.Raw, inside: list[int], outside: list[int]
) -> None:
    is_inside = params.moment_range(raw, "created")
    assert all(is_inside(moment) for moment in inside)
    assert not any(is_inside(moment) for moment in outside)
