"""A process whose clock is wrong by CHAOS_SKEW_S seconds: imported by Python itself before anything else.

Only `time.time` is: it is all of the wall clock that a worker reads. Leases, back-off and answers go by the
clock of Postgres, which is what F-02 shows.
"""

import os
import time

_now = time.time
_skew_s = float(os.environ.get("CHAOS_SKEW_S", "0"))


def _skewed() -> float:
    return _now() + _skew_s


time.time = _skewed
