#!/bin/sh
# Makes .venv with everything requirements.txt pins, from nothing but Python >= 3.11. Runs in a
# moment when nothing changed. uv comes from the package index that pip is configured for.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.installed
if [ -f "$stamp" ] && cmp -s requirements.txt "$stamp"; then exit 0; fi

python=${PYTHON:-}
if [ -z "$python" ]; then
    for name in python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            python=$name
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "No Python 3.11, 3.12 or 3.13 found. Install one (Debian: apt install python3) or set PYTHON=/path/to/python3." >&2
    exit 1
fi

# uv, in a small environment of its own. Debian's bare python3 has neither pip nor venv: then, as
# root, they are installed from Debian's packages; otherwise the person is told what to install.
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    if [ ! -x .dam/uv/bin/uv ]; then
        mkdir -p .dam
        rm -rf .dam/uv
        if ! "$python" -m venv .dam/uv >/dev/null 2>&1; then
            if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
                echo "Installing python3-venv …"
                apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
                rm -rf .dam/uv
                "$python" -m venv .dam/uv
            else
                echo "Python's venv module is missing. Run: apt install python3-venv, then this again." >&2
                exit 1
            fi
        fi
        .dam/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
    fi
    uv=$PWD/.dam/uv/bin/uv
fi

echo "Installing the pinned packages into .venv …"
interpreter=$("$python" -c 'import sys; print(sys.executable)')
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
    rm -rf .venv
    "$uv" venv --quiet --no-python-downloads --python "$interpreter" .venv
fi
"$uv" pip sync --quiet --compile-bytecode --python .venv/bin/python requirements.txt
cp requirements.txt "$stamp"
