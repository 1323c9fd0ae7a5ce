"""What a setting's text may say: each kind of value, and the function that reads it or says what to write."""

from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct

from domain.addresses import parse_hosts, parse_networks, parse_origins
from domain.errors import Invalid
from domain.faults import parse_fault_points

Mode = Literal["live", "test"]

#: Draining and the longest request (10 s) fit the 25 s after which a process is killed.
LONGEST_DRAIN_S = 15.0
#: Where the door of Stripe is, behind whatever prefix a proxy takes away.
WEBHOOK_PATH = "/api/v1/webhooks/stripe"
#: 256 bits: the pepper is the key of an HMAC-SHA256.
MIN_PEPPER_BYTES = 32


class Secret(str):
    """A value that must not appear in logs or tracebacks: `reveal()` gives it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"

    def reveal(self) -> str:
        return str.__str__(self)


class WebhookSecret(Struct, frozen=True):
    """An endpoint's signing secret; `not_after` None: no end. Two are valid while one is rotated."""

    secret: Secret
    not_after: datetime | None = None


class MetricsBind(Struct, frozen=True):
    """Where a process shows its metrics; host "": nowhere, port 0: the one of its kind."""

    host: str
    port: int = 0


class SettingsInvalid(Invalid):
    """The environment lacks something or says something impossible."""

    code = "settings_invalid"


def stripe_mode(secret_key: str) -> Mode:
    """The mode a Stripe key belongs to, by its prefix.

    Raises:
        SettingsInvalid: for anything but sk_live_, rk_live_, sk_test_, rk_test_.
    """
    for mode in ("live", "test"):
        if secret_key.startswith((f"sk_{mode}_", f"rk_{mode}_")):
            return mode
    raise SettingsInvalid(
        "TOLLHOUSE_STRIPE_SECRET_KEY must start with sk_test_, rk_test_, sk_live_ or rk_live_; "
        "copy it from the Stripe dashboard, Developers, API keys."
    )


def _parse_database_url(text: str) -> Secret:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("write it as postgresql://user:password@host:5432/database")
    return Secret(text)


def _parse_redis_url(text: str) -> Secret:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("write it as redis://host:6379/0")
    return Secret(text)


def _parse_stripe_key(text: str) -> Secret:
    stripe_mode(text)
    return Secret(text)


def _parse_webhook_secrets(text: str) -> tuple[WebhookSecret, ...]:
    return tuple(_parse_webhook_secret(part.strip()) for part in text.split(",") if part.strip())


def _parse_webhook_secret(text: str) -> WebhookSecret:
    secret, _, until = text.partition("@")
    if not secret.startswith("whsec_"):
        raise ValueError(
            "each secret starts with whsec_; the endpoint's page in the Stripe dashboard shows it"
        )
    if not until:
        return WebhookSecret(Secret(secret))
    not_after = datetime.fromisoformat(until)
    return WebhookSecret(Secret(secret), not_after.astimezone(UTC))


def _parse_webhook_url(text: str) -> str:
    parts = urlsplit(text)
    is_local = parts.hostname in {"localhost", "127.0.0.1"}
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_local)
    is_plain = not (parts.query or parts.fragment or parts.username)
    if not (is_safe and is_plain and parts.hostname and parts.path.endswith(WEBHOOK_PATH)):
        raise ValueError(f"write it as https://billing.example.com{WEBHOOK_PATH}")
    return text


def _parse_peppers(text: str) -> tuple[tuple[int, Secret], ...]:
    peppers = []
    for part in text.split(","):
        version, _, pepper = part.strip().partition(":")
        if not version.isdigit() or len(bytes.fromhex(pepper)) < MIN_PEPPER_BYTES:
            raise ValueError(
                "write version:hex with at least 64 hex digits, such as 1:$(openssl rand -hex 32)"
            )
        peppers.append((int(version), Secret(pepper)))
    return tuple(sorted(peppers, reverse=True))


def _parse_positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError("write a number of seconds above 0")
    return value


def _parse_drain(text: str) -> float:
    value = float(text)
    if not 0 <= value <= LONGEST_DRAIN_S:
        raise ValueError(f"write a number of seconds from 0 to {LONGEST_DRAIN_S:g}")
    return value


def _parse_switch(text: str) -> bool:
    if text not in {"on", "off"}:
        raise ValueError("write on or off")
    return text == "on"


def _parse_hour(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 23:  # noqa: PLR2004 - hours of a day
        raise ValueError("write an hour from 0 to 23")
    return value


def _parse_rate(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError("write a number per second, or 0 for no limit")
    return value


def _parse_metrics_bind(text: str) -> MetricsBind:
    if text == "off":
        return MetricsBind("")
    host, colon, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    if not host or (colon and not (port.isdigit() and 0 < int(port) < 65536)):  # noqa: PLR2004 - ports
        raise ValueError("write a host such as 127.0.0.1, host:port, or off")
    return MetricsBind(host, int(port or 0))


def _parse_log_level(text: str) -> str:
    if text.lower() not in {"debug", "info", "warning", "error"}:
        raise ValueError("write debug, info, warning or error")
    return text.lower()


def _parse_log_format(text: str) -> str:
    if text not in {"json", "console"}:
        raise ValueError("write json or console")
    return text


#: By the type of a setting.
PARSERS_OF_TYPES: dict[Any, Any] = {str: str, Secret: Secret, float: _parse_positive, int: int}
#: By name, where the type alone does not say it.
PARSERS: dict[str, Any] = {
    "database_url": _parse_database_url,
    "redis_url": _parse_redis_url,
    "cache_url": _parse_redis_url,
    "webhook_url": _parse_webhook_url,
    "stripe_secret_key": _parse_stripe_key,
    "stripe_webhook_secrets": _parse_webhook_secrets,
    "stripe_rate": float,
    "drain_s": _parse_drain,
    "read_rate": _parse_rate,
    "write_rate": _parse_rate,
    "failed_login_rate": _parse_rate,
    "allowed_hosts": parse_hosts,
    "trusted_proxies": parse_networks,
    "cors_origins": parse_origins,
    "key_peppers": _parse_peppers,
    "fault_points": parse_fault_points,
    "metrics_bind": _parse_metrics_bind,
    "docs": _parse_switch,
    "reconcile_enabled": _parse_switch,
    "reconcile_hour": _parse_hour,
    "log_level": _parse_log_level,
    "log_format": _parse_log_format,
}
