"""Running a scenario: what `compute` answers to its sources, beside what it expects."""

from collections.abc import Iterator

from msgspec import UNSET, Struct

from domain.model import Entitlement, SourceRef
from domain.rules.catalog import Catalog, Expected, Scenario
from domain.rules.entitlements import compute


class Difference(Struct, frozen=True, kw_only=True):
    """One part of one answer that is not as expected; values are as the file would write them."""

    part: str
    expected: object
    got: object


class WrongAnswer(Struct, frozen=True, kw_only=True):
    """A feature that an app got another answer for than expected; the rest says where that came from."""

    app: str
    feature: str
    differences: tuple[Difference, ...]
    reason: str
    sources: tuple[SourceRef, ...]


class ScenarioResult(Struct, frozen=True, kw_only=True):
    project: str
    name: str
    #: Where it stands in the file.
    table: str
    #: Empty: as expected.
    wrong: tuple[WrongAnswer, ...]

    @property
    def is_met(self) -> bool:
        return not self.wrong


def run_scenario(scenario: Scenario, catalog: Catalog) -> ScenarioResult:
    """Ask for every expected feature in every app that asks and sees it."""
    return ScenarioResult(
        project=catalog.project,
        name=scenario.name,
        table=scenario.table,
        wrong=tuple(wrong for app in scenario.apps for wrong in _wrong_answers(scenario, catalog, app)),
    )


def _wrong_answers(scenario: Scenario, catalog: Catalog, app: str) -> Iterator[WrongAnswer]:
    answers = compute(scenario.facts, catalog, app, scenario.at)
    for feature, expected in scenario.expect.items():
        answer = answers.get(feature)
        if answer is None:
            continue
        if differences := tuple(_differences(expected, answer)):
            yield WrongAnswer(
                app=app,
                feature=feature,
                differences=differences,
                reason=answer.reason,
                sources=answer.sources,
            )


def _differences(expected: Expected, answer: Entitlement) -> Iterator[Difference]:
    if expected.granted is not UNSET and expected.granted != answer.granted:
        yield Difference(part="granted", expected=expected.granted, got=answer.granted)
    if expected.value is not UNSET and _written(expected.value) != _value_of(answer):
        yield Difference(part="value", expected=_written(expected.value), got=_value_of(answer))
    if expected.reason is not UNSET and expected.reason != answer.reason:
        yield Difference(part="reason", expected=expected.reason, got=answer.reason)
    if expected.ends_at is not UNSET and expected.ends_at != answer.ends_at:
        yield Difference(part="ends_at", expected=expected.ends_at or "never", got=answer.ends_at or "never")


def _value_of(answer: Entitlement) -> object:
    """As the file writes it; an enum that is not granted has no value to write, so it is false."""
    if answer.value is None and answer.unlimited is not True:
        return False
    return _written(answer.value)


def _written(value: object) -> object:
    if value is None:
        return "unlimited"
    return sorted(value) if isinstance(value, list) else value
