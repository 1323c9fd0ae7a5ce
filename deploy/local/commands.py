"""The service's own command line, called as an operator would: `tollhouse … --json`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deploy.local.environment import ROOT, Environment, fingerprint
from deploy.local.processes import ProcessFailed, die_with
from deploy.local.state import Keys, State, read_struct, write_private

#: Migrating an old, large database locally is the slowest thing anybody does here.
TIMEOUT_S = 120.0

#: The entry point of the installed `tollhouse` script, which may not be on PATH (nor installed) here.
ENTRY = "import sys; sys.argv[0] = 'tollhouse'; from ingress.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Command:
    """A call of the command line that has begun; it dies with us."""

    shown: str
    process: subprocess.Popen[str]


def begin(arguments: Sequence[str], environ: Mapping[str, str]) -> Command:
    """Start one command; `finish` waits for it."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENTRY, *arguments],
        env=dict(environ),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is ours to handle, after the command
        preexec_fn=die_with(os.getpid(), signal.SIGKILL),  # noqa: PLW1509 - calls only prctl and getppid
    )
    return Command(" ".join(["tollhouse", *arguments]), process)


def finish(command: Command) -> str:
    """Wait for the command; returns what it printed. Raises ProcessFailed when it failed or hangs."""
    try:
        printed, said = command.process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        command.process.kill()
        command.process.communicate()
        raise ProcessFailed(f"`{command.shown}` did not end within {TIMEOUT_S:.0f} s.") from error
    code = command.process.returncode
    if code != 0:
        shown = (said or printed).strip() or "(it wrote nothing)"
        raise ProcessFailed(f"`{command.shown}` ended with exit code {code}:\n{shown}")
    return printed


def tollhouse_json(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Run one command that answers with one JSON object. Raises ProcessFailed."""
    return _object_printed_by(begin([*arguments, "--json"], environ))


def apply_catalog(catalog: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Store the catalog; the answer names the projects with their apps, and what Stripe would hold."""
    return tollhouse_json(["catalog", "apply", "--local", str(catalog)], environ)


def create_missing_keys(state: State, environment: Environment, apps: Sequence[str]) -> Keys:
    """One key per app (`project/app`) and one operator key, kept across starts on the same database."""
    belongs_to = fingerprint(environment.servers.identity, environment.secrets.key_peppers)
    keys = read_struct(state.keys, Keys) if state.keys.exists() else Keys(belongs_to)
    if keys.belongs_to != belongs_to:
        keys = Keys(belongs_to)
    wanted: dict[str, list[str]] = {}
    if not keys.operator_key:
        wanted["operator"] = ["--operator"]
    for name in apps:
        if name not in keys.app_keys:
            project, _, app = name.partition("/")
            wanted[name] = ["--project", project, "--app", app]
    environ = environment.operator()
    # Each command is a process that mostly starts an interpreter: side by side they take half the time.
    begun = {name: begin(["keys", "create", *words, "--json"], environ) for name, words in wanted.items()}
    created = {name: _key_printed_by(command) for name, command in begun.items()}
    operator_key = created.pop("operator", keys.operator_key)
    keys = Keys(belongs_to, operator_key, {**keys.app_keys, **created})
    if wanted:
        write_private(state.keys, msgspec.json.format(msgspec.json.encode(keys)))
    # Keys of apps that have left the catalog stay in the file, for the day they come back.
    return Keys(belongs_to, operator_key, {name: keys.app_keys[name] for name in apps})


def apps_of(applied: Mapping[str, Any]) -> list[str]:
    """`project/app` for every app in the answer of `catalog apply`; ProcessFailed for another shape."""
    try:
        return [f"{project}/{app}" for project, found in applied["projects"].items() for app in found["apps"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ProcessFailed(f"`tollhouse catalog apply --json` lacks projects.*.apps: {applied!r}") from error


def _key_printed_by(command: Command) -> str:
    key = _object_printed_by(command).get("key")
    if not isinstance(key, str) or not key.startswith("th_"):
        raise ProcessFailed(f"`{command.shown}` answered without a key.")
    return key


def _object_printed_by(command: Command) -> dict[str, Any]:
    printed = finish(command)
    try:
        answer = json.loads(printed)
    except ValueError as error:
        raise ProcessFailed(f"`{command.shown}` did not print JSON: {printed[:500]!r}") from error
    if not isinstance(answer, dict):
        raise ProcessFailed(f"`{command.shown}` printed {answer!r}, expected an object.")
    return answer
