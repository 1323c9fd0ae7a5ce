"""Who is let in, and how a refusal reads."""

from collections.abc import AsyncIterator

import pytest

from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import read
from ingress.lifespan import Running
from tests.ingress.doors import client_of, running_reader
from tests.seeds import seed_catalog

PATH = "/api/v1/entitlements?user_id=u_17"


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with running_reader(settings) as opened:
        await seed_catalog(opened.context)
        yield opened


@pytest.fixture
async def key(running: Running) -> str:
    return (await create_key(running.context, kind="app", project="acme", app="editor", name="x")).key


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer {key},{key}",
        "Bearer th_test_AAAAAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_000000",
        "Bearer é\x7f",
    ],
)
async def test_without_a_valid_key_nobody_is_let_in(running: Running, key: str, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.format(key=key).encode("latin-1")}
    async with client_of(read.app, running) as client:
        answer = await client.get(PATH, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert key not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(running: Running, key: str, scheme: str) -> None:
    async with client_of(read.app, running) as client:
        answer = await client.get(PATH, headers={"authorization": f"{scheme} {key}"})
    assert answer.status_code == 200


async def test_two_authorization_headers_are_refused(running: Running, key: str) -> None:
    async with client_of(read.app, running) as client:
        twice = [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")]
        assert (await client.get(PATH, headers=twice)).status_code == 401


async def test_a_key_without_the_scope_is_told_which_it_lacks(running: Running) -> None:
    created = await create_key(
        running.context, kind="app", project="acme", app="editor", name="x", scopes=["billing:read"]
    )
    async with client_of(read.app, running, created.key) as client:
        answer = await client.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert "entitlements:read" in answer.json()["detail"]


async def test_no_key_reaches_the_log(running: Running, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with client_of(read.app, running, key) as client:
        await client.get(PATH)
    printed = capsys.readouterr()
    assert "request" in printed.out + printed.err
    assert key.split("_")[3] not in printed.out + printed.err
    assert "u_17" not in printed.out + printed.err
