"""A pytest plugin for `make test`: which lines and branches ran, over all workers; under 90 % is a failure.

Loaded by `PYTEST_PLUGINS`, so that it is there before anything imports the project's modules: SlipCover puts
probes into their bytecode then (docs/decisions/0006).
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import slipcover

SOURCE = ["ingress", "workers", "domain"]
#: Lines of no consequence: for the type checker alone, or a body that says that there is none.
EXCLUDED = [r"if TYPE_CHECKING:", r"assert_never\(", r"@overload", r"\.\.\.$"]
FAIL_UNDER = 90
REPORT = Path("artifacts/coverage.xml")

_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
#: Probes stay in: taking those out that were reached stops everything for a tenth of a second at a time, and
#: nothing is won by it (16.9 s with them, 17.5 s without, of 44 tests).
NEVER = 1_000_000_000
_cover = slipcover.Slipcover(branch=True, source=SOURCE, exclude_also=EXCLUDED, d_miss_threshold=NEVER)
_imports = slipcover.ImportManager(_cover, slipcover.FileMatcher(sources=SOURCE))
_imports.__enter__()
_of_workers: list[dict[str, Any]] = []
_merged = pytest.StashKey[dict[str, Any]]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker of xdist has seen; one that died has said nothing."""
    if (text := getattr(node, "workeroutput", {}).get("coverage")) is not None:
        _of_workers.append(json.loads(text))


def pytest_sessionfinish(session: pytest.Session) -> None:
    seen = _cover.get_coverage()
    if _IS_WORKER:
        session.config.workeroutput["coverage"] = json.dumps(seen)  # type: ignore[attr-defined]
        return
    for other in _of_workers:
        slipcover.merge_coverage(seen, other)
    session.config.stash[_merged] = seen
    if session.exitstatus == pytest.ExitCode.OK and seen["summary"]["percent_covered"] < FAIL_UNDER:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    merged = config.stash[_merged]
    with REPORT.open("w", encoding="utf-8") as file:
        slipcover.print_xml(merged, source_paths=[str(config.rootpath)], with_branches=True, outfile=file)
    low = {name: of for name, of in merged["files"].items() if of["summary"]["percent_covered"] < FAIL_UNDER}
    table = io.StringIO()
    slipcover.print_coverage({**merged, "files": low}, outfile=table, missing_width=40)
    terminalreporter.section(f"files with less than {FAIL_UNDER} %; {REPORT} has them all")
    terminalreporter.write_line(table.getvalue())
    percent = merged["summary"]["percent_covered"]
    verdict = "reached" if percent >= FAIL_UNDER else "MISSED: test what the table shows as missing"
    terminalreporter.write_line(f"Lines and branches covered: {percent:.2f} %, {FAIL_UNDER} % {verdict}.")
