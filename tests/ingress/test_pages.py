"""/docs, /redoc and /openapi.json: there, from this process alone, or hidden."""

import gzip
import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from domain.settings import Settings
from ingress import api
from ingress.lifespan import Running, open_running
from ingress.pages import ASSETS, MEDIA
from ingress.write_documents import DOCUMENT
from tests.conftest import with_settings
from tests.ingress.doors import client_of

PATHS = ("/openapi.json", "/docs", "/redoc", "/docs/swagger-ui.css")


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    async with open_running("api", settings) as opened:
        yield opened


async def test_the_document_and_its_readers_come_without_a_key_and_from_here_alone(running: Running) -> None:
    async with client_of(api.app, running) as client:
        document = await client.get("/openapi.json")
        assert document.content == DOCUMENT.read_bytes()
        assert document.headers["content-type"] == "application/json"
        for path in ("/docs", "/redoc"):
            page = await client.get(path)
            assert page.headers["content-type"].startswith("text/html")
            assert "//" not in page.text
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self';" in policy
            assert re.findall(r"https?:|\*|unsafe-eval", policy) == []
            assert (await client.head(path)).status_code == 200
            for file in re.findall(r'(?:src|href)="([^"]+)"', page.text):
                assert await _is_whole(client, file), file


async def _is_whole(client: httpx2.AsyncClient, file: str) -> bool:
    """Packed for whom takes that, plain for others, of the right type; the same bytes."""
    packed = await client.get(file, headers={"accept-encoding": "gzip"})
    plain = await client.get(file, headers={"accept-encoding": "identity"})
    assert (packed.status_code, plain.status_code) == (200, 200)
    assert plain.headers["content-type"].startswith(MEDIA[file.rpartition("/")[2]])
    assert packed.headers["x-content-type-options"] == "nosniff"
    return packed.content == plain.content and len(plain.content) > 50


async def test_only_files_of_the_readers_are_served(running: Running) -> None:
    async with client_of(api.app, running) as client:
        for file in ("LICENSES.txt", "..%2fpages.py", "pages.py", "swagger-ui.css.gz"):
            assert (await client.get(f"/docs/{file}")).json()["code"] == "not_found"


async def test_docs_off_hides_all_of_them(settings: Settings) -> None:
    async with (
        open_running("api", with_settings(settings, docs=False)) as running,
        client_of(api.app, running) as client,
    ):
        for path in PATHS:
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


def test_what_is_shipped_of_others_carries_their_licences() -> None:
    licences = (ASSETS / "LICENSES.txt").read_text()
    for name in ("Swagger UI 5", "ReDoc 2", "Apache-2.0", "MIT License"):
        assert name in licences
    for file in MEDIA:
        packed = ASSETS / f"{file}.gz"
        text = gzip.decompress(packed.read_bytes()) if packed.exists() else (ASSETS / file).read_bytes()
        assert text
