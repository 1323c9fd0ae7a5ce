"""A stateful stand-in for api.stripe.com, for the demo and the tests; the service never imports it.

It answers at the API version the service pins, through the real Stripe SDK, and sends signed webhooks.
Read `app.py` first, then `wire.py`; after that there is one module for each noun of Stripe's.

Not here yet, each refused with an error and never silently ignored: test clocks and any passing of
simulated time (renewals, the end of a trial, `cancel_at`), prorations, refunds, disputes, the billing
portal, setup intents, coupons and taxes, dunning, other payload versions than the pinned one.
"""
