#!/usr/bin/env bash
# Make a virtual environment with pip in it, with whatever this machine offers.
#
#   bash tools/make_venv.sh .venv        (PYTHON=/path/to/python in the environment chooses the interpreter)
set -euo pipefail
venv=$1

recent_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.14 python; do
    if recent_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "nbchat needs Python 3.11 or newer, and none was found. Install one, or say where it is:" >&2
  echo "    make PYTHON=/path/to/python3" >&2
  return 1
}

has_pip() {
  "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

if [ -x "$venv/bin/python" ] && recent_enough "$venv/bin/python" && has_pip; then
  exit 0
fi

python=$(find_python)
echo "Making $venv with $("$python" --version)"
if "$python" -m venv --clear "$venv" 2>/dev/null && has_pip; then
  exit 0
fi

# Debian and Ubuntu ship Python without ensurepip. A pip from outside can fill the environment as well.
if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --clear --without-pip "$venv"; then
  if "$python" -m pip --python "$venv/bin/python" install --quiet pip && has_pip; then
    exit 0
  fi
fi
if command -v uv >/dev/null && uv venv --quiet --clear --seed --python "$python" "$venv" && has_pip; then
  exit 0
fi

rm -rf "$venv"
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
echo "$python cannot make a virtual environment: its ensurepip is missing, and so are pip and uv." >&2
echo "On Debian and Ubuntu, install it with:  apt-get install $version-venv" >&2
exit 1
