"""Faults that are tests by themselves, at a size that `make test` has no time for."""

import asyncio
import os
import re
import sys
from pathlib import Path

from deploy.local.environment import ROOT
from tests.chaos.checks import Verdict
from tests.chaos.sizes import Sizes


async def f23(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """A dispute, a subscription, a grant and a catalog of one user, and pairs, held at every await."""
    files = ("tests/chaos/test_interleaved.py", "tests/flows/test_interleavings.py")
    return await run_tests(*files, CHAOS_STRIDE="1")


async def f14(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Any order and number of deliveries, any crash: the state machine, with other examples each time."""
    examples = {"full": "5000", "default": "200"}.get(sizes.name, "40")
    return await run_tests("tests/chaos/test_machine.py", CHAOS_EXAMPLES=examples)


async def a01(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Spoiled deliveries and bodies, forged events, one delivery a thousand times, hostile connections."""
    attacks = "long" if sizes.name in {"default", "full"} else "short"
    files = ("test_deliveries", "test_bodies", "test_connections")
    return await run_tests(*(f"tests/attacks/{name}.py" for name in files), ATTACKS=attacks, SEED=str(seed))


async def a13(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Secrets and a person's data through a whole deployment, and then looked for everywhere."""
    return await run_tests("tests/attacks/test_canaries.py", ATTACKS="long")


async def a11(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Every operation, with every kind of key, without its scope and with every id of another project."""
    return await run_tests("tests/attacks/test_foreign_ids.py")


async def a30(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """Requests made from the API's document by schemathesis: every phase, keys of three kinds."""
    attacks = "long" if sizes.name in {"default", "full"} else "short"
    return await run_tests("tests/e2e/local/test_document.py", ATTACKS=attacks, SEED=str(seed))


async def a20(directory: Path, sizes: Sizes, seed: int) -> Verdict:
    """The same checkout many times at once, the process killed at each step: one session, one answer."""
    calls = {"full": "200", "default": "200"}.get(sizes.name, "40")
    return await run_tests("tests/e2e/test_killed_checkout.py", CHAOS_CHECKOUTS=calls)


async def run_tests(*words: str, **environ: str) -> Verdict:
    """One pytest; its own summary is the note."""
    tests = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-n", "0", "--timeout", "3600", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environ},
        cwd=ROOT,
    )
    said, _ = await tests.communicate()
    text = said.decode(errors="replace")
    verdict = Verdict()
    summary = re.findall(r"^\d+ (?:passed|failed).*$", text, flags=re.MULTILINE)
    verdict.notes["tests"] = summary[-1] if summary else text[-300:]
    verdict.check("every test passes", tests.returncode == 0, text[-600:])
    return verdict
