"""What a local deployment keeps between starts, in one directory (`.tollhouse`), closed to other users.

postgres/ valkey/ stripe/   the data of the servers and of the Stripe simulator
logs/                       one file per process; the previous start's beside it as NAME.log.1
secrets.json keys.json      made at the first start, used again as long as the data is there
ready.json env              while it runs: how to reach everything
lock                        held by the running deployment
"""

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from deploy.local.postgres_binaries import reach_of_nobody
from deploy.local.processes import ProcessFailed

#: Everything `reset` removes; whatever else lies in the directory is not ours.
OURS = ("postgres", "valkey", "stripe", "logs", "secrets.json", "keys.json", "ready.json", "env")

StructT = TypeVar("StructT", bound=Struct)


class Secrets(Struct, frozen=True):
    """Made once per state directory; nothing here is worth anything outside this machine."""

    #: What the Stripe simulator accepts as its account's key.
    stripe_secret_key: str
    #: Signs the simulator's deliveries.
    webhook_secret: str
    #: `version:hex`, as TOLLHOUSE_KEY_PEPPERS wants it.
    key_peppers: str


class Keys(Struct, frozen=True):
    """API keys created so far, and the database they were created in."""

    #: Changes with the database or the peppers: keys of another one are worthless.
    belongs_to: str
    operator_key: str = ""
    #: By `project/app`.
    app_keys: dict[str, str] = {}


class Ready(Struct, frozen=True):
    """What `--ready-file` says, word for word, once everything is ready."""

    base_url: str
    webhook_url: str
    read_url: str
    stripe_url: str
    stripe_secret_key: str
    webhook_secret: str
    operator_key: str
    app_keys: dict[str, str]
    database_url: str
    redis_url: str
    cache_url: str
    #: By process name; a restarted process gets its new number here.
    pids: dict[str, int]


class State:
    """The directory and its parts. Raises ProcessFailed when it is not ours to use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.lock = self.directory / "lock"
        self.ready = self.directory / "ready.json"
        self.keys = self.directory / "keys.json"
        self.env = self.directory / "env"

    def open(self) -> None:
        """Make the directory when it is missing, closed to other users."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = self.directory.stat().st_uid
        except OSError as error:
            raise ProcessFailed(
                f"Cannot use {self.directory} for the local state: {error.strerror}. Name another with "
                "--state."
            ) from error
        if owner != os.geteuid():
            raise ProcessFailed(
                f"{self.directory} belongs to user {owner}, you are {os.geteuid()}: run as that user, remove "
                "it, "
                "or name another directory with --state."
            )

    def reset(self) -> None:
        """Throw the data, the logs and the secrets away. The caller holds the lock."""
        for name in OURS:
            path = self.directory / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(reach_of_nobody(self.directory / "postgres"), ignore_errors=True)

    def log(self, name: str) -> Path:
        """The log of one process, empty for this start; the last start's is kept beside it."""
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        path = logs / f"{name}.log"
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        path.touch(mode=0o600)
        return path

    def secrets(self) -> Secrets:
        """The stored secrets, or new ones."""
        path = self.directory / "secrets.json"
        if path.exists():
            return read_struct(path, Secrets)
        made = Secrets(
            stripe_secret_key=f"sk_test_{secrets.token_hex(24)}",
            webhook_secret=f"whsec_{secrets.token_hex(24)}",
            key_peppers=f"1:{secrets.token_hex(32)}",
        )
        write_private(path, msgspec.json.format(msgspec.json.encode(made)))
        return made


def read_struct(path: Path, kind: type[StructT]) -> StructT:
    """A file of ours; raises ProcessFailed when it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise ProcessFailed(f"{path} is damaged ({error}). Start again with --reset.") from error


def write_private(path: Path, content: bytes) -> None:
    """Write for the owner only, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(unfinished).replace(path)
