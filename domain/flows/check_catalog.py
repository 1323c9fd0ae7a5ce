"""`catalog check`: read a file and run its scenarios. Touches no server."""

from msgspec import Struct

from domain.rules.catalog import read_catalog_file
from domain.rules.catalog.schema import catalog_schema
from domain.rules.scenarios import ScenarioResult, run_scenario

__all__ = ["CheckedCatalog", "CheckedProject", "catalog_schema", "check_catalog"]


class CheckedProject(Struct, frozen=True, kw_only=True):
    project: str
    apps: int
    features: int
    plans: int
    scenarios: int


class CheckedCatalog(Struct, frozen=True, kw_only=True):
    projects: tuple[CheckedProject, ...]
    #: Scenarios that were not met.
    failed: tuple[ScenarioResult, ...]


def check_catalog(text: str, *, file: str) -> CheckedCatalog:
    """Everything the file says about itself; `file` is its name in errors.

    Raises:
        CatalogInvalid: naming file, table and key of everything that is wrong.
    """
    read = read_catalog_file(text, file=file)
    results = [
        run_scenario(scenario, read.catalogs[project])
        for project, scenarios in read.scenarios.items()
        for scenario in scenarios
    ]
    return CheckedCatalog(
        projects=tuple(
            CheckedProject(
                project=key,
                apps=len(catalog.apps),
                features=len(catalog.features),
                plans=len(catalog.plans),
                scenarios=len(read.scenarios[key]),
            )
            for key, catalog in read.catalogs.items()
        ),
        failed=tuple(result for result in results if not result.is_met),
    )
