"""What is believed of a request's own words: its host, its way through proxies, its page."""

from typing import Any

import pytest

from domain.addresses import parse_hosts, parse_networks, parse_origins
from domain.errors import Misdirected, Rejected
from domain.settings import Settings, SettingsInvalid, load_settings
from ingress.border import Border

PROXIES = parse_networks("10.0.0.0/8, 2001:db8:ffff::/48")


def make_scope(client: str | None = "203.0.113.9", method: str = "GET", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    peer = (client, 40000) if client else None
    return {"type": "http", "method": method, "scheme": "http", "client": peer, "headers": pairs}


def test_where_nothing_is_set_nothing_is_looked_at() -> None:
    border = Border(Settings())
    assert not border.is_watched
    assert border.cors_headers(make_scope(origin="https://evil.example")) == []


@pytest.mark.parametrize("host", ["api.example.com", "API.example.com:8000", "[::1]:8000", "[::1]"])
def test_a_host_of_ours_is_let_in_whatever_its_case_and_port(host: str) -> None:
    Border(Settings(allowed_hosts=("api.example.com", "[::1]"))).admit(make_scope(host=host))


@pytest.mark.parametrize(
    "host", ["evil.example", "api.example.com.evil.example", "api.example.com:x", "", "é"]
)
def test_another_host_is_refused_by_name(host: str) -> None:
    with pytest.raises(Misdirected, match="base URL"):
        Border(Settings(allowed_hosts=("api.example.com",))).admit(make_scope(host=host))


def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    border = Border(Settings(allowed_hosts=("a.example",)))
    for scope in (make_scope(), {**make_scope(), "headers": [(b"host", b"a.example")] * 2}):
        with pytest.raises(Rejected, match="once"):
            border.admit(scope)


@pytest.mark.parametrize(
    ("client", "said", "address"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        # Only a proxy of ours is believed.
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # What the caller wrote before our proxies added theirs counts for nothing.
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, nonsense, 10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # IPv6 callers are their network.
        ("2001:db8:1:2:3::4", None, "2001:db8:1:2::/64"),
        ("2001:db8:ffff::1", "2001:db8:1:2:ffff::4", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", None, "203.0.113.9"),
        (None, "198.51.100.1", ""),
    ],
)
def test_a_callers_address_is_the_first_that_no_proxy_of_ours_has(
    client: str | None, said: str | None, address: str
) -> None:
    scope = make_scope(client) if said is None else make_scope(client, x_forwarded_for=said)
    assert Border(Settings(trusted_proxies=PROXIES)).address_of(scope) == address


def test_without_trusted_proxies_nobody_says_another_address_or_scheme() -> None:
    border = Border(Settings())
    assert border.address_of(make_scope("10.0.0.1", x_forwarded_for="1.2.3.4")) == "10.0.0.1"
    trusting = Border(Settings(trusted_proxies=PROXIES))
    for client, said, scheme in (
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "gopher", "http"),
        ("203.0.113.9", "https", "http"),
    ):
        scope = make_scope(client, x_forwarded_proto=said)
        trusting.admit(scope)
        assert scope["scheme"] == scheme


def test_a_page_of_an_origin_of_ours_may_ask_and_no_other_is_told_anything() -> None:
    border = Border(Settings(cors_origins=("https://console.example",)))
    ours = dict(border.cors_headers(make_scope(origin="https://console.example")))
    assert ours[b"access-control-allow-origin"] == b"https://console.example"
    assert b"access-control-allow-credentials" not in ours
    for other in ("https://evil.example", "https://console.example.evil.example", "null", "*"):
        assert border.cors_headers(make_scope(origin=other)) == [(b"vary", b"Origin")]
    asked = {"method": "OPTIONS", "access_control_request_method": "POST"}
    assert border.answer_preflight(make_scope(origin="https://console.example", **asked)) is not None
    assert border.answer_preflight(make_scope(origin="https://evil.example", **asked)) is None
    assert border.answer_preflight(make_scope(origin="https://console.example", method="OPTIONS")) is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CORS_ORIGINS", "*", "is no origin"),
        ("CORS_ORIGINS", "https://a.example/", "is no origin"),
        ("CORS_ORIGINS", "https://*.a.example", "is no origin"),
        ("CORS_ORIGINS", "a.example", "is no origin"),
        ("CORS_ORIGINS", "null", "is no origin"),
        ("ALLOWED_HOSTS", "https://a.example", "without scheme"),
        ("ALLOWED_HOSTS", "*", "without scheme"),
        ("TRUSTED_PROXIES", "all", "TOLLHOUSE_TRUSTED_PROXIES"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "host bits"),
        ("READ_RATE", "-1", "0 for no limit"),
        ("WRITE_RATE", "inf", "0 for no limit"),
        ("FAILED_LOGIN_RATE", "many", "TOLLHOUSE_FAILED_LOGIN_RATE"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_to_write(name: str, value: str, said: str) -> None:
    given = {"TOLLHOUSE_DATABASE_URL": "postgresql://db/x", f"TOLLHOUSE_{name}": value}
    with pytest.raises(SettingsInvalid, match=said):
        load_settings("migrate", given)


def test_lists_of_names_are_read_with_their_spaces() -> None:
    assert parse_hosts(" Api.example.com , [::1]") == ("api.example.com", "[::1]")
    assert parse_origins("https://a.example, http://localhost:3000") == (
        "https://a.example",
        "http://localhost:3000",
    )
    assert [str(network) for network in parse_networks("10.0.0.7, ::1")] == ["10.0.0.7/32", "::1/128"]
