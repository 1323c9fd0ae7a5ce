"""Backfill: customers of an existing Stripe account become users', and what they bought gives access.

An import is a row that says where it stands, as a run of the reconciler is. It links first, then takes
Stripe's own lists page by page; a page is written as it was read, without a second read per object.
"""

from domain.flows.backfill.begin import Begun, begin, complete, open_project
from domain.flows.backfill.compare import Comparison, Difference, compare
from domain.flows.backfill.dry_run import DryRun, Unlinked, dry_run
from domain.flows.backfill.mapping import ByMap, ByMetadata, Mapping
from domain.flows.backfill.run import Import, carry_out, list_unmapped
from domain.store.import_customers import ImportCustomer

__all__ = [
    "Begun",
    "ByMap",
    "ByMetadata",
    "Comparison",
    "Difference",
    "DryRun",
    "Import",
    "ImportCustomer",
    "Mapping",
    "Unlinked",
    "begin",
    "carry_out",
    "compare",
    "complete",
    "dry_run",
    "list_unmapped",
    "open_project",
]
