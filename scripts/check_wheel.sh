#!/usr/bin/env bash
# Build the sdist, the wheel from it, and use the wheel in an empty environment outside the
# repository. Usage: scripts/check_wheel.sh [PYTHON with the package `build`]
set -euo pipefail
python=$(realpath -s "${1:-.venv-dev/bin/python}")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"$python" -m build --quiet --outdir "$place/dist" .
"$python" -m venv "$place/venv"
cd "$place"
venv/bin/python -m pip install -qq dist/*.whl
venv/bin/python - <<'PYTHON'
import json

words = ["river", "stone", "cloud", "engine", "letter", "garden", "window", "market"]
with open("pool.jsonl", "w") as stream:
    for i in range(400):
        text = " ".join(words[(i * k + k) % len(words)] for k in range(1, 9))
        stream.write(json.dumps({"question": f"Number {i}: {text}?", "answer": text[::-1]}) + "\n")
PYTHON
venv/bin/samplewise methods
venv/bin/samplewise select pool.jsonl --budget 5% --out run --rng 0
[[ $(wc -l <run/selected.jsonl) -eq 20 ]]
[[ -s run/run.json && -s run/report.html ]]
echo "$(basename dist/*.whl) chooses 20 of 400 rows in an empty environment"
