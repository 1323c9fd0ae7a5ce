"""Ids as Stripe writes them: a prefix that names the kind, then letters and digits nobody can guess."""

import secrets

PREFIX_OF = {
    "balance_transaction": "txn_",
    "billing_portal.configuration": "bpc_",
    "billing_portal.session": "bps_",
    "charge": "ch_",
    "checkout.session": "cs_test_",
    "coupon": "coupon_",
    "customer": "cus_",
    "delivery": "del_",
    "discount": "di_",
    "dispute": "du_",
    "event": "evt_",
    "invoice": "in_",
    "invoice_payment": "inpay_",
    "invoiceitem": "ii_",
    "item": "li_",
    "line_item": "il_",
    "payment_intent": "pi_",
    "payment_method": "pm_",
    "price": "price_",
    "product": "prod_",
    "promotion_code": "promo_",
    "refund": "re_",
    "request": "req_",
    # Before the kind whose prefix it begins with: ids are told apart in this order.
    "subscription_schedule": "sub_sched_",
    "subscription": "sub_",
    "subscription_item": "si_",
    "test_helpers.test_clock": "clock_",
    "webhook_endpoint": "we_",
    "webhook_secret": "whsec_",
}


def new_id(kind: str) -> str:
    """A fresh id of one kind, 24 hexadecimal digits after the prefix."""
    return PREFIX_OF[kind] + secrets.token_hex(12)
