"""The parts of one running simulator, put together once."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from deploy.local.stripe_simulator.due import run_until
from deploy.local.stripe_simulator.faults import Faults
from deploy.local.stripe_simulator.idempotency import IdempotencyKeys
from deploy.local.stripe_simulator.journal import Journal
from deploy.local.stripe_simulator.read_lag import ReadLag
from deploy.local.stripe_simulator.sender import Sender
from deploy.local.stripe_simulator.settings import SimulatorSettings
from deploy.local.stripe_simulator.stats import Stats
from deploy.local.stripe_simulator.store import Account, Store

LOG = logging.getLogger(__name__)
#: Seconds between two looks for what is due in real time.
CLOCK_S = 1.0


class Simulator:
    """Raises StateUnusable when the state directory cannot be used."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.store = Store(Journal(settings.state) if settings.state is not None else None)
        #: The account of calls to the control plane that name none.
        self.first: Account = self.store.open_account(settings.secret_key, settings.account_id)
        self.stats = Stats()
        self.faults = Faults()
        self.read_lag = ReadLag()
        self.store.on_commit = self.read_lag.note
        self.keys = IdempotencyKeys()
        self.sender = Sender(settings, self.store, self.stats)
        #: By how many seconds the clock is wrong that every answer of the API shows.
        self.clock_offset_s = 0.0
        #: Whether what real time does waits, as if Stripe were late with it.
        self.clock_stands = False
        #: Set when the server begins to stop, so that calls that never answer end.
        self.stopping = asyncio.Event()

    def commit(self) -> None:
        """Make what happened durable, then let its events go."""
        self.sender.take(self.store.commit())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send webhooks and let real time do its deeds while inside."""
        await self.sender.start()
        clock = asyncio.create_task(self._run_clock(), name="stripe-clock")
        try:
            yield
        finally:
            clock.cancel()
            with suppress(asyncio.CancelledError):
                await clock
            await self.sender.stop()
            self.store.close()

    async def _run_clock(self) -> None:
        while True:
            if not self.clock_stands:
                for account in self.store.accounts.values():
                    self._let_real_time_pass(account)
            await asyncio.sleep(CLOCK_S)

    def _let_real_time_pass(self, account: Account) -> None:
        try:
            done = run_until(account, None, int(time.time()))
        except Exception:
            # The outermost loop: a test may have put nonsense into one row, and time goes on for the others.
            LOG.exception("a deed of account %s failed, see its row", account.account_id)
            return
        if done:
            self.commit()
