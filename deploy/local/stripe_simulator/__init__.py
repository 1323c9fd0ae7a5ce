"""A stateful stand-in for api.stripe.com, for the demo and the tests; the service never imports it.

It answers at the API version the service pins, through the real Stripe SDK, and sends signed webhooks.
Read `app.py` first, then `wire.py`; after that there is one module for each noun of Stripe's.

What time does is in `due.py`, a table of deeds and their moments; `renewals.py` and `collection.py` have the
deeds themselves. `docs/simulator.md` tells how to use it all.

Not here, each refused with an error and never silently ignored: setup intents, taxes, metered
and tiered prices, subscription schedules, quotes, credit notes.
"""
