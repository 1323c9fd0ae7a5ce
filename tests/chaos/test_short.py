"""F-01 and F-04 at their smallest: real processes, real kills. `make chaos` runs all, and more of each."""

from pathlib import Path

import pytest

from tests.chaos.registry import FAULTS
from tests.chaos.sizes import SIZES


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["F-01", "F-04"])
async def test_nothing_acknowledged_is_lost_and_nobody_is_answered_wrong(
    name: str, alone: None, tmp_path: Path
) -> None:
    verdict = await FAULTS[name].run(tmp_path / "state", SIZES["ci"], 1)
    assert verdict.failed == {}, verdict
