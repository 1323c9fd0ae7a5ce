"""Stripe's wire rules for every `/v1` call, around the operations of `operations.py`.

In order: who asks, which operation, is its Idempotency-Key free, does a test want it to fail, was it
answered before, are its parameters known; then the operation; then expansion and the commit.
"""

import asyncio
import binascii
import time
from base64 import b64decode
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deploy.local.stripe_simulator import params
from deploy.local.stripe_simulator.due import run_until
from deploy.local.stripe_simulator.errors import StripeError, malformed, unauthorized
from deploy.local.stripe_simulator.faults import Fault, InjectedFailure
from deploy.local.stripe_simulator.idempotency import find_answer, fingerprint_of, save_answer
from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.moments import clock_named, moment_of
from deploy.local.stripe_simulator.operations import Call, Operation, Router
from deploy.local.stripe_simulator.params import Raw
from deploy.local.stripe_simulator.rendering import expand
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Account
from deploy.local.stripe_simulator.versions import API_VERSION

EXPAND = params.list_of(params.text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over the wire."""

    status: int
    body: bytes
    request_id: str
    is_replay: bool = False
    #: The connection ends in the middle of the body.
    is_cut: bool = False


class Api:
    """The ASGI application below `/v1`."""

    def __init__(self, simulator: Simulator, router: Router) -> None:
        self._simulator = simulator
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request_id = new_id("request")
        template = "unknown"
        try:
            account = self._authenticate(request)
            operation, path_values = self._find(request)
            template = operation.template
            check_version(request)
            answer = await self._answer(request, request_id, account, (operation, path_values))
        except StripeError as error:
            answer = refusal(error, request_id)
        self._simulator.stats.count_call(request.method, template, answer.status)
        response = respond(answer, request, self._simulator.clock_offset_s)
        await (cut_short(response, send) if answer.is_cut else response(scope, receive, send))

    def _authenticate(self, request: Request) -> Account:
        key = presented_key(request.headers.get("authorization", ""))
        if not key:
            raise unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization "
                "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
        account = self._simulator.store.find_by_key(key)
        if account is None:
            raise unauthorized(f"Invalid API Key provided: {masked(key)}")
        return account

    def _find(self, request: Request) -> tuple[Operation, tuple[str, ...]]:
        path: str = request.scope["path"]
        found = self._router.match(request.method, path)
        if found is None:
            raise StripeError(
                f"Unrecognized request URL ({request.method}: {path}). This local Stripe does not have it.",
                status=404,
            )
        return found

    async def _answer(
        self,
        request: Request,
        request_id: str,
        account: Account,
        target: tuple[Operation, tuple[str, ...]],
    ) -> Answer:
        form = await read_form(request)
        # Stripe ignores the key of a GET, which has no effect, and of a v1 DELETE, which is idempotent.
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        with self._simulator.keys.holding(account, key):
            fault = self._simulator.faults.take(request.method, request.scope["path"])
            if fault is not None:
                await self._suffer(fault, request, "before")
            if request.method == "GET":
                account = self._simulator.read_lag.view(account, request.scope["path"])
            answer = self._replay_or_run(request, request_id, account, target, (key, form), fault)
            if fault is not None:
                await self._suffer(fault, request, "after")
        return replace(answer, is_cut=True) if fault is not None and fault.cut else answer

    def _replay_or_run(
        self,
        request: Request,
        request_id: str,
        account: Account,
        target: tuple[Operation, tuple[str, ...]],
        asked: tuple[str | None, dict[str, Raw]],
        fault: Fault | None,
    ) -> Answer:
        key, form = asked
        path: str = request.scope["path"]
        fingerprint = fingerprint_of(request.method, path, form) if key else ""
        if key and (saved := find_answer(account, key, fingerprint)):
            return Answer(saved["status"], saved["body"].encode(), saved["request_id"], is_replay=True)
        call_of = {"id": request_id, "idempotency_key": key}
        try:
            if fault is not None and fault.saved:
                raise InjectedFailure(fault)
            named = "stripe-version" in request.headers
            body = run(
                account, target, form, base_url=base_url(request), request=call_of, names_version=named
            )
            answer = Answer(200, msgspec.json.encode(body), request_id)
        except StripeError as error:
            if not error.is_saved:
                raise
            answer = refusal(error, request_id)
        if key:
            save_answer(
                account, key, fingerprint, status=answer.status, body=answer.body, request_id=request_id
            )
        self._simulator.commit()
        return answer

    async def _suffer(self, fault: Fault, request: Request, moment: str) -> None:
        """Apply an injected fault before or after the call takes effect."""
        if fault.when != moment or fault.saved:
            return
        if fault.latency_s or fault.stall:
            await self._hang(request, None if fault.stall else fault.latency_s)
        if fault.stall or fault.status is not None:
            raise InjectedFailure(fault)

    async def _hang(self, request: Request, seconds: float | None) -> None:
        """Wait; forever means until the client gives up or the simulator stops."""
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._simulator.stopping.wait())]
        if seconds is None:
            waits.append(asyncio.create_task(until_disconnect(request)))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def run(
    account: Account,
    target: tuple[Operation, tuple[str, ...]],
    form: dict[str, Raw],
    *,
    base_url: str,
    request: dict[str, Any],
    names_version: bool = True,
) -> dict[str, Any]:
    """Read the parameters by the operation's table, do it, expand the answer.

    A call that names no version is one at the account's default version, which may know older parameters.
    """
    operation, path_values = target
    paths: list[str] = EXPAND(form.pop("expand"), "expand") if "expand" in form else []
    known = operation.params if names_version else {**operation.params, **operation.older}
    read = params.read_fields(form, known, operation.required, lambda name: name)
    account.base_url = base_url
    clock = clock_named(account, [*path_values, *read.values()])
    with account.standing_at(moment_of(clock)):
        answer = operation.answer(Call(account, path_values, read, base_url, request))
        if clock is not None:
            # What the call made due at once, for instance the notice of a trial of two days.
            run_until(account, clock["id"], account.now())
    return expand(account, answer, paths) if paths else answer


async def read_form(request: Request) -> dict[str, Raw]:
    """Parameters of the query (GET, DELETE) and of the form body."""
    text: str = request.scope["query_string"].decode("latin-1")
    if request.method != "GET" and (body := await request.body()):
        try:
            text = f"{text}&{body.decode()}" if text else body.decode()
        except UnicodeDecodeError as error:
            raise malformed("Invalid request body: it is not UTF-8.", "body") from error
    return params.decode_form(text) if text else {}


async def until_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def presented_key(header: str) -> str:
    """The secret key of a Bearer or Basic header (user name, no password); empty when there is none."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def masked(key: str) -> str:
    """As Stripe shows a key in an error: its kind and its last four letters."""
    kind, tail = key[:8], key[-4:]
    return f"{kind}{'*' * max(0, len(key) - 12)}{tail}" if len(key) > len(kind + tail) else "*" * len(key)


def check_version(request: Request) -> None:
    """Only the pinned version is rendered, so any other is refused and not answered in a wrong shape."""
    version = request.headers.get("stripe-version", API_VERSION)
    if version != API_VERSION:
        raise StripeError(
            f"Invalid Stripe API version: {version}. This local Stripe answers at {API_VERSION} only.",
            is_saved=False,
        )


def base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def refusal(error: StripeError, request_id: str) -> Answer:
    return Answer(error.status, msgspec.json.encode(error.envelope(request_id)), request_id)


def respond(answer: Answer, request: Request, clock_offset_s: float) -> Response:
    headers = {
        "Date": formatdate(time.time() + clock_offset_s, usegmt=True),
        "Request-Id": answer.request_id,
        "Stripe-Version": request.headers.get("stripe-version", API_VERSION),
    }
    if key := request.headers.get("idempotency-key"):
        headers["Idempotency-Key"] = key
    if answer.is_replay:
        headers["Idempotent-Replayed"] = "true"
        headers["Original-Request"] = answer.request_id
    return Response(answer.body, answer.status, headers, media_type="application/json")


async def cut_short(response: Response, send: Send) -> None:
    """Half of the body: the server closes the connection when no more comes."""
    start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    half = bytes(response.body[: len(response.body) // 2])
    await send(start)
    await send({"type": "http.response.body", "body": half, "more_body": True})
