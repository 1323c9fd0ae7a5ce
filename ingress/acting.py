"""Who acts through an operator's door, and whether the call was made before."""

from starlette.requests import Request
from starlette.types import Scope as AsgiScope

from domain.errors import FieldError, Invalid
from domain.flows.authenticate import Principal
from domain.flows.idempotency import KEY_LENGTH
from domain.flows.record_action import Operator

#: A person behind a shared key; together with the key's name it stays a line.
ACTOR_LENGTH = 100


def operator_of(scope: AsgiScope, principal: Principal) -> Operator:
    """The key's name; of an operator's key with the `Tollhouse-Actor` of the request: `console:anna`.

    Raises:
        Invalid: the header cannot name somebody, or comes with a key that may not name anybody.
    """
    named = _only_header(scope, b"tollhouse-actor", "Tollhouse-Actor")
    if named is None:
        return Operator(actor=principal.name, request_id=scope["tollhouse.request_id"])
    if principal.kind != "operator":
        raise _wrong("Tollhouse-Actor", "only an operator's key says for whom it acts: leave it out")
    actor = _decode(named).strip()
    if not 1 <= len(actor) <= ACTOR_LENGTH or not actor.isprintable():
        raise _wrong("Tollhouse-Actor", f"1 to {ACTOR_LENGTH} printable characters, in UTF-8")
    return Operator(actor=f"{principal.name}:{actor}", request_id=scope["tollhouse.request_id"])


def find_idempotency_key(request: Request) -> str | None:
    """The `Idempotency-Key` header; None: the caller sent none. Raises: Invalid, where it cannot be one."""
    sent = _only_header(request.scope, b"idempotency-key", "Idempotency-Key")
    if sent is None:
        return None
    key = _decode(sent)
    if not 1 <= len(key) <= KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise _wrong("Idempotency-Key", f"1 to {KEY_LENGTH} printable ASCII characters")
    return key


def _only_header(scope: AsgiScope, name: bytes, shown: str) -> bytes | None:
    sent = [value for found, value in scope["headers"] if found == name]
    if len(sent) > 1:
        raise _wrong(shown, "given more than once")
    return sent[0] if sent else None


def _decode(value: bytes) -> str:
    """The text; an empty one, which is refused, where it is no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""


def _wrong(header: str, what: str) -> Invalid:
    return Invalid(f"The header {header} cannot be what it is.", errors=(FieldError(header, what),))
