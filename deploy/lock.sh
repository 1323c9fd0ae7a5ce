#!/usr/bin/env bash
# Writes the three lock files from pyproject.toml: for development, for production, and for uv itself.
#
# They carry the hash of every file and no host, so that they work with any mirror. Arguments go to uv, such as
# `--upgrade` or `--upgrade-package starlette`; without them, versions stay where they still fit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv="$(command -v uv || echo .venv/bin/uv)"
compile() {
    UV_SYSTEM_CERTS=1 "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@" >/dev/null
}

compile pyproject.toml --extra embedded --group dev --group build --output-file requirements.lock "$@"
# The same versions as were tested: production is a part of the development lock.
compile pyproject.toml --constraint requirements.lock --output-file requirements-runtime.lock
compile - --output-file requirements-uv.lock "$@" <<<"uv>=0.9"
