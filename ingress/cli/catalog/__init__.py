"""`tollhouse catalog`: each verb in its own module."""

from ingress.cli.catalog import apply, check, export, parity, plan, retire, status, verify
from ingress.cli.catalog.group import catalog

for verb in (
    check.check,
    plan.plan,
    apply.apply,
    verify.verify,
    export.export,
    parity.parity,
    retire.retire_endpoint,
    status.status,
    check.schema,
):
    catalog.add_command(verb)

__all__ = ["catalog"]
