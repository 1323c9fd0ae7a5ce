"""Who asks, and for which app: from the key, and from the request only where the key leaves it open."""

from collections.abc import Mapping

from starlette.types import Scope as AsgiScope

from domain.errors import FieldError, Forbidden, Invalid, TooMany
from domain.flows.authenticate import KeyRing, Principal
from domain.flows.manage_keys import Scope
from ingress.lifespan import Running
from ingress.wire import find_key


async def authenticate(scope: AsgiScope, keys: KeyRing, needed: Scope) -> Principal:
    """Whose request this is; the access log then names the key.

    Raises:
        Unauthorized: no valid key.
        Forbidden: the key lacks the scope.
        TooMany: the key has asked too often, or too many wrong ones came from its address.
        Unavailable: Postgres is away and the key is not known well enough.
    """
    running = Running.of(scope)
    text = find_key(scope["headers"])
    principal = keys.find_fresh(text) or await keys.authenticate(text, running.border.address_of(scope))
    scope["tollhouse.key_id"] = principal.key_id
    try:
        running.limits.take(scope, principal.key_id, needed)
    except TooMany as error:
        if error.name == "read":
            running.hasty.note(scope, principal.key_id)
        raise
    if needed not in principal.scopes:
        raise Forbidden(
            f"This key lacks the scope {needed}; it has {', '.join(sorted(principal.scopes)) or 'none'}.",
            code="missing_scope",
        )
    return principal


def choose_app(principal: Principal, parameters: Mapping[str, str]) -> tuple[str, str]:
    """(project, app) of a request: an app's key says both, a project's key wants `app`, an operator's both.

    Raises:
        Forbidden: the request names another project or app than the key's.
        Invalid: it leaves open what the key leaves open.
    """
    project = _choose("project", principal.project, parameters)
    return project, _choose("app", principal.app, parameters)


def choose_project(principal: Principal, parameters: Mapping[str, str]) -> str:
    """The project of a request that concerns no app.

    Raises:
        Forbidden: as `choose_app`; or the key is an app's, whose view ends with its own features: operators'
            words and other apps' grants are none of its business, whatever scopes it was given.
        Invalid: as `choose_app`.
    """
    if principal.kind == "app":
        raise Forbidden(
            f"This key is the app {principal.app}'s: ask with a key of the project or of an operator.",
            code="wrong_kind",
        )
    return _choose("project", principal.project, parameters)


def choose_named(principal: Principal, project: str) -> str:
    """The project that a path names: what a whole project earns is no app's business.

    Raises:
        Forbidden: the key is another project's, or an app's.
    """
    return choose_project(principal, {"project": project})


def choose_project_or_all(principal: Principal, parameters: Mapping[str, str]) -> str | None:
    """As `choose_project`; None: an operator of all leaves it open, and means also what is nobody's."""
    if principal.kind == "operator" and principal.project is None and "project" not in parameters:
        return None
    return choose_project(principal, parameters)


def require_all(principal: Principal) -> None:
    """Raises: Forbidden, where the key is not an operator's of all projects: others would notice its act."""
    if principal.kind != "operator" or principal.project is not None:
        raise Forbidden(
            "This concerns the whole deployment: ask with an operator's key that is for every project.",
            code="wrong_kind",
        )


def _choose(noun: str, of_key: str | None, parameters: Mapping[str, str]) -> str:
    named = parameters.get(noun)
    if of_key is not None:
        if named is not None and named != of_key:
            raise Forbidden(f"This key is for the {noun} {of_key} only.", code=f"wrong_{noun}")
        return of_key
    if not named:
        raise Invalid(
            f"This key is for every {noun}: name one.", errors=(FieldError(noun, "required with this key"),)
        )
    return named
