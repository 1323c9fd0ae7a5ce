"""Reconcile: compare Stripe, mirror, stored answers and cache; name what differs, and have it read again.

A run is a row that says where it stands. It is taken in steps; each step reads Stripe with no transaction
open and then writes what it found together with its cursor. A process that dies leaves the run to the next.
"""

from domain.flows.reconcile.abandon import abandon
from domain.flows.reconcile.run import (
    Progress,
    Wish,
    begin,
    carry_out,
    find_unattended,
    run_once,
    see_through,
)
from domain.flows.reconcile.show import Drift, Run, RunDetail, RunPage, every_drift, list_runs, show_run

__all__ = [
    "Drift",
    "Progress",
    "Run",
    "RunDetail",
    "RunPage",
    "Wish",
    "abandon",
    "begin",
    "carry_out",
    "every_drift",
    "find_unattended",
    "list_runs",
    "run_once",
    "see_through",
    "show_run",
]
