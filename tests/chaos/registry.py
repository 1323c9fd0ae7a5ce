"""Every fault of the suite by its id."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import faults_crippled as crippled
from tests.chaos.checks import Verdict
from tests.chaos.faults_door import f04
from tests.chaos.faults_of_tests import f23
from tests.chaos.faults_random import f01
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
    "F-01": Registered(f01),
    "F-03-control-bells": Registered(crippled.whole),
    "F-03-no-sweeper": Registered(crippled.without_sweeper, must_fail="nothing owed"),
    "F-03-queue-retries": Registered(crippled.with_queue_retries, must_fail="nothing owed"),
    "F-03-control-fence": Registered(crippled.with_fence),
    "F-03-no-fence": Registered(crippled.without_fence, must_fail="every answer is the oracle's"),
    "F-03-no-dedup": Registered(crippled.without_dedup, must_fail="each event is stored once"),
    "F-04": Registered(f04),
    "F-23": Registered(f23),
}
