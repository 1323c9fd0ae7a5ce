"""The API's document and its two readers: `/openapi.json`, Swagger UI at `/docs`, ReDoc at `/redoc`.

Everything comes from this process and the pages may load nothing else, so they work without the internet.
`TOLLHOUSE_DOCS=off` hides them.
"""

import gzip
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ingress.lifespan import Running
from ingress.openapi import encode_document
from ingress.operation import Operation

ASSETS = Path(__file__).with_name("assets")

#: File → media type; those of other projects are kept packed (assets/LICENSES.txt).
MEDIA = MappingProxyType(
    {
        "swagger-ui-bundle.js": "text/javascript",
        "swagger-ui.css": "text/css",
        "redoc.standalone.js": "text/javascript",
        "docs.js": "text/javascript",
        "redoc.js": "text/javascript",
    }
)

#: Scripts are ours and never inline; both readers write styles into the page, ReDoc searches in a worker.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = MappingProxyType(
    {
        "content-security-policy": CSP,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tollhouse API</title>
{style}</head>
<body>
<div id="page"></div>
<script src="/docs/{reader}"></script>
<script src="/docs/{start}"></script>
</body>
</html>
"""
SWAGGER = PAGE.format(
    style='<link rel="stylesheet" href="/docs/swagger-ui.css">\n',
    reader="swagger-ui-bundle.js",
    start="docs.js",
)
REDOC = PAGE.format(style="", reader="redoc.standalone.js", start="redoc.js")

Handler = Callable[[Request], Awaitable[Response]]


def routes_of(operations: Sequence[Operation]) -> list[Route]:
    """The pages that show these operations."""
    document: list[bytes] = []

    async def send_document(_request: Request) -> Response:
        # Written when it is first asked for: most processes never are.
        if not document:
            document.append(encode_document(operations))
        return Response(document[0], headers=dict(HEADERS), media_type="application/json")

    return [
        Route("/openapi.json", _unless_hidden(send_document), name="openapi"),
        Route("/docs", _unless_hidden(_send_page(SWAGGER)), name="docs"),
        Route("/redoc", _unless_hidden(_send_page(REDOC)), name="redoc"),
        Route("/docs/{file}", _unless_hidden(send_asset), name="asset"),
    ]


async def send_asset(request: Request) -> Response:
    """A script or style of the readers, packed where the caller takes that."""
    file = request.path_params["file"]
    if file not in MEDIA:
        raise HTTPException(404)
    packed = ASSETS / f"{file}.gz"
    if not packed.exists():
        return _asset(file, (ASSETS / file).read_bytes(), {})
    if "gzip" in request.headers.get("accept-encoding", ""):
        return _asset(file, packed.read_bytes(), {"content-encoding": "gzip"})
    return _asset(file, gzip.decompress(packed.read_bytes()), {})


def _asset(file: str, content: bytes, headers: dict[str, str]) -> Response:
    return Response(
        content, headers={**HEADERS, **headers, "vary": "Accept-Encoding"}, media_type=MEDIA[file]
    )


def _send_page(page: str) -> Handler:
    async def send(_request: Request) -> Response:
        return Response(page, headers=dict(HEADERS), media_type="text/html")

    return send


def _unless_hidden(handler: Handler) -> Handler:
    async def send(request: Request) -> Response:
        if not Running.of(request.scope).context.settings.docs:
            raise HTTPException(404)
        return await handler(request)

    return send
