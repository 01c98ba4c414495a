#!/usr/bin/env bash
# See that bubblewrap is there, in which programs are run that nobody has read; install Debian's
# where that is possible without asking.
set -euo pipefail

if command -v bwrap >/dev/null; then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  as_root=(sudo -n)
fi
if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
  echo "Installing bubblewrap"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends bubblewrap >/dev/null
  exit 0
fi
echo "Programs are run in a sandbox: install bubblewrap (apt-get install bubblewrap," >&2
echo "or dnf install bubblewrap)." >&2
exit 1
