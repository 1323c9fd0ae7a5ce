"""The text of API keys."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.api_key import (
    ID_BYTES,
    SECRET_BYTES,
    ApiKey,
    format_key,
    hash_secret,
    is_secret_of,
    make_key,
    parse_key,
)

KEY = make_key("test", bytes(range(ID_BYTES)), bytes(range(SECRET_BYTES)))
TEXT = format_key(KEY)


def test_a_key_reads_th_mode_id_secret_checksum() -> None:
    assert re.fullmatch(r"th_test_[0-9A-Za-z]{14}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", TEXT)
    assert format_key(make_key("live", os.urandom(10), os.urandom(32))).startswith("th_live_")


@given(id_bytes=st.binary(min_size=10, max_size=10), secret=st.binary(min_size=32, max_size=32))
def test_every_key_is_read_back_and_no_two_are_equal(id_bytes: bytes, secret: bytes) -> None:
    key = make_key("test", id_bytes, secret)
    assert parse_key(format_key(key)) == key
    if (id_bytes, secret) != (bytes(range(10)), bytes(range(32))):
        assert format_key(key) != TEXT


def test_the_smallest_and_the_largest_bytes_fit() -> None:
    for filler in (b"\x00", b"\xff"):
        key = make_key("test", filler * 10, filler * 32)
        assert parse_key(format_key(key)) == key
    assert make_key("test", b"\xff" * 10, b"\xff" * 32) != make_key("test", b"\x00" * 10, b"\x00" * 32)


@pytest.mark.parametrize("place", range(len(TEXT)))
def test_one_wrong_character_anywhere_is_noticed(place: int) -> None:
    for wrong in "0aZ_":
        if wrong != TEXT[place]:
            assert parse_key(TEXT[:place] + wrong + TEXT[place + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "th",
        TEXT[:-1],
        TEXT + "0",
        " " + TEXT,
        TEXT + "\n",
        TEXT.upper(),
        "sk_test_123",
        "é" * 76,
        "th_test_" * 9,
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    assert parse_key(text) is None


def test_a_secret_is_told_apart_by_its_hmac() -> None:
    stored = hash_secret(b"p" * 32, KEY.secret)
    assert len(stored) == 32
    assert is_secret_of(stored, b"p" * 32, KEY.secret)
    assert not is_secret_of(stored, b"q" * 32, KEY.secret)
    assert not is_secret_of(stored, b"p" * 32, KEY.secret[:-1] + ("0" if KEY.secret[-1] != "0" else "1"))


def test_a_key_in_a_log_line_does_not_show_its_secret() -> None:
    assert KEY.secret not in repr(KEY)
    assert KEY.secret not in f"{ApiKey('test', 'a', KEY.secret)}"


def test_random_bytes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="10 and 32"):
        make_key("test", b"short", b"s" * 32)
