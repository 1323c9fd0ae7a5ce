"""`python -m ingress.write_documents`: bring what is written from the source up to date.

docs/openapi.json is the API's document as the service serves it; docs/api.md has the table of codes.
"""

from pathlib import Path

from ingress.api import OPERATIONS
from ingress.openapi import encode_document
from ingress.problem_codes import list_codes

COMMAND = "python -m ingress.write_documents"
DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENT, GUIDE = DOCS / "openapi.json", DOCS / "api.md"


def write_documents() -> None:
    """Both files."""
    DOCUMENT.write_bytes(encode_document(OPERATIONS))
    GUIDE.write_text(with_codes(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")


def with_codes(guide: str) -> str:
    """The guide, with the present table of codes."""
    head, begin, rest = guide.partition("<!-- codes -->\n")
    _, end, tail = rest.partition("<!-- end of codes -->\n")
    return f"{head}{begin}{list_codes()}\n{end}{tail}"


if __name__ == "__main__":
    write_documents()
