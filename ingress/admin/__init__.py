"""The doors of operators, under `/api/v1/admin`: what they list, and what they do with an audit row each."""

from ingress.admin import dead, events, find, grants, keys, reconciliation, scheduler, users

ROUTES = [
    *grants.ROUTES,
    *find.ROUTES,
    *dead.ROUTES,
    *events.ROUTES,
    *keys.ROUTES,
    *reconciliation.ROUTES,
    *scheduler.ROUTES,
    *users.ROUTES,
]
