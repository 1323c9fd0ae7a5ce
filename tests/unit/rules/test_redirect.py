"""Only the origins an app's catalog lists; every trick that leads elsewhere is refused."""

import pytest

from domain.rules.redirect import find_redirect_fault

OURS = "https://editor.acme.example"
ORIGINS = (OURS, "https://pay.acme.example:8443", "http://localhost:3000")

#: Ways to make `evil.example` look like ours, or ours lead to it.
SHAPES = [
    "https://{evil}",
    "https://{evil}/{ours}",
    "https://{evil}?{ours}",
    "https://{evil}#{ours}",
    "https://{evil}/https://{ours}",
    "https://{ours}@{evil}",
    "https://{ours}@{evil}/",
    "https://{ours}:443@{evil}",
    "https://{ours}%40{evil}",
    "https://{ours}:x@{evil}",
    "https://user:pass@{ours}",
    "https://{ours}.{evil}",
    "https://{ours}{evil}",
    "https://{ours}-{evil}",
    "https://{ours}%2e{evil}",
    "https://{ours}%00.{evil}",
    "https://{ours}%0a.{evil}",
    "https://{ours}\\{evil}",
    "https://{ours}\\@{evil}",
    "https:\\\\{ours}",
    "https:/{ours}",
    "https:{ours}",
    "https:///{ours}",
    "//{ours}",
    "///{evil}",
    "/{ours}",
    "{ours}",
    "\\\\{evil}",
    "http://{ours}",
    "HTTPS://{ours}",
    "https://{OURS}",
    "https://{ours}:443",
    "https://{ours}:8443",
    "https://{ours}:",
    "https://{ours}.",
    "https://{ours}./",
    "https://.{ours}",
    "https://www.{ours}",
    "https://acme.example",
    "https://ours.acme.example",
    "https://[{ours}]",
    "https://{ours}%20",
    "javascript:location='https://{ours}'",
    "javascript://{ours}/%0aalert(1)",
    "data:text/html,https://{ours}",
    "vbscript:{ours}",
    "file://{ours}/etc/passwd",
    "ftp://{ours}",
    "blob:https://{ours}/1",
    "view-source:https://{ours}",
    "about:blank",
    "ws://{ours}",
    "http://localhost",
    "http://localhost:3001",
    "http://localhost:30000",
    "http://localhost:3000.{evil}",
    "http://localhost:3000@{evil}",
    "https://localhost:3000",
    "http://127.0.0.1:3000",
    "http://[::1]:3000",
    "http://0.0.0.0:3000",
    "",
    "https://",
    "https://{ours}\u2044.{evil}",
    "https://{ours}\uff0e{evil}",
    "https://{ours}\u3002{evil}",
    "https://\uff45ditor.acme.example",
    "https://\u0435ditor.acme.example",
    "https://xn--ditor-n5d.acme.example",
]
EVILS = [
    "evil.example",
    "EVIL.example",
    "1.2.3.4",
    "[::ffff:1.2.3.4]",
    "2130706433",
    "0x7f.1",
    "evil\u3002example",
]
#: Put before, inside or after: what parsers strip and browsers do not, or the other way round.
NOISE = [
    "\t", "\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1f", " ", "\x7f", "\x85", "\xa0", "\u200b", "\u2028",
    "\ufeff", "\u00ad", "\u202e", "<", '"', "`", "{", "}", "|", "^", "\\",
]  # fmt: skip


def tricks() -> list[str]:
    host = OURS.removeprefix("https://")
    shaped = {shape.format(ours=host, OURS=host.upper(), evil=evil) for shape in SHAPES for evil in EVILS}
    noisy = {noise + OURS for noise in NOISE} | {OURS + noise for noise in NOISE}
    inside = {f"https:{noise}//{host}" for noise in NOISE} | {f"{OURS}/a{noise}b" for noise in NOISE}
    return sorted(shaped | noisy | inside)


def test_no_trick_passes() -> None:
    found = tricks()
    assert len(found) >= 300
    assert [url for url in found if find_redirect_fault(url, ORIGINS, "test") is None] == []


@pytest.mark.parametrize(
    "url",
    [
        OURS,
        OURS + "/",
        OURS + "/billing/done?session={CHECKOUT_SESSION_ID}&x=%2F#top",
        OURS + "?a=b",
        OURS + "#done",
        OURS + "/a@b//evil.example",
        "https://pay.acme.example:8443/x",
        "http://localhost:3000/x",
    ],
)
def test_every_place_at_a_listed_origin_is_fine(url: str) -> None:
    assert find_redirect_fault(url, ORIGINS, "test") is None


def test_localhost_counts_in_test_mode_only() -> None:
    assert find_redirect_fault("http://localhost:3000/x", ORIGINS, "live") is not None
    assert find_redirect_fault(OURS, ORIGINS, "live") is None


def test_the_refusal_says_which_origins_are_listed() -> None:
    fault = find_redirect_fault("https://evil.example", ORIGINS, "live")
    assert fault is not None
    assert OURS in fault
    assert "localhost" not in fault


def test_a_url_too_long_for_browsers_is_refused() -> None:
    assert find_redirect_fault(OURS + "/" + "a" * 2048, ORIGINS, "test") == "longer than 2048 characters"


def test_an_app_without_origins_sends_nobody_anywhere() -> None:
    assert find_redirect_fault(OURS, (), "test") is not None
