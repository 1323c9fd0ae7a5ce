"""`tollhouse seed`: users with histories, made as users make them.

Checkouts through the API, payments on the simulated Stripe's pages, months that pass on its test clocks,
refunds and disputes at its banks; what the service knows of it came by webhooks and workers. Nothing is
written into a table.
"""
