"""Which Stripe account and mode this database belongs to: fixed once, checked by every process with a key."""

import asyncio
import time

from domain.context import Context
from domain.errors import Unavailable
from domain.rules.events import Deployment
from domain.store import deployment as deployments
from domain.store.deployment import DeploymentRow
from domain.telemetry import get_logger

log = get_logger()


class WrongDeployment(Unavailable):
    """The Stripe key of this process belongs to another account or mode than the database.

    It is a kind of Unavailable, because nothing may be read, written or declared dead until a human has
    corrected the key.
    """

    code = "wrong_deployment"


class DeploymentCheck:
    """Asks Stripe once per process who its key is; `ensure` is free afterwards.

    While Stripe does not say, one asks for all who want to know, `retry_base_s` after the last: the question
    takes no slot of the read budget, and every sync that begins wants to know.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._fixed: Deployment | None = None
        self._asking = asyncio.Lock()
        self._refused: Unavailable | None = None
        #: Of time.monotonic().
        self._asks_again_at = 0.0

    async def ensure(self) -> Deployment:
        """The deployment row, confirmed for this process's key; written if this is the first process.

        Raises:
            WrongDeployment: the key, or TOLLHOUSE_ENV, is another deployment's.
            Unavailable: Stripe or Postgres is away; nothing was decided.
        """
        async with self._asking:
            if self._fixed is None:
                self._fixed = await self._ask()
            return self._fixed

    async def _ask(self) -> Deployment:
        if self._refused is not None and time.monotonic() < self._asks_again_at:
            raise self._refused.with_traceback(None)
        try:
            return await self._fix()
        except Unavailable as error:
            self._refused = error
            self._asks_again_at = time.monotonic() + self._context.settings.retry_base_s
            raise

    async def _fix(self) -> Deployment:
        stripe = self._context.stripe_or_raise
        account = await stripe.read("/v1/account", _no_reserve)
        asked = DeploymentRow(account_id=str(account["id"]), mode=stripe.mode, env=self._context.settings.env)
        async with self._context.database.transaction() as connection:
            fixed = await deployments.fix_deployment(connection, asked)
        if fixed != asked:
            log.error("wrong_deployment", expected=repr(fixed), found=repr(asked))
            raise WrongDeployment(
                f"This database belongs to Stripe account {fixed.account_id} in {fixed.mode} mode "
                f"(TOLLHOUSE_ENV={fixed.env}), but this process has a key of {asked.account_id} in "
                f"{asked.mode} mode (TOLLHOUSE_ENV={asked.env}): correct the key or the database URL.",
                alarm=True,
            )
        return Deployment(fixed.account_id, fixed.mode, fixed.env)


async def _no_reserve() -> None:
    """Few calls: they need no slot of the read budget."""
