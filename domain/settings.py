"""The only reader of the environment: one frozen Struct, validated for the process that asks.

Every value is `TOLLHOUSE_NAME`, or `TOLLHOUSE_NAME_FILE` naming a file that holds it. A name we do not
know is an error, because a mistyped setting that is silently ignored costs a night. Secrets do not print.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

from msgspec import Struct

from domain.addresses import IPNetwork
from domain.faults import FaultPoint
from domain.setting_values import (
    PARSERS,
    PARSERS_OF_TYPES,
    MetricsBind,
    Mode,
    Secret,
    SettingsInvalid,
    WebhookSecret,
    stripe_mode,
)

__all__ = [
    "MetricsBind",
    "Mode",
    "Process",
    "Secret",
    "Settings",
    "SettingsInvalid",
    "WebhookSecret",
    "load_settings",
    "rate_of",
    "share_metrics",
    "shared_metrics",
    "stripe_mode",
]

Process = Literal["webhook", "read", "api", "worker", "scheduler", "cli", "migrate", "stripe-cli"]


class Settings(Struct, frozen=True, kw_only=True):
    #: Free name of this deployment; stored with its first use, so that two never share a database.
    env: str = "local"
    database_url: Secret = Secret("")
    #: Redis of the queue; wants `maxmemory-policy noeviction`.
    redis_url: Secret = Secret("")
    #: Redis of the cache; default: the queue's server, next database.
    cache_url: Secret = Secret("")
    #: Where Stripe reaches `webhook`: `catalog apply` makes the endpoint there, and drifts of endpoints are
    #: about it. Empty: nothing is made, and an endpoint counts as ours by its path.
    webhook_url: str = ""
    #: `sk_…` or a restricted `rk_…`; its prefix fixes the mode. Never given to `webhook` and `read`.
    stripe_secret_key: Secret = Secret("")
    #: Comma-separated `whsec_…`, each optionally `whsec_…@2026-12-01T00:00:00Z` (not valid after).
    stripe_webhook_secrets: tuple[WebhookSecret, ...] = ()
    stripe_api_base: str = "https://api.stripe.com"
    #: Calls per second; 0: unlimited; -1: 20 in test mode and 60 in live mode.
    stripe_rate: float = -1.0
    #: One HTTP request to Stripe, and all reads of one sync, in seconds.
    stripe_timeout_s: float = 8.0
    fetch_timeout_s: float = 10.0
    #: Comma-separated `version:hex` (at least 32 bytes); new keys use the highest version.
    key_peppers: tuple[tuple[int, Secret], ...] = ()
    log_level: str = "info"
    log_format: str = "json"
    #: `host`, `host:port` or `off`; a host alone: the port of its kind (domain/metrics/listener.py).
    metrics_bind: MetricsBind = MetricsBind("127.0.0.1")
    #: Bodies of deliveries are kept so long, and then only their type, object and hash.
    payload_retention_days: float = 30.0
    #: Changes of the feed are kept so long; an older cursor is answered 410 `cursor_expired`.
    changes_retention_days: float = 30.0
    #: How long a worker owns a target; longer than fetch_timeout_s, or healthy runs get fenced.
    lease_s: float = 15.0
    #: Base of the back-off after a failure: base·2^attempts, at most 300 s.
    retry_base_s: float = 0.5
    #: Re-read of an object that Stripe may not show yet; at most three times.
    recheck_s: float = 15.0
    #: After a trial or a billing period has ended, Stripe is read again: it bills a while after the moment.
    trial_end_delay_s: float = 60.0
    period_end_delay_s: float = 600.0
    #: Whether the scheduler compares by itself: Stripe's list of events every ten minutes, all of it nightly.
    #: A pass that an operator asks for is carried out all the same.
    reconcile_enabled: bool = True
    #: UTC hour at which the nightly pass begins.
    reconcile_hour: int = 3
    #: What is younger may be under way: it is not compared, and a difference is looked at again after it.
    reconcile_settle_s: float = 60.0
    #: A caller waits so long while Stripe is read for it; of its ten seconds the rest is for the answer.
    read_back_s: float = 8.5
    sweep_interval_s: float = 1.0
    #: The sweeper rings a target again only after this (doubling to 12 times of it).
    ring_again_s: float = 5.0
    #: Ringing has failed for so long: the sweeper syncs by itself.
    direct_after_s: float = 5.0
    #: One call to the queue; the bell is rung off the request, so Stripe's answer never waits for it.
    ring_timeout_s: float = 1.0
    #: A webhook request answers 503 after this when Postgres is slow.
    database_timeout_s: float = 4.0
    #: A request to a door arrives whole within this, from its first byte to its last.
    arrival_s: float = 10.0
    #: From SIGTERM a door still answers for so long while `/ready` says 503, so that a load balancer stops
    #: sending before the door closes; 0: it closes at once.
    drain_s: float = 3.0
    #: A read entry is fresh for so long after its bytes left Postgres, and kept (marked stale) for stale_s.
    fresh_s: float = 10.0
    stale_s: float = 900.0
    #: What a Redis that hangs may add to one read; Postgres answers in a few milliseconds instead.
    cache_timeout_s: float = 0.25
    #: Requests per second of one API key to one process, with a burst of five seconds' worth; and
    #: wrong API keys per second from one address, with a burst of 20. 0: unlimited.
    read_rate: float = 1000.0
    write_rate: float = 50.0
    failed_login_rate: float = 1.0
    #: Names that requests may be sent to (their `Host`, without the port); none: any. Probes may use any.
    allowed_hosts: tuple[str, ...] = ()
    #: Addresses or networks of load balancers: only what they say in X-Forwarded-For and -Proto counts.
    trusted_proxies: tuple[IPNetwork, ...] = ()
    #: Origins of pages whose scripts may call the API, such as https://console.example.com; none: no page.
    cors_origins: tuple[str, ...] = ()
    #: Whether `api` shows /docs, /redoc and /openapi.json.
    docs: bool = True
    #: Age at which the `t` of a signature is refused, either direction.
    signature_tolerance_s: int = 300
    #: For tests only (domain/faults.py): places at which this process stalls, fails or dies.
    fault_points: tuple[FaultPoint, ...] = ()


#: What a process cannot start without. `webhook` has no Stripe key by design (docs/event-path.md).
REQUIRED: dict[Process, tuple[str, ...]] = {
    "webhook": ("database_url", "redis_url", "stripe_webhook_secrets"),
    "read": ("database_url", "redis_url", "key_peppers"),
    "api": ("database_url", "redis_url", "key_peppers", "stripe_secret_key"),
    "worker": ("database_url", "redis_url", "stripe_secret_key"),
    "scheduler": ("database_url", "redis_url", "stripe_secret_key"),
    "cli": ("database_url",),
    "stripe-cli": ("database_url", "stripe_secret_key"),
    "migrate": ("database_url",),
}

PREFIX = "TOLLHOUSE_"


def load_settings(process: Process, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of one process.

    Raises:
        SettingsInvalid: naming the variable and what to write there.
    """
    values = {name: _parse(name, text) for name, text in _given(environ).items()}
    missing = [name for name in REQUIRED[process] if not values.get(name)]
    if missing:
        names = ", ".join(_variable(name) for name in missing)
        raise SettingsInvalid(
            f"{process} needs {names}: set it (or {_variable(missing[0])}_FILE) in the environment; "
            ".env.example lists every setting."
        )
    settings = Settings(**values)
    _refuse_faults_in_earnest(settings)
    if settings.fetch_timeout_s >= settings.lease_s:
        raise SettingsInvalid(
            "TOLLHOUSE_FETCH_TIMEOUT_S must be shorter than TOLLHOUSE_LEASE_S, "
            "or a slow but healthy run loses its lease before it can commit."
        )
    return settings


def shared_metrics() -> str | None:
    """The directory in which the processes of one port leave their counts; None: a process for itself."""
    return os.environ.get(_SHARED_METRICS)


def share_metrics(directory: str) -> None:
    """Have this process leave its counts in `directory`: before anything imports prometheus-client."""
    os.environ.setdefault(_SHARED_METRICS, directory)


#: The name prometheus-client reads when it is imported.
_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"

#: Names of environments in which a process may be told to fail; a door has no Stripe key that tells it.
TESTING = frozenset({"local", "test", "chaos"})


def _refuse_faults_in_earnest(settings: Settings) -> None:
    if not settings.fault_points:
        return
    key = settings.stripe_secret_key.reveal()
    if settings.env not in TESTING or (key and stripe_mode(key) == "live"):
        raise SettingsInvalid(
            "TOLLHOUSE_FAULT_POINTS makes this process stall, fail and die, for tests: unset it. It is "
            f"refused with a live Stripe key, and unless TOLLHOUSE_ENV is {', '.join(sorted(TESTING))}."
        )


#: Reads per second: below what Stripe allows an account (25 in test, 100 in live mode), so that the rest
#: stays for checkouts and for whatever else uses the account.
DEFAULT_RATE: dict[Mode, float] = {"test": 20.0, "live": 60.0}


def rate_of(settings: Settings, mode: Mode) -> float:
    """Reads of Stripe per second that all processes share; 0 is unlimited."""
    return settings.stripe_rate if settings.stripe_rate >= 0 else DEFAULT_RATE[mode]


def _given(environ: Mapping[str, str]) -> dict[str, str]:
    fields = set(Settings.__struct_fields__)
    given: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in fields and name.endswith("_file"):
            name, text = name.removesuffix("_file"), _read_file(variable, text)  # noqa: PLW2901
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {_variable(near[0])}?" if near else "; .env.example lists every setting."
            raise SettingsInvalid(f"{variable} is not a setting of Tollhouse{hint}")
        if text != "":
            given[name] = text
    if "redis_url" in given and "cache_url" not in given:
        given["cache_url"] = _next_database(given["redis_url"])
    return given


def _read_file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsInvalid(f"{variable} names {path}, which cannot be read: {error.strerror}.") from error


def _parse(name: str, text: str) -> Any:
    parse = PARSERS.get(name) or PARSERS_OF_TYPES[_HINTS[name]]
    try:
        return parse(text)
    except SettingsInvalid:
        raise
    except ValueError as error:
        raise SettingsInvalid(f"{_variable(name)} is not valid: {error}.") from error


def _next_database(redis_url: str) -> str:
    base, slash, number = redis_url.rpartition("/")
    if slash and number.isdigit():
        return f"{base}/{int(number) + 1}"
    return f"{redis_url.rstrip('/')}/1"


def _variable(name: str) -> str:
    return PREFIX + name.upper()


_HINTS = get_type_hints(Settings)
