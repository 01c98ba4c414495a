#!/usr/bin/env bash
# All that CI runs, step by step; a failed step does not hide those after it. Prints what each step
# took, and pytest's closing line last. Output is kept in build/test/STEP.log.
# Usage: scripts/check.sh [BIN, the folder with python, ruff, ...]   (WORKERS=2 for pytest)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${1:-.venv-dev/bin}
summary=()
failed=0

step() {
  local name=$1 status=0 started=$SECONDS verdict=ok
  shift
  echo "== $name"
  "$@" 2>&1 | tee "build/test/$name.log" || status=$?
  if ((status)); then
    verdict="FAILED (exit $status)"
    failed=1
  fi
  summary+=("$(printf -- '-- %-10s %4d s  %s' "$name" $((SECONDS - started)) "$verdict")")
  echo "${summary[-1]}"
}

# The unpacked language model is kept between runs, and away from the home folder.
export SAMPLEWISE_CACHE=${SAMPLEWISE_CACHE:-$PWD/build/cache}
rm -rf build/test
mkdir -p build/test
step chromium scripts/ensure_chromium.sh
step bubblewrap scripts/ensure_bubblewrap.sh
step lint "$bin/ruff" check .
step format "$bin/ruff" format --check .
step types "$bin/mypy"
step layers "$bin/lint-imports"
# A thread for each of pytest's processes: small models are slower with more.
step pytest env OMP_NUM_THREADS=1 "$bin/python" -m pytest -n "${WORKERS:-2}" --dist worksteal --durations=50
step docs "$bin/mkdocs" build --strict --quiet --site-dir build/site
step wheel scripts/check_wheel.sh "$bin/python"

echo
printf '%s\n' "${summary[@]}" "-- all        $(printf %4d $SECONDS) s"
grep -E '[0-9]+ (passed|failed|error|errors|deselected|skipped)\b.* in [0-9]' build/test/pytest.log |
  tail -n 1
exit "$failed"
