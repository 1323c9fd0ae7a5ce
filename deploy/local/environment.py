"""Who is told what: the environment of every process, each with only the secrets it needs."""

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.state import Secrets

#: Where the processes run: the directory that holds `ingress`, `workers` and `domain`.
ROOT = Path(__file__).resolve().parents[2]

#: The simulator's account. The same on every machine, so that a database of one's own
#: (TOLLHOUSE_DATABASE_URL) goes on working with a state that was reset: the database remembers its account
#: and refuses another.
STRIPE_ACCOUNT = "acct_1TollhouseLocal"

PREFIX = "TOLLHOUSE_"

#: What `. .tollhouse/env` leaves in a shell beside the settings: fingerprints of the servers that deployment
#: started itself. Its own name must not begin like a setting's, because unknown settings are refused.
MARKER = "LOCAL_TOLLHOUSE_SERVERS"

#: Milliseconds an idle dramatiq worker sleeps between looks at the queue; its default of 1000 costs 59 ms per
#: event.
WORKER_TIMEOUT_MS = 10


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the data lives: the embedded servers, or those the caller named."""

    database_url: str
    redis_url: str
    cache_url: str
    #: Tells one database from another, whatever its port.
    identity: str
    #: Those of the URLs that this deployment started by itself.
    embedded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ports:
    """Four neighbouring ports on loopback."""

    base: int

    @property
    def by_name(self) -> dict[str, int]:
        return {"api": self.base, "webhook": self.base + 1, "read": self.base + 2, "stripe": self.base + 3}

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.by_name[name]}"


@dataclass(frozen=True, slots=True)
class Environment:
    """Builds the environment of each process. Nothing of the caller's TOLLHOUSE_* is passed on."""

    servers: Servers
    secrets: Secrets
    ports: Ports
    #: Further settings for every process, by their name in domain.settings (`lease_s`).
    settings: Mapping[str, str] = field(default_factory=dict)

    def webhook(self) -> dict[str, str]:
        """Knows how to verify Stripe's deliveries, and has no key to Stripe."""
        return self._base() | {"TOLLHOUSE_STRIPE_WEBHOOK_SECRETS": self.secrets.webhook_secret}

    def read(self) -> dict[str, str]:
        """Answers micro-apps: knows their keys' pepper and nothing of Stripe."""
        return self._base() | self._peppers()

    def api(self) -> dict[str, str]:
        return self._base() | self._peppers() | self._stripe()

    def worker(self) -> dict[str, str]:
        return self._base() | self._stripe() | {"dramatiq_worker_timeout": str(WORKER_TIMEOUT_MS)}

    def scheduler(self) -> dict[str, str]:
        return self._base() | self._stripe()

    def operator(self) -> dict[str, str]:
        """For the command line: everything an operator's terminal may need."""
        return self._base() | self._peppers() | self._stripe()

    def exports(self) -> str:
        """The operator's settings as lines for a shell: `. .tollhouse/env`."""
        settings = {key: value for key, value in sorted(self.operator().items()) if key.startswith(PREFIX)}
        settings[MARKER] = " ".join(sorted(fingerprint(url) for url in self.servers.embedded))
        return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in settings.items())

    def _base(self) -> dict[str, str]:
        return without_ours(os.environ) | {
            "TOLLHOUSE_ENV": "local",
            "TOLLHOUSE_DATABASE_URL": self.servers.database_url,
            "TOLLHOUSE_REDIS_URL": self.servers.redis_url,
            "TOLLHOUSE_CACHE_URL": self.servers.cache_url,
            "TOLLHOUSE_LOG_FORMAT": "json",
            # No load balancer stands before these doors.
            "TOLLHOUSE_DRAIN_S": "0",
            # Two deployments on one machine would want the same ports; `--setting` turns it on.
            "TOLLHOUSE_METRICS_BIND": "off",
            **{PREFIX + name.upper(): value for name, value in self.settings.items()},
        }

    def _peppers(self) -> dict[str, str]:
        return {"TOLLHOUSE_KEY_PEPPERS": self.secrets.key_peppers}

    def _stripe(self) -> dict[str, str]:
        return {
            "TOLLHOUSE_STRIPE_API_BASE": self.ports.url("stripe"),
            "TOLLHOUSE_STRIPE_SECRET_KEY": self.secrets.stripe_secret_key,
            # Stripe limits how often a test account is read; the simulator does not. Measured from the first
            # delivery to the answer: 111 to 119 ms with the limit for the first purchase after a start and
            # 66 to 86 for later ones, 76 to 87 and 56 without it.
            "TOLLHOUSE_STRIPE_RATE": "0",
        }


def without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without settings of Tollhouse: they belong to another deployment."""
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX)}


def servers_named_in(environ: Mapping[str, str]) -> dict[str, str]:
    """The servers that the caller's environment names to be used instead of embedded ones, by setting.

    A shell in which `. .tollhouse/env` ran names the servers of that deployment, which are not its to share.
    """
    embedded = environ.get(MARKER, "").split()
    names = ("TOLLHOUSE_DATABASE_URL", "TOLLHOUSE_REDIS_URL", "TOLLHOUSE_CACHE_URL")
    given = {name: environ.get(name, "") for name in names}
    return {name: url for name, url in given.items() if url and fingerprint(url) not in embedded}


def next_database(redis_url: str) -> str:
    """The cache's default place: the queue's server, next database (the rule of the service's settings)."""
    base, slash, number = redis_url.rpartition("/")
    return f"{base}/{int(number) + 1}" if slash and number.isdigit() else f"{redis_url.rstrip('/')}/1"


def fingerprint(*parts: str) -> str:
    """A short name for a combination of secrets, from which they cannot be read back."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
