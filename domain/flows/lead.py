"""Lead: of any number of schedulers one has the timed jobs, and when it ends another takes them.

Who leads holds an advisory lock on a session of its own. Postgres ends that session when its process dies,
when the network between them is cut (keepalives, 8 s), and when it says nothing for `SILENT_S`, as a process
does that was stopped or whose machine stands still; with the session ends the lock. The process that held it
learns of it from the connection at once, or from its own look that fails. The two never need to agree: every
job is safe to run twice.

The session must be the process's own: a pooler that lends sessions by the transaction would keep the lock
when we are gone, and let two of us lead. Poolers of that kind refuse the session's settings, and with
them us.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from domain import metrics
from domain.context import Context
from domain.errors import TollhouseError, Unavailable
from domain.store import jobs
from domain.store.jobs import Order
from domain.telemetry import get_logger

if TYPE_CHECKING:
    from domain.store.session import Session

__all__ = ["Leadership", "Order", "name_process"]

log = get_logger()

#: Postgres ends the session of a scheduler that has said nothing for so long; it looks every second.
SILENT_S = 10.0
#: Whoever got no answer for so long leads no more: well before Postgres gives the lock to another.
LOOK_S = 4.0


def name_process() -> str:
    """How operators find this process: host and number."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Leadership:
    """Whether this process leads. `lost` is called at once when it does no more."""

    def __init__(
        self,
        context: Context,
        name: str,
        *,
        lost: Callable[[], None],
        silent_s: float = SILENT_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._context = context
        self._name = name
        self._lost = lost
        self._silence = {"idle_session_timeout": f"{silent_s * 1000:.0f}ms"}
        self._look_s = look_s
        self._session: Session | None = None
        self._sessions = 0
        self._backend_pid: int | None = None
        self._is_leading = False

    @property
    def is_leading(self) -> bool:
        return self._is_leading and self._session is not None and not self._session.is_over

    @property
    def backend_pid(self) -> int | None:
        """Postgres's number of the session that leads; None: this process does not."""
        return self._backend_pid if self.is_leading else None

    async def look(self) -> Mapping[str, Order]:
        """Keep the lead, or try to take it. Answers what operators want of jobs; nothing where others lead.

        Without Postgres nobody leads: that is no error here.
        """
        try:
            async with asyncio.timeout(self._look_s):
                return await self._look()
        except (TollhouseError, TimeoutError) as error:
            if not isinstance(error, Unavailable | TimeoutError):
                log.critical("leader_look_failed", error=type(error).__name__, exc_info=error)
            self._drop()
            return {}

    async def resign(self) -> None:
        """Let another one lead now, instead of when Postgres notices that we are gone."""
        session, self._session = self._session, None
        if self._is_leading:
            log.info("lead_resigned", name=self._name)
            self._end()
        if session is not None:
            await session.close()

    async def _look(self) -> Mapping[str, Order]:
        if self._session is None or self._session.is_over:
            # A process that was stopped may come here before it is told that its session has ended.
            self._lose()
            self._sessions += 1
            self._session = await self._context.database.open_session(
                partial(self._note_end, self._sessions), self._silence
            )
        with self._session.use() as connection:
            if not self._is_leading:
                if not await jobs.take_lead(connection):
                    return {}
                self._backend_pid = await jobs.write_leader(connection, self._name)
                self._begin()
            return {order.job: order for order in await jobs.list_orders(connection)}

    def _begin(self) -> None:
        self._is_leading = True
        metrics.leads.set(1)
        log.info("lead_taken", name=self._name)

    def _note_end(self, session: int) -> None:
        """Of a session, which may end after the next one has begun."""
        if session == self._sessions:
            self._lose()

    def _lose(self) -> None:
        if self._is_leading:
            log.warning("lead_lost", name=self._name)
            self._end()

    def _end(self) -> None:
        self._is_leading = False
        metrics.leads.set(0)
        self._lost()

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.cut()
        self._lose()
