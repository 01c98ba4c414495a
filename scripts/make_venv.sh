#!/usr/bin/env bash
# Make a virtual environment and install into it; leave FOLDER/.ready when all went well.
# Usage: scripts/make_venv.sh PYTHON FOLDER PIP-ARGUMENTS...
set -euo pipefail
python=$1 folder=$2
shift 2

if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "$python is missing, older than 3.11, or lacks venv." >&2
  echo "Name another: make PYTHON=python3.12 ..." >&2
  exit 1
fi
started=$SECONDS
echo "Installing into $folder: some minutes the first time"
[[ -x "$folder/bin/python" ]] || "$python" -m venv "$folder"
"$folder/bin/python" -m pip install -qq --disable-pip-version-check "$@"
touch "$folder/.ready"
echo "-- install: $((SECONDS - started)) s"
