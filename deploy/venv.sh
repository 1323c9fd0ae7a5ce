#!/usr/bin/env bash
# Makes .venv from the lock files, or brings it up to them. `make` calls this when one of them has changed.
#
# Every downloaded file is checked against a hash in a lock. uv comes through pip by the same rule and is only
# a faster pip: if it cannot be had, or fails, pip does the same work. Which mirror serves the packages is the
# machine's own configuration; the locks name none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
complete=".venv/complete-$(pwd -P | cksum | cut -d ' ' -f 1)"
inputs=(requirements.lock requirements-uv.lock pyproject.toml deploy/venv.sh)

say() { printf '%s\n' "$*" >&2; }
refuse() { say "make: $1"; say "      $2"; exit 1; }

refuse_unfit_python() {
    command -v "$python" >/dev/null 2>&1 || refuse "there is no $python here." \
        "On Debian or Ubuntu: apt-get install python3 python3-venv. Elsewhere: make PYTHON=/path/to/python3.11 …"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || refuse \
        "Tollhouse needs Python 3.11 or newer; $python is $("$python" -V 2>&1)." \
        "Name a newer one: make PYTHON=python3.11 … (Debian 12: apt-get install python3 python3-venv)"
    "$python" -c 'import venv, ensurepip' 2>/dev/null || refuse \
        "$python cannot make virtual environments: its module venv or ensurepip is missing." \
        "On Debian or Ubuntu: apt-get install python3-venv"
}

# An environment knows the path it was made at, so one that was moved or copied is made anew.
is_usable() {
    [ -x .venv/bin/python ] &&
        .venv/bin/python -c 'import os, sys; sys.exit(not os.path.samefile(sys.prefix, ".venv"))' 2>/dev/null &&
        .venv/bin/python -m pip --version >/dev/null 2>&1 &&
        head -n 3 .venv/bin/pip | grep -qF "$PWD/.venv/bin/"
}

find_uv() {
    if command -v uv; then return; fi
    if [ ! -x .venv/bin/uv ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
            -r requirements-uv.lock >&2 || return 0
    fi
    echo .venv/bin/uv
}

install_locked() {
    local uv
    uv="$(find_uv)"
    # Bytecode is made here once, instead of by all processes of the first start at the same time.
    if [ -n "$uv" ] && VIRTUAL_ENV="$PWD/.venv" UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy \
        "$uv" pip install --quiet --compile-bytecode --require-hashes -r requirements.lock; then
        return
    fi
    say "make: uv could not install the packages; pip does it now, which takes longer."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
}

# Its build tools are in the lock, so nothing is fetched here.
install_ourselves() {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation \
        --no-deps --editable .
}

# Two calls of make at the same time would install over each other.
if command -v flock >/dev/null 2>&1; then exec 9<Makefile; flock 9; fi
fingerprint="$(cat "${inputs[@]}" | cksum)"
if [ -f "$complete" ] && [ "$(cat "$complete")" = "$fingerprint" ] && is_usable; then
    touch "$complete"
    exit 0
fi
refuse_unfit_python
say "make: preparing .venv (only when the locks have changed)"
rm -f .venv/complete*
if ! is_usable; then
    "$python" -m venv --clear .venv
fi
install_locked
install_ourselves
printf '%s\n' "$fingerprint" >"$complete"
