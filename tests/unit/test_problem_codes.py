"""Every code that the source can raise is in the table, with the status it comes with; and none other is."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from domain import errors
from domain.errors import TollhouseError
from domain.rules.portal import FlowReason
from ingress.problem_codes import CODES
from ingress.write_documents import COMMAND, GUIDE, with_codes

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("domain", "ingress", "workers")
#: Codes that stand nowhere as such: `wrong_{noun}`, and why a portal does not open.
COMPOSED = {"wrong_project", "wrong_app", *get_args(FlowReason)}


def test_every_code_of_the_source_is_explained_and_every_explained_code_is_in_the_source() -> None:
    raised = {code for code, _ in _codes()} | COMPOSED
    assert len(raised) > 40
    assert raised - CODES.keys() == set(), "explain them in ingress/problem_codes.py"
    assert CODES.keys() - raised == set(), "nothing raises them any more"


def test_a_code_has_the_status_of_the_error_that_raises_it() -> None:
    wrong = {
        (code, CODES[code].status, status)
        for code, status in _codes()
        if status is not None and CODES[code].status not in {status, None}
    }
    assert wrong == set()


def test_the_guide_shows_the_table_of_codes() -> None:
    guide = GUIDE.read_text()
    assert "<!-- codes -->" in guide
    assert with_codes(guide) == guide, f"{GUIDE} is behind: run {COMMAND}"


def _codes() -> Iterator[tuple[str, int | None]]:
    """(code, status); None: it stands where its error cannot be told."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            if path.name != "problem_codes.py":
                for node in ast.walk(ast.parse(path.read_text())):
                    yield from _codes_of(node)


def _codes_of(node: ast.AST) -> Iterator[tuple[str, int | None]]:
    match node:
        case ast.Call(func=function, keywords=keywords):
            name = function.id if isinstance(function, ast.Name) else ""
            for keyword in keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value), _status(name)
        case ast.ClassDef(body=body, bases=bases):
            for line in body:
                yield from _code_of_class(line, bases)
        case ast.Tuple(elts=[ast.Constant(value=str() as code), ast.Constant(value=str())]) if (
            "_" in code and code in CODES
        ):
            # What Starlette refuses by itself: a table of (code, detail).
            yield code, None


def _code_of_class(line: ast.stmt, bases: list[ast.expr]) -> Iterator[tuple[str, int | None]]:
    match line:
        case (
            ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str() as code))
            | ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str() as code))
        ) if bases:
            yield code, None


def _status(name: str) -> int | None:
    found = getattr(errors, name, None)
    is_ours = isinstance(found, type) and issubclass(found, TollhouseError)
    return found.status if is_ours and found is not None else None
