"""Every fault of the suite by its id."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import faults_crippled as crippled
from tests.chaos.checks import Verdict
from tests.chaos.faults_away import f06, f07, f11, f12
from tests.chaos.faults_clock import f22
from tests.chaos.faults_door import f04
from tests.chaos.faults_drift import f18, f18_unlisted, f21
from tests.chaos.faults_of_tests import a01, a11, a13, a20, a30, f14, f23
from tests.chaos.faults_process import f15_dies, f15_raises, f16
from tests.chaos.faults_random import f01, f02
from tests.chaos.faults_replay import f19
from tests.chaos.faults_strangers import f26
from tests.chaos.faults_world import f24, f25, f27
from tests.chaos.sizes import Sizes

Run = Callable[[Path, Sizes, int], Coroutine[Any, Any, Verdict]]


@dataclass(frozen=True)
class Registered:
    run: Run
    #: The check that a crippled build has to fail; "": all must hold.
    must_fail: str = ""

    def is_right(self, verdict: Verdict) -> bool:
        return self.must_fail in verdict.failed if self.must_fail else not verdict.failed


FAULTS: dict[str, Registered] = {
    "A-01": Registered(a01),
    "A-13": Registered(a13),
    "F-01": Registered(f01),
    "F-02": Registered(f02),
    "F-03-control-bells": Registered(crippled.whole),
    "F-03-no-sweeper": Registered(crippled.without_sweeper, must_fail="nothing owed"),
    "F-03-queue-retries": Registered(crippled.with_queue_retries, must_fail="nothing owed"),
    "F-03-control-fence": Registered(crippled.with_fence),
    "F-03-no-fence": Registered(crippled.without_fence, must_fail="every answer is the oracle's"),
    "F-03-no-dedup": Registered(crippled.without_dedup, must_fail="each event is stored once"),
    "F-04": Registered(f04),
    "F-06": Registered(f06),
    "F-07": Registered(f07),
    "F-11": Registered(f11),
    "F-12": Registered(f12),
    "F-14": Registered(f14),
    "F-15-raises": Registered(f15_raises),
    "F-15-dies": Registered(f15_dies),
    "F-16": Registered(f16),
    "F-18": Registered(f18),
    "F-18-unlisted": Registered(f18_unlisted),
    "F-19": Registered(f19),
    "F-21": Registered(f21),
    "F-22": Registered(f22),
    "F-23": Registered(f23),
    "F-24": Registered(f24),
    "F-25": Registered(f25),
    "F-26": Registered(f26),
    "F-27": Registered(f27),
    "A-11": Registered(a11),
    "A-20": Registered(a20),
    "A-30": Registered(a30),
}
