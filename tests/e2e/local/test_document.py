"""The API's document against a whole deployment: its examples work as they stand, no request breaks it."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from deploy.local.demo_steps import pay_on_the_hosted_page
from deploy.local.state import Ready, Secrets
from domain.context import Context, open_context
from domain.flows.manage_keys import SCOPES, create_key
from domain.settings import Secret, Settings
from ingress.api import OPERATIONS
from ingress.openapi import path_of
from ingress.operation import Operation
from tests.e2e.local.test_embedded_deployment import running_up

IS_LONG = os.environ.get("ATTACKS") == "long"
#: Whose key asks, and what such a key must say besides. A project's key may ask everything; the app's comes
#: first, because the others revoke and rotate the keys of apps.
ROLES: dict[str, dict[str, str]] = {
    **({"app": {}} if IS_LONG else {}),
    "project": {"app": "editor"},
    **({"operator": {"app": "editor", "project": "acme"}} if IS_LONG else {}),
}
UNLIMITED = ("--setting", "write_rate=0", "--setting", "read_rate=0", "--setting", "failed_login_rate=0")


class Deployment(msgspec.Struct, frozen=True):
    url: str
    #: By role.
    keys: dict[str, str]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with a key for everything in acme, in which two of its customers have given up."""
    state = tmp_path_factory.mktemp("document") / "state"
    with running_up(state, *UNLIMITED) as (_, ready, _file):
        project_key = asyncio.run(_prepare(ready, state))
        keys = {"app": ready.app_keys["acme/editor"], "operator": ready.operator_key, "project": project_key}
        yield Deployment(ready.base_url, keys)


def test_every_example_of_the_document_works_as_it_stands(deployment: Deployment) -> None:
    """In the document's order; the customer pays as soon as there is a page to pay on."""
    kept: dict[str, str] = {}
    with httpx2.Client(base_url=deployment.url, timeout=30) as client:
        for said in OPERATIONS:
            answer = _send(client, deployment, said, kept)
            wanted = next(iter(said.answers))
            assert answer.status_code == wanted, (said.name, answer.text)
            body = answer.json()
            kept |= {name: _find(body, place) for name, place in said.example.keeps.items()}
            if said.name == "create_checkout_session":
                pay_on_the_hosted_page(body["url"], reading_s=0.0)
    assert kept.keys() >= {"checkout_id", "grant_id", "key_id", "dead_id"}


@pytest.mark.parametrize("role", ROLES)
def test_no_request_made_from_the_document_breaks_the_api(
    deployment: Deployment, role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A-30: every answer is one that the document says, and a request it forbids is refused."""
    _configure(tmp_path, ROLES[role])
    run = subprocess.run(
        _schemathesis(deployment, role), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-12_000:] + run.stderr[-2_000:]
    made = re.search(r"(\d+) generated", run.stdout)
    assert made is not None
    assert int(made[1]) > 2 * len(OPERATIONS)
    with capsys.disabled():
        print(f"\nA-30: {made[0]} for {len(OPERATIONS)} operations with a key of kind {role}, 0 failures")  # noqa: T201


def _send(
    client: httpx2.Client, deployment: Deployment, said: Operation, kept: Mapping[str, str]
) -> httpx2.Response:
    example = said.example
    path = path_of(said)
    for name, value in example.path.items():
        path = path.replace(f"{{{name}}}", _filled(value, kept))
    role = {"app": "app", "deployment": "operator"}.get(said.of or "", "project")
    headers = {} if said.scope is None else {"authorization": f"Bearer {deployment.keys[role]}"}
    body = {} if said.body is None else {"json": _filled(example.body, kept)}
    return client.request(said.method, path, params=dict(example.query), headers=headers, **body)


def _filled(value: Any, kept: Mapping[str, str]) -> Any:
    """`{name}` is what an earlier answer had, where it had that: a page's address has braces of its own."""
    if isinstance(value, str):
        return kept.get(value[1:-1], value) if re.fullmatch(r"\{\w+\}", value) else value
    if isinstance(value, dict):
        return {name: _filled(part, kept) for name, part in value.items()}
    return [_filled(part, kept) for part in value] if isinstance(value, list) else value


def _find(body: Any, place: str) -> str:
    for step in place.split("."):
        body = body[int(step)] if step.isdigit() else body[step]
    return str(body)


async def _prepare(ready: Ready, state: Path) -> str:
    """Let two customers give up; answers a key of the project with every scope."""
    secrets = msgspec.json.decode((state / "secrets.json").read_bytes(), type=Secrets)
    version, _, pepper = secrets.key_peppers.partition(":")
    settings = Settings(
        env="local",
        database_url=Secret(ready.database_url),
        redis_url=Secret(ready.redis_url),
        cache_url=Secret(ready.cache_url),
        key_peppers=((int(version), Secret(pepper)),),
    )
    async with open_context("cli", settings) as context:
        for number in (1, 2):
            await _let_give_up(context, f"u_dead_{number}", f"cus_dead_{number}")
        created = await create_key(context, kind="project", project="acme", name="all", scopes=SCOPES)
    return created.key


async def _let_give_up(context: Context, user_id: str, customer_id: str) -> None:
    async with context.database.transaction() as connection:
        await connection.execute(
            """
            WITH made AS (
                INSERT INTO users (project, user_id) VALUES ('acme', $1) RETURNING project, user_key
            )
            INSERT INTO stripe_customers (ref, project, user_key, stripe_customer_id, is_primary)
            SELECT gen_random_uuid(), project, user_key, $2, true FROM made
            """,
            user_id,
            customer_id,
        )
        await connection.execute(
            """
            INSERT INTO sync_targets (kind, stripe_id, dirty_seq, state, failures, last_error)
            VALUES ('customer', $1, 1, 'dead', 8, 'a shape')
            """,
            customer_id,
        )
        await connection.execute(
            """
            INSERT INTO webhook_events
                (event_id, source, type, object_kind, object_id, target_kind, target_ref, state)
            VALUES ('evt_' || $1, 'stripe', 'customer.updated', 'customer', $1, 'customer', $1, 'pending')
            """,
            customer_id,
        )


def _configure(directory: Path, parameters: Mapping[str, str]) -> None:
    """What schemathesis cannot know: whom the key asks about, and that 422 is an honest answer to a request
    whose shape is right, such as one that buys a plan nobody sells.
    """
    lines = [f'{name} = "{value}"' for name, value in parameters.items()]
    lines = ["[parameters]", *lines] if lines else []
    lines += ["[checks.positive_data_acceptance]", 'expected-statuses = ["2xx", "403", "404", "409", "422"]']
    (directory / "schemathesis.toml").write_text("\n".join(lines) + "\n")


def _schemathesis(deployment: Deployment, role: str) -> list[str]:
    """Every phase; a few requests of each kind in `make test`, many in `make chaos`."""
    phases = "examples,coverage,fuzzing,stateful" if IS_LONG else "examples,fuzzing,stateful"
    return [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{deployment.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {deployment.keys[role]}"),
        *("--phases", phases, "--max-examples", "20" if IS_LONG else "2"),
        *("--seed", os.environ.get("SEED", "1"), "--generation-database", "none", "--no-shrink"),
        *("--continue-on-failure", "--no-color", "--warnings", "off"),
    ]
