"""A process that compares mathematical expressions, and may be killed while it does.

Reads pairs as lines of JSON, and answers ``true`` or ``false`` to each. Symbolic algebra can take
for ever, so it never runs in the caller's process.
"""

from __future__ import annotations

import json
import os
import resource
import sys


def main(seconds: int = 3, memory: int = 2 << 30) -> None:
    """Answer until there are no more pairs."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not disturb the answers
    from math_verify import parse, verify

    print("true", file=replies, flush=True)  # it is ready
    for line in sys.stdin:
        first, second = json.loads(line)
        try:
            gold, answer = (
                parse(f"${one}$", parsing_timeout=seconds) or parse(one, parsing_timeout=seconds)
                for one in (first, second)
            )
            same = bool(
                gold
                and answer
                and (
                    verify(gold, answer, timeout_seconds=seconds)
                    or verify(answer, gold, timeout_seconds=seconds)
                )
            )
        except Exception:
            same = False
        print(json.dumps(same), file=replies, flush=True)


if __name__ == "__main__":
    main()
