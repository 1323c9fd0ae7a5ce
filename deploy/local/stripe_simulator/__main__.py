"""`python -m deploy.local.stripe_simulator`: run the simulator until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from deploy.local.stripe_simulator.journal import FILE_NAME, StateUnusable
from deploy.local.stripe_simulator.serving import PortBusy, address_of, bind, serving
from deploy.local.stripe_simulator.settings import SimulatorSettings
from deploy.local.stripe_simulator.simulator import Simulator


def main() -> int:
    """Exit 0 after a stop that was asked for, 1 with one sentence on stderr otherwise."""
    asked = read_arguments()
    if asked.reset and asked.state is not None:
        forget(asked.state)
    settings = SimulatorSettings(
        secret_key=asked.secret_key,
        account_id=asked.account,
        state=asked.state,
        retry_base_s=asked.retry_base_s,
        max_attempts=asked.max_attempts,
        delivery_timeout_s=asked.delivery_timeout_s,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, asked.host, asked.port))
    except (PortBusy, StateUnusable, ValueError) as error:
        print(f"stripe-simulator: {error}", file=sys.stderr)
        return 1
    return 0


def read_arguments() -> argparse.Namespace:
    default = SimulatorSettings()
    parser = argparse.ArgumentParser(prog="python -m deploy.local.stripe_simulator", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8003, help="0 takes a free port (default 8003)")
    add("--state", type=Path, help="directory of the state; without it everything is gone at exit")
    add("--reset", action="store_true", help="forget the state first")
    add("--secret-key", default=default.secret_key, help="the first account's key, sk_test_…")
    add("--account", default=default.account_id, help="the first account's id, acct_…")
    add(
        "--retry-base-s", type=float, default=default.retry_base_s, help="wait before a webhook's first retry"
    )
    add("--max-attempts", type=int, default=default.max_attempts, help="attempts of one webhook delivery")
    add("--delivery-timeout-s", type=float, default=default.delivery_timeout_s)
    return parser.parse_args()


def forget(state: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (state / f"{FILE_NAME}{suffix}").unlink(missing_ok=True)


async def serve(settings: SimulatorSettings, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listener = bind(host, port)
    async with serving(Simulator(settings), listener):
        print(f"stripe-simulator ready on {address_of(listener)} for {settings.account_id}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
