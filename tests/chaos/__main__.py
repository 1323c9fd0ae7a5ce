"""`python -m tests.chaos`: run faults, print one table; exit code 1 when anything did not hold."""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import structlog

from tests.chaos import table
from tests.chaos.checks import Verdict
from tests.chaos.registry import FAULTS, Registered
from tests.chaos.sizes import SIZES, Sizes


def main() -> int:
    asked = read_arguments()
    unknown = [name for name in asked.faults if name not in FAULTS]
    if unknown:
        print(f"There is no fault {', '.join(unknown)}: there are {' '.join(FAULTS)}.", file=sys.stderr)
        return 2
    be_quiet()
    sizes = SIZES[asked.size]
    print(table.heading(sizes))
    results = [
        run_one(name, FAULTS[name], sizes, seed, keep=asked.keep)
        for seed in asked.seeds
        for name in asked.faults or FAULTS
    ]
    print(f"{sum(results)} of {len(results)} as they must be")
    return 0 if all(results) else 1


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("faults", nargs="*", help="F-01 F-04 …; none: all")
    parser.add_argument("--seed", dest="seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--size", choices=SIZES, default="default")
    parser.add_argument("--keep", action="store_true", help="leave the logs of failed runs, and say where")
    return parser.parse_args()


def be_quiet() -> None:
    """The flows that run in this very process, such as a grant, say nothing between the rows."""
    logging.getLogger("tollhouse").setLevel(logging.CRITICAL)
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


def run_one(name: str, fault: Registered, sizes: Sizes, seed: int, *, keep: bool) -> bool:
    """One run in a deployment of its own. Answers whether it ended as it must."""
    directory = Path(tempfile.mkdtemp(prefix="tollhouse-chaos-"))
    began = time.monotonic()
    try:
        verdict = asyncio.run(fault.run(directory / "state", sizes, seed))
    except Exception as error:  # noqa: BLE001 - one harness that breaks must not hide the other results
        traceback.print_exc()
        verdict = Verdict()
        verdict.check("the run came to its end", False, f"{type(error).__name__}: {error}")
    is_right = fault.is_right(verdict)
    took_s = time.monotonic() - began
    print(table.line(name, verdict, seed, took_s, must_fail=fault.must_fail, is_right=is_right), flush=True)
    if keep and not is_right:
        print(f"    logs: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return is_right


if __name__ == "__main__":
    sys.exit(main())
