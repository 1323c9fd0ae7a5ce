"""One link of the chain, and what is said of it."""

from typing import Literal

from msgspec import Struct

#: none: nothing is there; waiting: being worked on, or the customer's turn; unknown: it cannot be seen.
LinkState = Literal["ok", "none", "waiting", "broken", "unknown"]

#: What is owed is rung again within a minute at the latest; older than this, nobody is at work.
WORKED_WITHIN_S = 60.0


class Link(Struct, frozen=True, kw_only=True):
    name: str
    state: LinkState
    #: What was seen.
    finding: str
    #: The command that repairs it, or what else helps; None: nothing to do.
    repair: str | None = None


class Person(Struct, frozen=True, kw_only=True):
    """Whose chain it is, as commands name them."""

    project: str
    user_id: str

    @property
    def repair(self) -> str:
        """The command that reads Stripe again, recomputes and publishes."""
        return f"tollhouse explain {quoted(self.user_id)} --project {self.project} --repair"


def quoted(word: str) -> str:
    """A word as a shell takes it."""
    is_plain = word.replace("_", "").replace("-", "").isalnum() and word.isascii()
    return word if is_plain else "'" + word.replace("'", "'\\''") + "'"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
