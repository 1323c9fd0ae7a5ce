"""One user's dealings: with the app through our API, with Stripe's pages, its dashboard and its clock."""

import time
from typing import Any
from urllib.parse import quote, urlsplit

from deploy.local.processes import ProcessFailed
from deploy.local.state import Ready
from deploy.local.web import Answer, request

SUCCESS_URL, CANCEL_URL = "http://localhost:3000/ok", "http://localhost:3000/cancel"
#: A page's claim answers 202 until Stripe has been read; it waits 10 s by itself.
CLAIMS = 6
#: Longest wait for a turn that the API's limit of calls per second asks for.
MOST_WAITS = 60
TOO_MANY, ACCEPTED = 429, 202
#: A year of renewals is one call, on a machine that is doing everything else as well.
TIMEOUT_S = 120.0


class Refused(ProcessFailed):
    """A call was answered otherwise than a history needs."""


class Shop:
    """One user, who never does two things at once.

    Every method raises Refused with the call and its answer, NoAnswer where nobody answers. Each call has a
    connection of its own: one that is kept while another server is waited for may be closed meanwhile.
    """

    def __init__(self, ready: Ready, project: str, app: str, user_id: str) -> None:
        self._ready = ready
        self.project = project
        self.user_id = user_id
        self._app_key = ready.app_keys[f"{project}/{app}"]
        #: Of the user's customer, once something was bought; None: lives in real time.
        self._clock: str | None = None

    # ── the app ──

    def open_checkout(self, *items: tuple[str, str, int], trial_days: int = 0) -> dict[str, Any]:
        """Items are (plan, price, quantity); answers the session."""
        wish: dict[str, Any] = {
            "user_id": self.user_id,
            "items": [
                {"plan": plan, "price": price, "quantity": quantity} for plan, price, quantity in items
            ],
            "success_url": SUCCESS_URL,
            "cancel_url": CANCEL_URL,
            "customer": {"email": f"{self.user_id}@example.com"},
        }
        if trial_days:
            wish["trial_days"] = trial_days
        return self.ask("/api/v1/checkout/session", wish, 201)

    def claim(self, session: dict[str, Any]) -> None:
        """What the success page does: the app knows of the purchase before anything else is asked of it."""
        for _ in range(CLAIMS):
            answer = self._call("POST", f"/api/v1/checkout/session/{session['id']}/claim", self._app_key)
            if answer.status != ACCEPTED:
                expect(answer, "claim", 200)
                return
        raise Refused(f"{session['id']} was paid and not read within a minute: is a worker running?")

    def change(self, *items: tuple[str, str, int], when: str = "now") -> None:
        wanted = [{"plan": plan, "price": price, "quantity": quantity} for plan, price, quantity in items]
        self.ask("/api/v1/subscription/change", self._about(items=wanted, when=when), 200)

    def cancel(self, *, when: str = "period_end") -> None:
        self.ask("/api/v1/subscription/cancel", self._about(when=when), 200)

    def grant(self, **wish: Any) -> None:
        """What an operator does by hand."""
        body = {"user_id": self.user_id, **wish}
        path = f"/api/v1/admin/grant?project={self.project}"
        answer = self._call("POST", path, self._ready.operator_key, body)
        expect(answer, f"POST {path}", 201)

    def is_known(self) -> bool:
        path = f"/api/v1/admin/users/{quote(self.user_id)}?project={self.project}"
        answer = self._call("GET", path, self._ready.operator_key)
        if answer.status == 404:  # noqa: PLR2004 - HTTP's number
            return False
        expect(answer, path, 200)
        return True

    def ask(self, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
        return expect(self._call("POST", path, self._app_key, body), f"POST {path}", status)

    def _about(self, **wish: Any) -> dict[str, Any]:
        return {"user_id": self.user_id, "group": "main", **wish}

    def _call(self, method: str, path: str, key: str, body: dict[str, Any] | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {key}"}
        for _ in range(MOST_WAITS):
            url = self._ready.base_url + path
            answer = request(method, url, send_json=body, headers=headers, timeout_s=TIMEOUT_S)
            if answer.status != TOO_MANY:
                break
            time.sleep(float(answer.headers.get("retry-after", "1")))
        return answer

    # ── the customer, on Stripe's pages ──

    def buy(
        self, *items: tuple[str, str, int], at: float, trial_days: int = 0, button: str = "pay"
    ) -> dict[str, Any]:
        """Open a checkout and press a button on its page, at `at` (unix time, past). Answers the session.

        The customer is made with the first checkout, and put on a clock of its own before anything is paid.
        """
        if self._clock is not None:
            self.advance(at)
        session = self.open_checkout(*items, trial_days=trial_days)
        if self._clock is None:
            self._clock = self._make_clock(session, at)
        self.press(session, button)
        return session

    def press(self, session: dict[str, Any], button: str) -> None:
        path = f"{urlsplit(session['url']).path}/{button}"
        answer = self._at_stripe("POST", path)
        if answer.status != 303:  # noqa: PLR2004 - HTTP's see other
            raise Refused(f"{path} answered {answer.status}: {shown(answer)}")

    # ── the merchant's dashboard, the banks, and time ──

    def advance(self, to: float) -> None:
        """Let everything become due up to `to` (unix time)."""
        self.control(f"test_clocks/{self._clock}/advance", to=int(to))

    def use_card(self, session: dict[str, Any], card: str) -> None:
        self.control(f"customers/{self.find_session(session)['customer']}/card", card=card)

    def refund(self, session: dict[str, Any], share: float) -> None:
        """Give back a share of a one-time payment."""
        paid = self.find_session(session)
        amount = max(1, int(paid["amount_total"] * share))
        self.stripe("POST", "/v1/refunds", payment_intent=paid["payment_intent"], amount=amount)

    def control(self, verb: str, **wish: Any) -> dict[str, Any]:
        answer = self._at_stripe("POST", f"/_sim/{verb}", send_json=wish)
        return expect(answer, f"POST /_sim/{verb}", 200)

    def find_session(self, session: dict[str, Any]) -> dict[str, Any]:
        return self.stripe("GET", f"/v1/checkout/sessions/{session['id']}")

    def stripe(self, method: str, path: str, **form: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._ready.stripe_secret_key}"}
        sent = {name: str(value) for name, value in form.items()} or None
        answer = self._at_stripe(method, path, send_form=sent, headers=headers)
        return expect(answer, f"{method} {path}", 200)

    def _at_stripe(self, method: str, path: str, **sent: Any) -> Answer:
        return request(method, self._ready.stripe_url + path, timeout_s=TIMEOUT_S, **sent)

    def _make_clock(self, session: dict[str, Any], at: float) -> str:
        customer = self.find_session(session)["customer"]
        path = "/v1/test_helpers/test_clocks"
        return str(self.stripe("POST", path, frozen_time=int(at), customer=customer)["id"])


def expect(answer: Answer, call: str, status: int) -> dict[str, Any]:
    if answer.status != status:
        raise Refused(f"{call} answered {answer.status}, not {status}: {shown(answer)}")
    found: dict[str, Any] = answer.json()
    return found


def shown(answer: Answer) -> str:
    return answer.body[:300].decode(errors="replace")
