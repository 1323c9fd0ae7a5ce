"""`catalog parity`: this deployment against the state of another one."""

import msgspec

from domain.context import Context
from domain.errors import Invalid
from domain.flows.export_catalog import export_state
from domain.rules.parity import AccountState, Difference, compare_accounts

__all__ = ["AccountState", "Difference", "compare_with", "read_state"]


def read_state(text: str, *, file: str) -> AccountState:
    """What `catalog export --state` printed.

    Raises:
        Invalid: it is something else; `file` is its name in the error.
    """
    try:
        return msgspec.json.decode(text, type=AccountState)
    except msgspec.MsgspecError as error:
        raise Invalid(
            f"{file} is no state of a deployment ({error}): make one there, with "
            "tollhouse catalog export --state."
        ) from error


async def compare_with(context: Context, other: AccountState) -> tuple[AccountState, tuple[Difference, ...]]:
    """The state of this deployment, and what differs; writes nothing.

    Raises:
        WrongDeployment, Throttled, Unavailable: as `export_state`.
    """
    here = await export_state(context)
    return here, compare_accounts(here, other)
