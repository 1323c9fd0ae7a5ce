"""API keys: make one, and end one. `rotate_key` does both, `authenticate` recognises them at a door."""

import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from domain.context import Context
from domain.errors import Conflict, FieldError, Forbidden, Invalid, Unavailable, Unknown
from domain.flows.record_action import NOBODY, Operator, record_action
from domain.rules.api_key import ID_BYTES, SECRET_BYTES, KeyMode, format_key, hash_secret, make_key
from domain.settings import Settings, SettingsInvalid, stripe_mode
from domain.store import api_keys, deployment
from domain.store.api_keys import KeyKind, ListedKey
from domain.store.session import Connection
from domain.telemetry import get_logger

Scope = Literal[
    "entitlements:read",
    "billing:read",
    "checkout:write",
    "subscription:write",
    "portal:write",
    "metrics:read",
    "admin:read",
    "admin:write",
    "keys:write",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

#: What an app needs for its own users, what a gateway reads beside it, and everything.
DEFAULT_SCOPES: dict[KeyKind, tuple[Scope, ...]] = {
    "app": SCOPES[:5],
    "project": SCOPES[:6],
    "operator": SCOPES,
}

#: A name is shown as the actor of a change, on one line.
NAME_LENGTH = 100

#: One in use and the one that follows it: enough to rotate without a gap, and few enough to know them all.
LIVE_KEYS_AT_MOST = 2

REASON_LENGTH = 1000

#: In any zone it is a date that Python and Postgres can say, a rotation's lifetime later too.
LATEST_EXPIRY = datetime(3000, 1, 1, tzinfo=UTC)

log = get_logger()


class KeyWish(Struct, frozen=True, kw_only=True):
    """A key to be made, checked already."""

    kind: KeyKind
    project: str | None
    app: str | None
    name: str
    scopes: tuple[str, ...]
    #: None: no end.
    expires_at: datetime | None


class CreatedKey(Struct, frozen=True, kw_only=True):
    """A new key. `key` is the only place where its secret ever stands: show it once, keep it nowhere."""

    key: str
    key_id: str
    kind: KeyKind
    project: str | None
    app: str | None
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"CreatedKey({self.key_id}, …)"


async def create_key(
    context: Context,
    *,
    kind: KeyKind,
    project: str | None = None,
    app: str | None = None,
    name: str,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
    operator: Operator = NOBODY,
    may_give: Collection[str] = SCOPES,
) -> CreatedKey:
    """Make a key and store everything of it but the secret; with its row in the audit log.

    `app` keys name project and app, `project` keys a project, `operator` keys a project or none for all.
    `scopes` empty: DEFAULT_SCOPES of the kind. `expires_at` None: no end. `may_give`: scopes of who asks.

    Raises:
        Invalid: project, app, name, scopes or expiry do not fit the kind.
        Forbidden: it would give scopes that who asks does not have.
        Unknown: a project or app the catalog does not have, with the nearest one.
        Conflict: the app has two live keys already.
        SettingsInvalid: no pepper is set.
    """
    chosen = tuple(dict.fromkeys(scopes)) or DEFAULT_SCOPES[kind]
    _refuse_misfits(kind, project, app, name=name, scopes=chosen, expires_at=expires_at)
    refuse_escalation(chosen, may_give)
    wish = KeyWish(kind=kind, project=project, app=app, name=name, scopes=chosen, expires_at=expires_at)
    async with context.database.transaction() as connection:
        await _refuse_unknown(connection, project, app)
        await refuse_third_key(connection, wish)
        created = await mint_key(connection, context.settings, wish, operator)
        await record_action(
            connection,
            operator,
            action="key.create",
            project=project,
            user_key=None,
            subject=("key", created.key_id),
            reason=None,
            details=msgspec.to_builtins(wish),
        )
    log.info("key_created", key_id=created.key_id, kind=kind, project=project, app=app, name=name)
    return created


async def revoke_key(
    context: Context,
    key_id: str,
    *,
    operator: Operator = NOBODY,
    reason: str | None = None,
    within: tuple[str, str] | None = None,
) -> ListedKey:
    """End a key at once and everywhere; answers it as it is now. Revoked twice is recorded once.

    `within`: the (project, app) it has to belong to; None: any key.

    Raises:
        Unknown: there is no such key there.
        Invalid: the reason is not one.
    """
    refuse_reason(reason)
    async with context.database.transaction() as connection:
        key = revoked = await load_key(connection, key_id, within)
        if await api_keys.revoke_key(connection, key_id, operator.actor):
            revoked = await load_key(connection, key_id, within)
            await record_action(
                connection,
                operator,
                action="key.revoke",
                project=key.project,
                user_key=None,
                subject=("key", key_id),
                reason=reason,
                details={"app": key.app, "name": key.name, "was": key.state},
            )
    log.info("key_revoked", key_id=key_id)
    await publish_end(context, key_id)
    return revoked


async def load_key(connection: Connection, key_id: str, within: tuple[str, str] | None) -> ListedKey:
    """The key, locked. Raises: Unknown, where there is none, or it is not the app's that is asked for."""
    # Postgres takes no NUL, so no key has one.
    key = None if "\0" in key_id else await api_keys.lock_key(connection, key_id)
    if key is None or (within is not None and (key.kind, key.project, key.app) != ("app", *within)):
        of_app = f" of the app {within[1]}" if within is not None else ""
        raise Unknown(
            f"There is no API key{of_app} with the id {key_id[:100]!r}; "
            "`tollhouse keys list --ended` shows all.",
            code="unknown_key",
        )
    return key


async def mint_key(
    connection: Connection, settings: Settings, wish: KeyWish, operator: Operator
) -> CreatedKey:
    """Make the secret, store its HMAC under the newest pepper, and answer the text to hand out.

    Raises:
        SettingsInvalid: no pepper is set.
    """
    version, pepper = _newest_pepper(settings)
    mode = await find_mode(connection, settings)
    key = make_key(mode or "test", secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    named = msgspec.structs.asdict(wish)
    await api_keys.insert_key(
        connection,
        key_id=key.key_id,
        secret_hmac=hash_secret(pepper, key.secret),
        pepper_version=version,
        created_by=operator.actor,
        **named,
    )
    return CreatedKey(key=format_key(key), key_id=key.key_id, **named)


async def publish_end(context: Context, key_id: str) -> None:
    """Tell every process to ask Postgres about this key again."""
    if context.cache is None:
        return
    try:
        await context.cache.publish_revoked_key(key_id)
    except Unavailable:
        # Every process asks Postgres about a key it holds once it is no longer fresh.
        log.warning("key_revocation_not_published", key_id=key_id)


async def refuse_third_key(connection: Connection, wish: KeyWish) -> None:
    """Raises: Conflict, where the app has as many live keys as it may."""
    if wish.project is None or wish.app is None:
        return
    await api_keys.lock_app(connection, wish.project, wish.app)
    live = await api_keys.list_live(connection, wish.project, wish.app)
    if len(live) >= LIVE_KEYS_AT_MOST:
        raise Conflict(
            f"The app {wish.app} has {len(live)} live keys already, {' and '.join(live)}: "
            "revoke one with `tollhouse keys revoke`, or wait for the end of the one that is being replaced.",
            code="too_many_keys",
        )


def refuse_escalation(scopes: Collection[str], may_give: Collection[str]) -> None:
    """Raises: Forbidden, where somebody would hand out more than they have."""
    beyond = [scope for scope in scopes if scope not in may_give]
    if beyond:
        raise Forbidden(
            f"A key gives only scopes it has itself, and yours lacks {', '.join(beyond)}: "
            "leave them out, or ask somebody whose key has them.",
            code="scope_not_yours",
        )


def refuse_reason(reason: str | None) -> None:
    """Raises: Invalid, where a reason is given that nobody could read."""
    if reason is not None and (not reason.strip() or len(reason) > REASON_LENGTH or "\0" in reason):
        what = f"1 to {REASON_LENGTH} characters, or left out"
        raise Invalid("This cannot be a reason.", errors=(FieldError("reason", what),))


def _refuse_misfits(
    kind: KeyKind,
    project: str | None,
    app: str | None,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
) -> None:
    if kind == "app" and (project is None or app is None):
        raise Invalid("A key of kind app names its project and its app.", code="key_invalid")
    if kind == "project" and project is None:
        raise Invalid("A key of kind project names its project.", code="key_invalid")
    if kind != "app" and app is not None:
        raise Invalid(f"A key of kind {kind} names no app.", code="key_invalid")
    if not name.strip() or len(name) > NAME_LENGTH or not name.isprintable():
        raise Invalid(
            f"A key's name is 1 to {NAME_LENGTH} printable characters; it is shown as the actor of changes.",
            code="key_invalid",
        )
    for scope in scopes:
        if scope not in SCOPES:
            raise Invalid(f"There is no scope {scope!r}; scopes are {', '.join(SCOPES)}.", code="key_invalid")
    if expires_at is not None and not datetime.now(UTC) < expires_at < LATEST_EXPIRY:
        raise Invalid(
            f"A key's expiry lies in the future, and before the year {LATEST_EXPIRY.year}: leave it out for "
            "none.",
            code="key_invalid",
        )


async def _refuse_unknown(connection: Connection, project: str | None, app: str | None) -> None:
    if project is None:
        return
    known = await api_keys.list_apps(connection)
    projects = sorted({known_project for known_project, _ in known})
    if project not in projects:
        raise Unknown(_unknown("project", project, projects), code="unknown_project")
    apps = [known_app for known_project, known_app in known if known_project == project]
    if app is not None and app not in apps:
        raise Unknown(_unknown(f"app of project {project}", app, apps), code="unknown_app")


def _unknown(noun: str, name: str, known: Sequence[str]) -> str:
    if not known:
        return f"There is no {noun} {name!r} yet: apply a catalog first with `tollhouse catalog apply`."
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
    return f"There is no {noun} {name!r}; {hint}"


def _newest_pepper(settings: Settings) -> tuple[int, bytes]:
    if not settings.key_peppers:
        raise SettingsInvalid(
            "API keys need TOLLHOUSE_KEY_PEPPERS: "
            "set it to 1:$(openssl rand -hex 32), the same for all processes."
        )
    version, pepper = max(settings.key_peppers)
    return version, bytes.fromhex(pepper.reveal())


async def find_mode(connection: Connection, settings: Settings) -> KeyMode | None:
    """The mode of this deployment; None while neither its row nor a Stripe key says it."""
    row = await deployment.find_deployment(connection)
    if row is not None:
        return "live" if row.mode == "live" else "test"
    if settings.stripe_secret_key:
        return stripe_mode(settings.stripe_secret_key.reveal())
    return None
