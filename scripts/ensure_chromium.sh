#!/usr/bin/env bash
# See that a Chromium is there for the test that opens a report; install Debian's where that is
# possible without asking.
set -euo pipefail

if [[ -n "${SAMPLEWISE_CHROMIUM:-}" ]]; then
  [[ -x "$SAMPLEWISE_CHROMIUM" ]] && exit 0
  echo "SAMPLEWISE_CHROMIUM=$SAMPLEWISE_CHROMIUM cannot be run" >&2
  exit 1
fi
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null; then
    exit 0
  fi
done

as_root=()
if ((EUID != 0)); then
  as_root=(sudo -n)
fi
if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
  echo "Installing chromium"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
  exit 0
fi
echo "One test opens a report in a browser: install Chromium or Google Chrome," >&2
echo "or set SAMPLEWISE_CHROMIUM to the path of one." >&2
exit 1
