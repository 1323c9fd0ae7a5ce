"""What the present status of a dispute means. Nothing is sticky: only the current status counts.

A status of none of these kinds (`won`, `warning_closed`, one that Stripe has added since) changes nothing.

Source: docs.stripe.com/api/disputes/object (status).
"""

from domain.model import Dispute

_OPEN = frozenset({"needs_response", "under_review"})


def is_open(dispute: Dispute) -> bool:
    """The money is withheld and the case undecided: suspends, unless policy says keep."""
    return dispute.status in _OPEN


def is_lost(dispute: Dispute) -> bool:
    """An appeal counts as lost until it is won."""
    return dispute.status == "lost" or dispute.status.startswith("appeal_")


def is_inquiry(dispute: Dispute) -> bool:
    """The bank only asks: keeps access and is flagged."""
    return dispute.status.startswith("warning_") and dispute.status != "warning_closed"


def is_prevented(dispute: Dispute) -> bool:
    """Settled by giving the amount back: a refund."""
    return dispute.status == "prevented"
