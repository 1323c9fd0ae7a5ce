"""What a dispute is made of: its fields, its case at the card network, the money that moved."""

from deploy.local.stripe_simulator.ids import new_id
from deploy.local.stripe_simulator.store import Account, Json

DAY_S = 24 * 3600
#: Days a merchant has to answer, and minor units that a chargeback costs.
ANSWER_DAYS, DISPUTE_FEE = 9, 1500
EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)


def dispute_row(account: Account, charge: Json, amount: int, status: str, reason: str) -> Json:
    """A dispute as it is opened; no money has moved yet."""
    now = account.now()
    row = {
        "id": new_id("dispute"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": now + ANSWER_DAYS * DAY_S,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": True,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": None,
        "reason": reason,
        "status": status,
    }
    show_case(account, row)
    return row


def show_case(account: Account, row: Json) -> None:
    """What follows from the status: the kind of case, and whether a refund is still possible."""
    is_inquiry = row["status"].startswith("warning")
    row["is_charge_refundable"] = is_inquiry
    charge = account.load("charge", row["charge"])
    if charge["payment_method_details"]["type"] != "card":
        row.pop("payment_method_details", None)
        return
    brand = charge["payment_method_details"]["card"]["brand"]
    case = {"prevented": "resolution"}.get(row["status"], "inquiry" if is_inquiry else "chargeback")
    row["payment_method_details"] = {
        "card": {"brand": brand, "case_type": case, "network": brand, "network_reason_code": "10.4"},
        "type": "card",
    }


def funds_row(account: Account, dispute: Json, amount: int) -> Json:
    """A balance transaction; `amount` in minor units, negative when the bank takes it."""
    now, fee = account.now(), DISPUTE_FEE if amount < 0 else 0
    fees = [{"amount": fee, "application": None, "currency": dispute["currency"]}] if fee else []
    return {
        "id": new_id("balance_transaction"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": dispute["currency"],
        "description": f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}",
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [{**each, "description": "Dispute fee", "type": "stripe_fee"} for each in fees],
        "net": amount - fee,
        "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
        "source": dispute["id"],
        "status": "pending",
        "type": "adjustment",
    }
