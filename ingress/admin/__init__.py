"""The doors of operators, under `/api/v1/admin`: what they list, and what they do with an audit row each."""

from ingress.admin import (
    audit,
    dead,
    events,
    find,
    grants,
    keys,
    reconciliation,
    scheduler,
    user_moves,
    users,
)

ROUTES = [
    *grants.ROUTES,
    *audit.ROUTES,
    *find.ROUTES,
    *dead.ROUTES,
    *events.ROUTES,
    *keys.ROUTES,
    *reconciliation.ROUTES,
    *scheduler.ROUTES,
    *users.ROUTES,
    *user_moves.ROUTES,
]
