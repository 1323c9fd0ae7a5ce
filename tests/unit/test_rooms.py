"""Who may import whom (docs/architecture.md, "Rooms"). A failure says which line, why not, what instead."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]
COVERED = ("ingress", "workers", "domain", "migrations")
OURS = (*COVERED, "tests", "deploy", "docs")

FOUNDATION = (
    *("domain.model", "domain.money", "domain.jobs", "domain.errors"),
    *("domain.settings", "domain.telemetry", "domain.faults", "domain.metrics"),
)
OUTSIDE = "use domain.flows, domain.context and the foundation (model, errors, settings, telemetry, …) only"


class Room(Struct, frozen=True):
    """A part of the tree; the longest name that fits a module is its room."""

    name: str
    may: tuple[str, ...]
    why: str
    instead: str


ROOMS = (
    Room(
        "ingress",
        ("ingress", "domain.flows", "domain.context", "workers.bell", *FOUNDATION),
        "a door that can query will decide",
        f"let a flow do the step and call that; {OUTSIDE}, and workers.bell",
    ),
    Room(
        "workers",
        ("workers", "domain.flows", "domain.context", *FOUNDATION),
        "an actor with a query is a flow in the wrong room",
        f"let a flow do the step and call that; {OUTSIDE}",
    ),
    Room(
        "domain.flows",
        ("domain",),
        "a flow must run from a test, a terminal, a door and an actor alike",
        "return what the caller needs (such as the targets that are owed) and let it ring or answer",
    ),
    Room(
        "domain.rules",
        ("domain.rules", "domain.model", "domain.money", "domain.jobs", "domain.errors"),
        "rules are pure: the same facts give the same answer, without a clock or a server",
        "take the value as a parameter; the flow reads it",
    ),
    Room(
        "domain.store",
        ("domain.store", *FOUNDATION),
        "a store function is one named statement and knows no other part",
        "combine the parts in a flow",
    ),
    Room("domain.cache", FOUNDATION, "each gateway knows only its own server", "combine the parts in a flow"),
    Room(
        "domain.stripe_gateway",
        FOUNDATION,
        "each gateway knows only its own server",
        "combine the parts in a flow",
    ),
    Room(
        "domain.context",
        ("domain.store", "domain.cache", "domain.stripe_gateway", *FOUNDATION),
        "the context puts parts together and does nothing with them",
        "do it in a flow, which gets the context",
    ),
    Room("domain.telemetry", ("domain.settings", "domain.errors"), "everybody stands on it", "keep it small"),
    Room(
        "domain.settings",
        ("domain.setting_values", "domain.addresses", "domain.errors", "domain.faults"),
        "everybody stands on it",
        "keep it small",
    ),
    Room(
        "domain.setting_values",
        ("domain.addresses", "domain.errors", "domain.faults"),
        "everybody stands on it",
        "keep it small",
    ),
    Room(
        "domain.metrics",
        ("domain.settings", "domain.errors", "domain.telemetry"),
        "everybody stands on it",
        "keep it small",
    ),
    Room("domain.addresses", (), "everybody stands on it", "keep it small"),
    Room("domain.faults", ("domain.errors",), "everybody stands on it", "keep it small"),
    Room("domain.jobs", (), "everybody stands on it", "keep it small"),
    Room("domain.money", ("domain.model",), "everybody stands on it", "keep it small"),
    Room("domain.model", (), "everybody stands on it", "keep it small"),
    Room("domain.errors", (), "everybody stands on it", "keep it small"),
    Room("migrations", ("domain.store", "domain.settings"), "a migration is SQL", "write the statement out"),
)

#: One library, one room: replaced, faked or upgraded in one place. A library without a line has no room yet.
HOMES: dict[str, tuple[str, ...]] = {
    "starlette": ("ingress",),
    "uvicorn": ("ingress",),
    "click": ("ingress.cli",),
    "rich": ("ingress.cli",),
    "dramatiq": ("workers",),
    "apscheduler": ("workers",),
    "redis": ("domain.cache", "workers.broker"),
    "stripe": ("domain.stripe_gateway",),
    # The SDK's transport: its errors reach the gateway where the SDK does not catch them.
    "aiohttp": ("domain.stripe_gateway",),
    "sqlalchemy": ("domain.store", "migrations"),
    "asyncpg": ("domain.store", "migrations"),
    "alembic": ("domain.store", "migrations"),
    "prometheus_client": ("domain.metrics",),
    "structlog": ("domain", "ingress", "workers"),
    "msgspec": COVERED,
}

#: Modules of the standard library that look at the world, or at the clock.
WORLDLY = frozenset(
    {
        "asyncio",
        "http",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "uuid",
    }
)


class Import(Struct, frozen=True):
    line: int
    #: Dotted; a name that is itself a module is part of it.
    module: str


def test_every_import_stays_within_its_room() -> None:
    found = [
        complaint
        for path in _files()
        for complaint in complaints(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("ingress/read.py", "from domain.store import inbox", "imports domain.store.inbox"),
        ("ingress/read.py", "import domain.cache", "a door that can query will decide"),
        ("ingress/read.py", "def f():\n    from domain import stripe_gateway", "ingress/read.py:2"),
        ("ingress/webhook.py", "from workers.actors import broker", "imports workers.actors"),
        ("ingress/read.py", "import importlib\nimportlib.import_module('domain.store.inbox')", "read.py:2"),
        ("workers/sync.py", "from ingress.read import app", "an actor with a query"),
        ("workers/sync.py", "from domain.store.inbox import mark", "let a flow do the step"),
        ("domain/flows/sync.py", "from workers.bell import Bell", "alike"),
        ("domain/rules/merge.py", "from domain.store.tables import users", "rules are pure"),
        ("domain/rules/merge.py", "from domain.flows.sync import Syncer", "the flow reads it"),
        ("domain/rules/merge.py", "import time", "rules are pure"),
        ("domain/rules/merge.py", "from pathlib import Path", "rules are pure"),
        ("domain/store/inbox.py", "from domain.cache import Cache", "one named statement"),
        ("domain/cache.py", "from domain.store.session import Database", "only its own server"),
        ("domain/context.py", "from domain.flows.sync import Syncer", "do it in a flow"),
        ("domain/model.py", "from domain.settings import Settings", "everybody stands on it"),
        ("domain/flows/sync.py", "from deploy.local.catalog import x", "nobody imports deploy"),
        ("ingress/api.py", "from tests.seeds import seed", "nobody imports tests"),
        ("domain/flows/sync.py", "import stripe", "stripe lives in domain.stripe_gateway"),
        ("ingress/read.py", "from redis.asyncio import Redis", "redis lives in domain.cache"),
        ("workers/bell.py", "from redis import Redis", "redis lives in domain.cache"),
        ("domain/flows/sync.py", "import asyncpg", "asyncpg lives in domain.store"),
        ("domain/flows/sync.py", "import dramatiq", "dramatiq lives in workers"),
        ("domain/flows/sync.py", "from starlette.requests import Request", "starlette lives in ingress"),
        ("workers/sync.py", "import numpy", "numpy has no room yet"),
        ("domain/flows/sync.py", "from . import commit", "absolute"),
        ("workers/sync.py", "import os\nprint(os.environ['HOME'])", "only domain/settings.py reads"),
        ("domain/flows/sync.py", "from os import getenv", "only domain/settings.py reads"),
        ("domain/flows/sync.py", "if TYPE_CHECKING:\n    from ingress.read import app", "sync.py:2"),
    ],
)
def test_an_import_over_a_wall_is_caught_and_the_message_teaches(path: str, source: str, said: str) -> None:
    found = complaints(path, source)
    assert len(found) == 1, found
    assert said in found[0]
    assert found[0].startswith(f"{path}:")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ingress/webhook.py", "from workers import bell"),
        ("ingress/read.py", "from domain.flows.lookup import Lookup\nfrom starlette.routing import Route"),
        ("workers/broker.py", "import dramatiq, redis"),
        ("domain/flows/sync.py", "from domain.store import inbox\nfrom domain.cache import Cache"),
        ("domain/rules/signature.py", "import hmac\nfrom datetime import datetime"),
        ("domain/store/inbox.py", "import asyncpg\nfrom domain.store.session import Connection"),
        ("domain/settings.py", "import os\nENV = os.environ"),
        ("migrations/versions/0001_first_schema.py", "import sqlalchemy as sa\nfrom alembic import op"),
    ],
)
def test_an_import_within_its_room_is_left_alone(path: str, source: str) -> None:
    assert complaints(path, source) == []


def test_every_module_has_a_room() -> None:
    homeless = [str(path.relative_to(ROOT)) for path in _files() if _room_of(_module_of(path)) is None]
    # An empty package file above the rooms holds nothing.
    assert homeless == ["domain/__init__.py"]
    assert (ROOT / "domain/__init__.py").read_text() == ""


@pytest.mark.parametrize("door", ["ingress.webhook", "ingress.read"])
def test_doors_that_hold_no_stripe_key_never_load_the_stripe_client(door: str) -> None:
    program = f"import sys, {door}; print(sorted({{'stripe', 'aiohttp', 'sqlalchemy'}} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = ast.literal_eval(answer.stdout)
    assert "stripe" not in loaded
    assert "aiohttp" not in loaded


def complaints(path: str, source: str) -> list[str]:
    """What is wrong with the imports of one file, one teaching sentence each."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    tree = ast.parse(source)
    said = [(found.line, _complaint(module, found.module)) for found in _imports(tree)]
    said += [(line, _ENVIRONMENT) for line in _reads_environment(tree) if module != "domain.settings"]
    return [f"{path}:{line} {text}" for line, text in said if text is not None]


_ENVIRONMENT = "reads the environment: only domain/settings.py reads it, so that one file knows every setting"


def _complaint(module: str, imported: str) -> str | None:
    if imported.startswith("."):
        return "imports relatively: write absolute imports, which say the wall they cross"
    top = imported.partition(".")[0]
    if top not in OURS:
        return _library_complaint(module, top)
    room = _room_of(module)
    if top not in COVERED:
        return f"imports {imported}: nobody imports {top}, because the service must run without it"
    if room is None or _is_within(imported, room.may):
        return None
    return f"imports {imported}: {room.name} may not, because {room.why}. Instead: {room.instead}."


def _library_complaint(module: str, library: str) -> str | None:
    room = _room_of(module)
    if library in sys.stdlib_module_names:
        if room is not None and room.name == "domain.rules" and library in WORLDLY:
            return f"imports {library}: {room.name} may not, because {room.why}. Instead: {room.instead}."
        return None
    homes = HOMES.get(library)
    if homes is None:
        return f"imports {library}: {library} has no room yet; give it one in HOMES, and say why in review"
    if _is_within(module, homes):
        return None
    return f"imports {library}: {library} lives in {' and '.join(homes)} only; call what is there instead"


def _imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield Import(node.lineno, "." * node.level + (node.module or ""))
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if _is_module(name)}
            whole = {node.module} if names - modules else set()
            yield from (Import(node.lineno, module) for module in sorted(modules | whole))
        elif isinstance(node, ast.Call) and _called(node) == "import_module":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(node.lineno, first.value)


def _reads_environment(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for alias in node.names if alias.name in {"environ", "getenv"})


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _is_within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def _room_of(module: str) -> Room | None:
    fitting = [room for room in ROOMS if _is_within(module, (room.name,))]
    return max(fitting, key=lambda room: len(room.name), default=None)


def _module_of(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix().removesuffix(".py").removesuffix("/__init__")
    return name.replace("/", ".")


def _files() -> list[Path]:
    return sorted(path for room in COVERED for path in (ROOT / room).rglob("*.py"))
