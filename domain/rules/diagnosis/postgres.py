"""What a Postgres server, a role and a way to them must be like."""

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

from domain.rules.diagnosis.nouns import Check, fail, ok, skip, warn

#: As `server_version_num` writes them. Older ones lack what statements use; newer ones were not tried.
OLDEST, NEWEST = 15_0000, 19_0000
#: Of the connections to be had, so many are in use: the next process may get none.
CROWDED = 0.8

#: What the role of the service needs on every table, and where it needs less: rows that are never changed or
#: never deleted. `tollhouse migrate` needs the owner of the tables.
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
LESS: dict[str, tuple[str, ...]] = {
    "alembic_version": ("SELECT",),
    "audit_log": ("SELECT", "INSERT"),
    "grants": ("SELECT", "INSERT", "UPDATE"),
}
#: Refusals of a connection that the driver's class names, and what to do about each.
REFUSALS = {
    "InvalidPasswordError": "correct the role or password in TOLLHOUSE_DATABASE_URL",
    "InvalidAuthorizationSpecificationError": "let pg_hba.conf admit this role from here, or correct "
    "TOLLHOUSE_DATABASE_URL",
    "InvalidCatalogNameError": "create the database that TOLLHOUSE_DATABASE_URL names, or correct the name",
    "ClientConfigurationError": "correct the options in TOLLHOUSE_DATABASE_URL: sslmode=verify-full wants "
    "the authority's certificate too, as sslrootcert=FILE",
    "TooManyConnectionsError": "raise max_connections of Postgres, or end what holds its connections",
    "ProtocolViolationError": "connect to Postgres itself or to a pooler in session mode: what answers at "
    "TOLLHOUSE_DATABASE_URL refuses what a session of ours sets",
}
SESSION_MODE = (
    "connect to Postgres itself, or set pool_mode = session for this database: statements are prepared once "
    "per connection, and locks are held by sessions"
)


def judge_refusal(detail: str) -> Check:
    """Postgres gave no connection; `detail` names the driver's error."""
    known = [next_ for name, next_ in REFUSALS.items() if name in detail]
    start = "start Postgres, or correct host and port in TOLLHOUSE_DATABASE_URL"
    return fail("postgres", detail, known[0] if known else start)


def judge_server(number: int, version: str, *, is_standby: bool, is_read_only: bool) -> Check:
    if is_standby or is_read_only:
        what = "a standby" if is_standby else "read-only by default"
        point = "point TOLLHOUSE_DATABASE_URL to the server that takes writes"
        return fail("postgres", f"PostgreSQL {version}, {what}: nothing can be stored", point)
    if number < OLDEST:
        return fail("postgres", f"PostgreSQL {version}", "upgrade to PostgreSQL 15 to 18")
    if number >= NEWEST:
        untried = "tell us whether it works; PostgreSQL 15 to 18 are tested"
        return warn("postgres", f"PostgreSQL {version}, which no release of ours was tried with", untried)
    return ok("postgres", f"PostgreSQL {version} answers and takes writes")


def judge_tls(url: str, protocol: str | None) -> Check:
    """`protocol`: of this connection, such as TLSv1.3; None: it is not encrypted."""
    if protocol is not None:
        asked = parse_qs(urlsplit(url).query).get("sslmode", ["prefer"])[-1]
        if asked.startswith("verify-"):
            return ok("postgres_tls", f"{protocol}, sslmode={asked}")
        verify = "say sslmode=verify-full in TOLLHOUSE_DATABASE_URL, with the authority's sslrootcert"
        if _is_here(url):
            return ok("postgres_tls", f"{protocol}, on this machine")
        return warn("postgres_tls", f"{protocol}, and nobody checks who answers (sslmode={asked})", verify)
    if _is_here(url):
        return ok("postgres_tls", "none, and the server is on this machine")
    encrypt = "add ?sslmode=verify-full to TOLLHOUSE_DATABASE_URL, unless nobody else is on that network"
    return warn("postgres_tls", "none: rows and the password's exchange cross the network in clear", encrypt)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"", "localhost"}


def judge_pooling(first: int, beside: int, again: int) -> Check:
    """Process ids of the server behind two connections, both held: `first` and `again` of the one that ran
    a statement before and after the other, `beside`, began its transaction.
    """
    if first == beside or first != again:
        finding = "two connections share servers: a pooler in transaction or statement mode stands between"
        return fail("postgres_pooling", finding, SESSION_MODE)
    return ok("postgres_pooling", "a connection keeps its server: direct, or pooled by session")


#: What a statement says that was prepared on another server than the one it is run on.
ELSEWHERE = ("InvalidSQLStatementNameError", "DuplicatePreparedStatementError")


def judge_pooling_error(detail: str) -> Check:
    if any(name in detail for name in ELSEWHERE):
        finding = f"a pooler in transaction or statement mode stands between ({detail})"
        return fail("postgres_pooling", finding, SESSION_MODE)
    return fail("postgres_pooling", detail, "see why two connections cannot be held at once, then look again")


def judge_connections(
    *, max_connections: int, reserved: int, limits: Sequence[int], used: int, pools: Mapping[str, int]
) -> Check:
    """`limits`: of the role and of the database, -1 is none. `pools`: most connections of each process."""
    usable = min([max_connections - reserved, *(limit for limit in limits if limit >= 0)])
    wanted = sum(pools.values())
    each = ", ".join(f"{process} {size}" for process, size in pools.items())
    finding = f"{usable} to be had, {used} in use; one process of each kind takes up to {wanted} ({each})"
    if usable < wanted:
        more = f"raise max_connections of Postgres (or the limit of role or database) above {wanted}"
        return warn("postgres_connections", finding, f"{more}, and add a worker's 16 for each more of them")
    if used >= CROWDED * usable:
        crowded = "raise max_connections of Postgres, or find in pg_stat_activity who holds them"
        return warn("postgres_connections", finding, crowded)
    return ok("postgres_connections", finding)


def judge_role(
    role: str, *, schema: str | None, is_superuser: bool, held: Mapping[str, Sequence[str]], env: str
) -> Check:
    """`schema`: where it finds tables, None: nowhere. `held`: which of RIGHTS it has, by table.

    A server of TOLLHOUSE_ENV `local` holds nothing else, and its owner is who runs everything.
    """
    if schema is None:
        usage = f"as the schema's owner: GRANT USAGE ON SCHEMA public TO {role}"
        return fail("postgres_role", f"{role} may use no schema of its search path", usage)
    if not held:
        return skip("postgres_role", f"there is no table in schema {schema}")
    lacking = {
        table: [right for right in LESS.get(table, RIGHTS) if right not in rights]
        for table, rights in sorted(held.items())
    }
    missing = [f"{', '.join(some)} on {table}" for table, some in lacking.items() if some]
    if missing:
        more = f" and {len(missing) - 3} tables more" if len(missing) > 3 else ""  # noqa: PLR2004 - to be readable
        rights = ", ".join(RIGHTS)
        grant = f"as the tables' owner: GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO {role}"
        return fail("postgres_role", f"{role} lacks {'; '.join(missing[:3])}{more}", grant)
    if is_superuser and env == "local":
        return ok("postgres_role", f"{role} is a superuser, of a local deployment")
    if is_superuser:
        own = f"let processes log in as a role of their own that has {', '.join(RIGHTS)} on the tables"
        return warn("postgres_role", f"{role} is a superuser: a leaked URL is the whole server", own)
    return ok("postgres_role", f"{role} may write all {len(held)} tables, and is no superuser")


def judge_schema(current: str | None, needed: str, *, is_enough: bool) -> Check:
    finding = f"at {current or 'nothing'}, this build needs {needed}"
    if not is_enough:
        return fail("schema", finding, "run tollhouse migrate")
    return ok("schema", finding if current == needed else f"{finding}: a newer release has migrated it")
