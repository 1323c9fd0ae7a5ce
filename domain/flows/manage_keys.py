"""API keys: make one, end one, and recognise one at a door."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Literal, get_args

from msgspec import Struct

from domain.context import Context
from domain.errors import Invalid, Unavailable, Unknown
from domain.rules.api_key import ID_BYTES, SECRET_BYTES, KeyMode, format_key, hash_secret, make_key
from domain.settings import Settings, SettingsInvalid, stripe_mode
from domain.store import api_keys, deployment
from domain.store.api_keys import KeyKind
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

log = get_logger()


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


async def create_key(
    context: Context,
    *,
    kind: KeyKind,
    project: str | None = None,
    app: str | None = None,
    name: str,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> CreatedKey:
    """Make a key and store everything of it but the secret.

    `app` keys name project and app, `project` keys a project, `operator` keys a project or none for all.
    `scopes` empty: DEFAULT_SCOPES of the kind. `expires_at` None: no end.

    Raises:
        Invalid: project, app, name, scopes or expiry do not fit the kind.
        Unknown: a project or app the catalog does not have, with the nearest one.
        SettingsInvalid: no pepper is set.
    """
    chosen = tuple(scopes) or DEFAULT_SCOPES[kind]
    _refuse_misfits(kind, project, app, name=name, scopes=chosen, expires_at=expires_at)
    version, pepper = _newest_pepper(context.settings)
    async with context.database.transaction() as connection:
        await _refuse_unknown(connection, project, app)
        mode = await _find_mode(connection, context.settings)
        key = make_key(mode, secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
        await api_keys.insert_key(
            connection,
            key_id=key.key_id,
            kind=kind,
            project=project,
            app=app,
            name=name,
            scopes=chosen,
            secret_hmac=hash_secret(pepper, key.secret),
            pepper_version=version,
            expires_at=expires_at,
        )
    log.info("key_created", key_id=key.key_id, kind=kind, project=project, app=app, name=name)
    return CreatedKey(
        key=format_key(key),
        key_id=key.key_id,
        kind=kind,
        project=project,
        app=app,
        name=name,
        scopes=chosen,
        expires_at=expires_at,
    )


async def revoke_key(context: Context, key_id: str) -> None:
    """End a key at once and everywhere; ended twice is ended.

    Raises:
        Unknown: there is no such key.
    """
    async with context.database.transaction() as connection:
        if await api_keys.find_key(connection, key_id) is None:
            raise Unknown(f"There is no API key with the id {key_id}.", code="unknown_key")
        await api_keys.revoke_key(connection, key_id)
    log.info("key_revoked", key_id=key_id)
    if context.cache is not None:
        try:
            await context.cache.publish_revoked_key(key_id)
        except Unavailable:
            # Every process asks Postgres about a key it holds once it is no longer fresh.
            log.warning("key_revocation_not_published", key_id=key_id)


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
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise Invalid("A key's expiry lies in the future.", code="key_invalid")


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


async def _find_mode(connection: Connection, settings: Settings) -> KeyMode:
    row = await deployment.find_deployment(connection)
    mode = row.mode if row is not None else None
    if mode is None and settings.stripe_secret_key:
        mode = stripe_mode(settings.stripe_secret_key.reveal())
    return "live" if mode == "live" else "test"
