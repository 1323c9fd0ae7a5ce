"""What the repository promises about itself: its tree, its locks, its settings, its processes, its links."""

import ast
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from msgspec.structs import fields
from ruamel.yaml import YAML

from deploy.local.deployment import WORKER_FORK_MS, WORKER_SHUTDOWN_MS, WORKER_THREADS
from deploy.local.environment import WORKER_TIMEOUT_MS
from domain.rules.events import USED
from domain.settings import REQUIRED, Process, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-runtime.lock", "requirements-uv.lock")

#: The whole top level: whatever else wants to live here has a room further down.
TOP_LEVEL = {
    *("ingress", "workers", "domain", "migrations", "tests", "deploy", "docs"),
    *("pyproject.toml", "Makefile", "Procfile", "docker-compose.yml", *LOCKS),
    *("README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *(".ci", ".dockerignore", ".editorconfig", ".env.example", ".gitignore"),
}


def test_the_top_level_is_fixed() -> None:
    # The option lets git read a clone that belongs to somebody else, such as a mounted one.
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {path.partition("/")[0] for path in listed.stdout.split("\0") if path} == TOP_LEVEL


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_host_and_hashes_every_file(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"://|index-url|find-links|trusted-host| @ |\bfile:", text) == []
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert [entry for entry in entries if not re.match(r"[a-z0-9-]+==\S+", entry)] == []


def test_production_installs_the_tested_versions_and_no_tool_of_development() -> None:
    tested, shipped = _pinned("requirements.lock"), _pinned("requirements-runtime.lock")
    assert {name: tested.get(name) for name in shipped} == shipped
    assert shipped.keys() >= _required(_project()["project"]["dependencies"])
    only_here = (
        _project()["dependency-groups"]["dev"] + _project()["project"]["optional-dependencies"]["embedded"]
    )
    assert not shipped.keys() & _required(only_here)


def test_the_lock_holds_everything_the_project_asks_for() -> None:
    project = _project()
    asked = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["embedded"]
    asked += project["dependency-groups"]["dev"] + project["dependency-groups"]["build"]
    assert _pinned("requirements.lock").keys() >= _required(asked)


def test_the_example_environment_names_every_setting_and_nothing_else() -> None:
    assert set(_example()) == {f"TOLLHOUSE_{field.name.upper()}" for field in fields(Settings)}


def test_the_example_environment_shows_the_defaults() -> None:
    shown = {name: value for name, value in _example().items() if _has_default(name)}
    assert len(shown) > len(fields(Settings)) // 2
    read = load_settings("migrate", {"TOLLHOUSE_DATABASE_URL": "postgresql://db/tollhouse", **shown})
    default = Settings()
    for name in shown:
        field = name.removeprefix("TOLLHOUSE_").lower()
        assert getattr(read, field) == getattr(default, field), name


def test_the_procfile_starts_what_the_local_deployment_starts() -> None:
    commands = _procfile()
    assert set(commands) == {"release", "webhook", "read", "api", "worker", "scheduler"}
    for door in ("webhook", "read", "api"):
        assert shlex.split(commands[door])[:4] == ["python", "-m", "ingress.serve", door]
    threads, shutdown = f"--threads {WORKER_THREADS}", f"--worker-shutdown-timeout {WORKER_SHUTDOWN_MS}"
    boot = f"--worker-fork-timeout {WORKER_FORK_MS}"
    assert commands["worker"].startswith(f"env dramatiq_worker_timeout={WORKER_TIMEOUT_MS} dramatiq workers.")
    assert threads in commands["worker"]
    assert f"{shutdown} {boot}" in commands["worker"]


def test_compose_runs_the_commands_of_the_procfile() -> None:
    services = _compose()["services"]
    for name, command in _procfile().items():
        service = services["migrate" if name == "release" else name]
        wanted = [word for word in shlex.split(command) if "PORT" not in word]
        given = [word for word in service["command"] if word != "8000"]
        if name == "worker":
            assert service["environment"]["dramatiq_worker_timeout"] == str(WORKER_TIMEOUT_MS)
            wanted = wanted[2:]
        assert given == wanted, name


@pytest.mark.parametrize("process", ["webhook", "read", "api", "worker", "scheduler", "migrate"])
def test_compose_gives_each_process_the_settings_it_needs(process: Process) -> None:
    assert process in get_args(Process)
    given = _settings_given(_compose()["services"][process])
    assert given >= {f"TOLLHOUSE_{name.upper()}" for name in REQUIRED[process]}


@pytest.mark.parametrize("process", ["webhook", "read", "migrate"])
def test_compose_gives_no_stripe_key_to_a_process_that_only_listens(process: str) -> None:
    service = _compose()["services"][process]
    assert "TOLLHOUSE_STRIPE_SECRET_KEY" not in _settings_given(service)
    assert "stripe_secret_key" not in service.get("secrets", [])


def test_compose_has_no_default_for_a_secret() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    with_default = re.findall(r"\$\{(\w+):?-[^}]*\}", text)
    assert set(with_default) == {"TOLLHOUSE_LOG_LEVEL"}
    assert re.findall(r"\$\{(POSTGRES_PASSWORD|TOLLHOUSE_ENV)\}", text) == []


def test_compose_starts_services_after_the_migration_and_asks_doors_whether_they_are_ready() -> None:
    services = _compose()["services"]
    for name in ("webhook", "read", "api", "worker", "scheduler"):
        condition = services[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully", name
    for door in ("webhook", "read", "api"):
        assert "/ready" in services[door]["healthcheck"]["test"][-1]


def test_there_is_one_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def test_make_prints_its_verbs_and_each_one_is_there() -> None:
    printed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    verbs = re.findall(r"^  make (\w+)", printed.stdout, flags=re.MULTILINE)
    first = ["demo", "up", "down", "test", "check", "lint", "typecheck", "build", "lock"]
    assert verbs == [*first, "prove", "chaos", "bench"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(verbs) <= set(targets)


@pytest.mark.parametrize("script", [".ci/run", "deploy/venv.sh", "deploy/lock.sh"])
def test_a_script_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_every_link_in_the_documents_leads_somewhere() -> None:
    broken = []
    for document in _documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            found = (document.parent / path) if path else document
            if not found.exists() or (anchor and anchor not in _anchors(found)):
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_test_the_documents_name_exists() -> None:
    named = {
        name for document in _documents() for name in re.findall(r"\b(test_\w{12,})\b", document.read_text())
    }
    existing = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in [path.stem, *re.findall(r"def (test_\w+)", path.read_text())]
    }
    assert named
    assert named - existing == set()


def test_the_documented_event_types_are_those_of_the_table() -> None:
    documented = (ROOT / "docs/event-path.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([a-z_.]+) \| (.+) \|$", documented, flags=re.MULTILINE)
    assert rows == [(name, use.object_kind, use.why) for name, use in USED.items()]


def test_every_log_event_is_explained_to_operators() -> None:
    explained = (ROOT / "docs/operations.md").read_text()
    said = {
        name
        for room in ("domain", "ingress", "workers")
        for path in (ROOT / room).rglob("*.py")
        for name in _log_events(ast.parse(path.read_text()))
    }
    assert len(said) > 30
    assert {name for name in said if f"`{name}`" not in explained} == set()


def _log_events(tree: ast.AST) -> Iterator[str]:
    """The names of log lines: `log.info("name", …)`, `log.log(level, "name" if … else "other", …)`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if not isinstance(node.func.value, ast.Name) or node.func.value.id != "log":
            continue
        name = node.args[1] if node.func.attr == "log" else node.args[0]
        for part in (name.body, name.orelse) if isinstance(name, ast.IfExp) else (name,):
            assert isinstance(part, ast.Constant), f"line {node.lineno}: a log event's name is a constant"
            yield str(part.value)


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _pinned(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / lock).read_text(), flags=re.MULTILINE))


def _required(requirements: list[str]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9-]+", requirement) for requirement in requirements)
    return {name[0].lower() for name in names if name}


def _example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line.startswith("TOLLHOUSE_"))
    return {name: value for name, _, value in pairs}


def _has_default(name: str) -> bool:
    return bool(getattr(Settings(), name.removeprefix("TOLLHOUSE_").lower()))


def _procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines)}


def _compose() -> Any:
    return YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())


def _settings_given(service: Any) -> set[str]:
    return {name.removesuffix("_FILE") for name in service["environment"]}


def _documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _anchors(document: Path) -> set[str]:
    """The anchors that a hosting platform makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
