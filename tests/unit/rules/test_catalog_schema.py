"""The JSON Schema for editors says what the parser says."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # comes with check-jsonschema

from domain.rules.catalog import CatalogInvalid, read_catalog_file
from domain.rules.catalog.schema import catalog_schema
from tests.unit.rules.builders import CATALOG_TOML

ROOT = Path(__file__).parents[3]
#: So far from every key that the parser lists all it knows instead of the nearest one.
UNKNOWN = "q" * 30

#: Where each table of the format stands in the schema, and the lines that begin one in a file.
PROJECT = ("projects", "*")
SCENARIO = (*PROJECT, "scenarios", "[]")
GIVEN = (*SCENARIO, "given", "[]")
TABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "project": (PROJECT, "[projects.other]"),
    "policy": ((*PROJECT, "policy"), "[projects.other.policy]"),
    "checkout": ((*PROJECT, "checkout"), "[projects.other.checkout]"),
    "portal": ((*PROJECT, "portal"), "[projects.other.portal]"),
    "app": ((*PROJECT, "apps", "*"), "[projects.other.apps.one]"),
    "feature": ((*PROJECT, "features", "*"), "[projects.other.features.one]"),
    "plan": ((*PROJECT, "plans", "*"), "[projects.other.plans.one]"),
    "price": ((*PROJECT, "plans", "*", "prices", "*"), "[projects.other.plans.one.prices.month]"),
    "scenario": (SCENARIO, "[[projects.other.scenarios]]"),
    "subscription": ((*GIVEN, "subscription"), "[[projects.acme.scenarios.given]]\nsubscription = 'pro'"),
    "purchase": ((*GIVEN, "purchase"), "[[projects.acme.scenarios.given]]\npurchase = 'founder'"),
    "refund": (
        (*GIVEN, "purchase", "refunds", "[]"),
        "[[projects.acme.scenarios.given]]\npurchase = 'founder'\n[[projects.acme.scenarios.given.refunds]]",
    ),
    "grant": (
        (*GIVEN, "grant"),
        "[[projects.acme.scenarios.given]]\ngrant = 'allow'\nfeature = 'sso'",
    ),
    "expect": (
        (*PROJECT, "scenarios", "[]", "expect", "*", "-1"),
        "[projects.acme.scenarios.expect.sso]",
    ),
}


def descend(path: tuple[str, ...]) -> dict[str, Any]:
    """The schema of a table: `*` is any key, `[]` a row; a source's kind, or a number, picks one."""
    schema = catalog_schema()
    for step in path:
        if step == "*":
            schema = schema["additionalProperties"]
        elif step == "[]":
            schema = schema["items"]
        elif "anyOf" in schema:
            options = schema["anyOf"]
            by_kind = [one for one in options if step in one.get("properties", {})]
            schema = by_kind[0] if by_kind else options[int(step)]
        else:
            schema = schema["properties"][step]
    return schema


def known_keys(lines: str) -> set[str]:
    """What the parser lists as known in a table into which an unknown key is put."""
    scenario = "[[projects.acme.scenarios]]\nname = 'x'\n" if "projects.acme" in lines else ""
    with pytest.raises(CatalogInvalid) as raised:
        read_catalog_file(f"{CATALOG_TOML}\n{scenario}{lines}\n{UNKNOWN} = 1\n", file="f")
    (detail,) = [error["detail"] for error in raised.value.errors if error["key"] == UNKNOWN]
    listed = re.search(r"known: (.*)", detail)
    assert listed is not None, detail
    return set(listed[1].split(", "))


@pytest.mark.parametrize("table", TABLES)
def test_the_schema_knows_exactly_the_keys_that_the_parser_knows(table: str) -> None:
    path, lines = TABLES[table]
    # Of a source the parser has looked for the other kinds before it knew which one it is.
    others = {"subscription", "purchase", "grant"} - {table} if path[:-1] == GIVEN else set()
    assert set(descend(path)["properties"]) == known_keys(lines) - others


def test_the_schema_in_the_documentation_is_the_current_one() -> None:
    written = json.loads((ROOT / "docs" / "catalog.schema.json").read_text())
    assert written == catalog_schema(), "run: tollhouse catalog schema > docs/catalog.schema.json"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(catalog_schema())


@pytest.mark.parametrize("text", [CATALOG_TOML, (ROOT / "deploy" / "local" / "catalog.toml").read_text()])
def test_what_the_parser_takes_the_schema_takes(text: str) -> None:
    assert list(Draft202012Validator(catalog_schema()).iter_errors(plain(text))) == []


@pytest.mark.parametrize(
    "lines",
    [
        "[projects.acme.apps.editr]\nnam = 'x'",
        "[projects.acme.features.Export]\ntype = 'boolean'",
        "[projects.acme.features.one]\ntype = 'bool'",
        "[projects.acme.features.one]",
        "[projects.acme.plans.one]\nrank = -1",
        "[projects.acme.plans.one.prices.month]\namounts = { dollar = 3 }",
        "[projects.acme.plans.one.prices.once]\nduration = 'P0D'\namounts = { usd = 3 }",
        "[[projects.acme.scenarios]]\nname = 'x'",
        "[[projects.acme.scenarios]]\nname = 'x'\nexpect = { sso = { reason = 'no' } }",
        "[[projects.acme.scenarios]]\nname = 'x'\nexpect = { sso = true }\ngiven = [{ status = 'active' }]",
    ],
)
def test_what_an_editor_can_know_is_refused_by_both(lines: str) -> None:
    text = f"{CATALOG_TOML}\n{lines}\n"
    assert list(Draft202012Validator(catalog_schema()).iter_errors(plain(text)))
    with pytest.raises(CatalogInvalid):
        read_catalog_file(text, file="f")


def plain(text: str) -> Any:
    """A TOML document as an editor's validator sees it: times are texts."""
    return json.loads(json.dumps(tomllib.loads(text), default=str))
