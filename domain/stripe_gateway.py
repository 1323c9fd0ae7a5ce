"""The only home of the Stripe client: reads, creates, a pinned API version, errors by one table.

Reads give plain JSON as Stripe answered it; `domain.rules.shapes` turns it into our structs. Every read asks
`reserve` for a slot in the shared read budget first, so that no burst of ours uses up the account's limit.
Our retries are the protocol's (docs/event-path.md): the SDK retries only what fails within one request.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from typing import Any, Literal

import aiohttp
import stripe
from stripe import oauth_error

from domain import metrics
from domain.errors import Broken, ObjectMissing, ReplayedFailure, TollhouseError, Unavailable
from domain.settings import Settings, rate_of, stripe_mode

JsonObject = dict[str, Any]
Reserve = Callable[[], Awaitable[None]]

#: Stripe's own maximum for a list page.
PAGE = 100
#: The version every read asks for: the SDK's own.
API_VERSION: str = stripe.api_version

#: What becomes of each class of the SDK. A test fails when the SDK gains one that is not here.
#: "request": decided by status and code, see `_translate_request`.
Family = Literal["away", "refused", "slow_down", "request", "declined", "broken"]
FAMILIES: dict[type[stripe.StripeError], Family] = {
    stripe.StripeError: "broken",
    stripe.APIError: "away",
    stripe.APIConnectionError: "away",
    stripe.RateLimitError: "slow_down",
    stripe.AuthenticationError: "refused",
    stripe.PermissionError: "refused",
    stripe.InvalidRequestError: "request",
    stripe.IdempotencyError: "request",
    stripe.CardError: "declined",
    stripe.SignatureVerificationError: "broken",
    stripe.AlreadyCanceledError: "broken",
    stripe.BlockedByStripeError: "broken",
    stripe.CannotProceedError: "broken",
    stripe.CapabilityNotEnabledError: "broken",
    stripe.ControlledByAlternateResourceError: "broken",
    stripe.FeatureNotEnabledError: "broken",
    stripe.FinancialAccountNotOpenError: "broken",
    stripe.FxQuoteNeedsRefreshError: "broken",
    stripe.InsufficientFundsError: "broken",
    stripe.InvalidPaymentMethodError: "broken",
    stripe.InvalidPayoutMethodError: "broken",
    stripe.InvalidVaultedCredentialError: "broken",
    stripe.NotCancelableError: "broken",
    stripe.QuotaExceededError: "broken",
    stripe.RecipientNotNotifiableError: "broken",
    stripe.TemporarySessionExpiredError: "broken",
    stripe.VerificationAttemptFailedError: "broken",
    stripe.VerificationExpiredError: "broken",
    stripe.VerificationNotInitiatedError: "broken",
    oauth_error.OAuthError: "broken",
}


class SlowDown(Unavailable):
    """Stripe answered 429: the read budget halves its rate for a minute."""

    code = "stripe_rate_limited"


class KeyRefused(Unavailable):
    """Stripe refuses our key: nothing heals before somebody has changed it."""

    code = "stripe_key_refused"

    def __init__(self, detail: str, *, lacks_permission: bool) -> None:
        super().__init__(detail, alarm=True)
        #: Stripe knows the key, which may not do this; else it knows no such key.
        self.lacks_permission = lacks_permission


class StripeRefused(Broken):
    """Stripe understood a call and refused it: a flow may know what its caller can do about it.

    Unless one says so it is our fault, as every Broken.
    """

    def __init__(
        self,
        detail: str,
        *,
        reason: str | None,
        decline_code: str | None,
        param: str | None,
        is_decline: bool,
    ) -> None:
        super().__init__(detail)
        #: Stripe's stable `code`, such as card_declined; None: it gave none.
        self.reason = reason
        #: The bank's, such as insufficient_funds.
        self.decline_code = decline_code
        #: The parameter that Stripe blames.
        self.param = param
        #: A payment was tried and failed.
        self.is_decline = is_decline


class StripeGateway:
    """One client per process, for one account and mode. Opens no connection before the first call."""

    def __init__(self, settings: Settings) -> None:
        key = settings.stripe_secret_key.reveal()
        self.mode = stripe_mode(key)
        #: Reads per second that all processes share; 0 is unlimited.
        self.rate = rate_of(settings, self.mode)
        stripe.enable_telemetry = False
        self._http = stripe.AIOHTTPClient(timeout=settings.stripe_timeout_s)
        self._client = stripe.StripeClient(
            key,
            base_addresses={"api": settings.stripe_api_base},
            # One quick retry bridges a dropped keep-alive connection; more would nest with our back-off.
            max_network_retries=1,
            http_client=self._http,
        )

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call] # the SDK's method has no annotations
        # aiohttp closes its sockets one loop turn later.
        await asyncio.sleep(0)

    async def read(self, path: str, reserve: Reserve, **params: Any) -> JsonObject:
        """GET one object.

        Raises:
            ObjectMissing: Stripe says that it does not exist.
            Throttled: from `reserve`.
            Unavailable, Broken: by `FAMILIES`.
        """
        await reserve()
        return await self._call("get", path, params, {})

    async def read_dated(self, path: str, reserve: Reserve) -> tuple[JsonObject, str | None]:
        """GET one object, and the `Date` of Stripe's answer; None: it had none. Errors as `read`."""
        await reserve()
        response = await self._send("get", path, {}, {})
        return _object_of(response, path), response.headers.get("Date")

    async def read_list(self, path: str, reserve: Reserve, **params: Any) -> AsyncIterator[JsonObject]:
        """GET every object of a list, page by page to its end; errors as `read`."""
        after: JsonObject = {}
        while True:
            page = await self.read(path, reserve, limit=PAGE, **params, **after)
            for found in page["data"]:
                yield found
            if not page.get("has_more") or not page["data"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}

    async def create(self, path: str, params: JsonObject, *, idempotency_key: str) -> JsonObject:
        """POST. The same key and params give the same object however often it is called (for 24 hours).

        Raises:
            ReplayedFailure: Stripe failed at an earlier call with this key, and says so again for a day.
            Unavailable, Broken: by `FAMILIES`.
        """
        return await self._call("post", path, params, {"idempotency_key": idempotency_key})

    async def delete(self, path: str) -> JsonObject:
        """DELETE: what was deleted before is ObjectMissing; errors as `create`."""
        return await self._call("delete", path, {}, {})

    async def preview(self, path: str, reserve: Reserve, params: JsonObject) -> JsonObject:
        """POST a call that changes nothing, within the read budget; errors as `read`."""
        await reserve()
        return await self._call("post", path, params, {})

    async def _call(self, method: str, path: str, params: JsonObject, options: JsonObject) -> JsonObject:
        return _object_of(await self._send(method, path, params, options), path)

    async def _send(
        self, method: str, path: str, params: JsonObject, options: JsonObject
    ) -> stripe.StripeResponse:
        with _counted(method), _translated(path):
            response: stripe.StripeResponse = await self._client.raw_request_async(
                method, path, **params, **options
            )
        return response


def _object_of(response: stripe.StripeResponse, path: str) -> JsonObject:
    data = response.data
    if not isinstance(data, dict):
        raise Broken(f"Stripe answered {path} with something that is no object")
    return data


@contextmanager
def _counted(method: str) -> Any:
    began = time.perf_counter()
    outcome = "canceled"
    try:
        yield
        outcome = "ok"
    except TollhouseError as error:
        outcome = error.code
        raise
    finally:
        metrics.stripe_calls.labels(method, outcome).observe(time.perf_counter() - began)


@contextmanager
def _translated(path: str) -> Any:
    try:
        yield
    except stripe.StripeError as error:
        # Without its cause: Stripe's sentence may quote what the customer typed, and tracebacks are logged.
        raise _translate(error, path) from None
    except (TimeoutError, OSError, aiohttp.ClientError) as error:
        # The SDK reads the body outside of its own net: an answer cut on its way comes out as it is.
        raise Unavailable(f"Stripe's answer to {path} did not arrive: {type(error).__name__}") from error


def _translate(error: stripe.StripeError, path: str) -> Unavailable | Broken:
    match FAMILIES.get(type(error), "broken"):
        case "away":
            said = f"Stripe did not answer {path}: {_said(error)}"
            return ReplayedFailure(said) if _is_replayed(error) else Unavailable(said)
        case "slow_down":
            return SlowDown(f"Stripe answered 429 to {path}")
        case "refused":
            return KeyRefused(
                f"Stripe refused our key for {path} ({_said(error)}): check TOLLHOUSE_STRIPE_SECRET_KEY",
                lacks_permission=isinstance(error, stripe.PermissionError),
            )
        case "request":
            return _translate_request(error, path)
        case "declined":
            return _refused(error, path)
        case "broken":
            return Broken(f"Stripe refused {path}: {_said(error)}")


def _is_replayed(error: stripe.StripeError) -> bool:
    """Whether an earlier call under the same idempotency key had this answer."""
    headers: Any = error.headers or {}
    return any(name.lower() == "idempotent-replayed" for name in headers)


def _translate_request(error: stripe.StripeError, path: str) -> Unavailable | Broken:
    if error.http_status == 404 and error.code == "resource_missing":  # noqa: PLR2004 - HTTP's number
        return ObjectMissing(f"Stripe has no {path}")
    if error.http_status in {409, 429} or error.code in {"lock_timeout", "idempotency_key_in_use"}:
        return Unavailable(f"Stripe is busy with {path}: {_said(error)}")
    return _refused(error, path)


def _refused(error: stripe.StripeError, path: str) -> StripeRefused:
    shown: Any = error.error
    return StripeRefused(
        f"Stripe refused {path}: {_said(error)}",
        reason=error.code,
        decline_code=getattr(shown, "decline_code", None),
        param=getattr(shown, "param", None),
        is_decline=isinstance(error, stripe.CardError),
    )


def _said(error: stripe.StripeError) -> str:
    """Status, code and Stripe's request id: enough to find it in the dashboard, nothing personal."""
    parts = (error.http_status, error.code, error.request_id)
    return ", ".join(str(part) for part in parts if part) or type(error).__name__
