"""The part of the control plane that plays the customers' banks: refunds that end later, and disputes."""

from deploy.local.stripe_simulator import disputes, refunds
from deploy.local.stripe_simulator.dispute_calls import find_charge
from deploy.local.stripe_simulator.moments import clock_of, moment_of
from deploy.local.stripe_simulator.simulator import Simulator
from deploy.local.stripe_simulator.store import Json
from deploy.local.stripe_simulator.wishes import Wish, find_account


class RefundWish(Wish, frozen=True, kw_only=True):
    """What becomes of a refund: pending, requires_action, succeeded, failed or canceled."""

    status: str
    #: Of a failed one; None: `expired_or_canceled_card`.
    failure_reason: str | None = None


class RefundFailureWish(Wish, frozen=True, kw_only=True):
    failure_reason: str | None = None


class DisputeWish(Wish, frozen=True, kw_only=True):
    """A dispute to open."""

    #: What is disputed: the id of a charge, payment intent, invoice, checkout session or subscription.
    payment: str
    status: str = "needs_response"
    reason: str = "fraudulent"
    #: Minor units; None: all that was paid.
    amount: int | None = None


class DisputeStatusWish(Wish, frozen=True, kw_only=True):
    status: str


def move_refund(simulator: Simulator, wish: RefundWish, path: Json) -> Json:
    account = find_account(simulator, wish.account)
    row = account.load("refund", path["id"])
    refunds.move(account, row, wish.status, reason=wish.failure_reason)
    return row


def fail_refund(simulator: Simulator, wish: RefundFailureWish, path: Json) -> Json:
    account = find_account(simulator, wish.account)
    row = account.load("refund", path["id"])
    refunds.move(account, row, "failed", reason=wish.failure_reason)
    return row


def open_dispute(simulator: Simulator, wish: DisputeWish, _path: Json) -> Json:
    account = find_account(simulator, wish.account)
    charge = find_charge(account, wish.payment)
    with account.standing_at(moment_of(clock_of(account, charge))):
        return disputes.open_dispute(
            account, charge, status=wish.status, reason=wish.reason, amount=wish.amount
        )


def move_dispute(simulator: Simulator, wish: DisputeStatusWish, path: Json) -> Json:
    account = find_account(simulator, wish.account)
    row = account.load("dispute", path["id"])
    disputes.move(account, row, wish.status)
    return row


WRITES = (
    ("/_sim/disputes", DisputeWish, open_dispute),
    ("/_sim/disputes/{id}", DisputeStatusWish, move_dispute),
    ("/_sim/refunds/{id}", RefundWish, move_refund),
    ("/_sim/refunds/{id}/fail", RefundFailureWish, fail_refund),
)
