"""Straight-line programs, traced in the real sandbox."""

import threading

import pytest

from samplewise.errors import UsageError
from samplewise.verify.many import run_many
from samplewise.verify.sandbox import Limits, Sandbox
from samplewise.verify.trace import Value, state_key, statements_of, trace_programs


def texts(trace):
    return [{name: value.text for name, value in one.state.items()} for one in trace]


def keys(trace, tolerance=None):
    return [state_key(one.state, tolerance) for one in trace]


def test_the_state_after_every_statement():
    [trace] = trace_programs(["t0=a+b\nt1=t0*c  # once more\nanswer=t1-a"], ["a=7;b=3;c=5"])
    assert [one.code for one in trace] == ["t0=a+b", "t1=t0*c", "answer=t1-a"]
    given = {"a": "7", "b": "3", "c": "5"}
    assert texts(trace) == [
        {**given, "t0": "10"},
        {**given, "t0": "10", "t1": "50"},
        {**given, "t0": "10", "t1": "50", "answer": "43"},
    ]
    assert trace[-1].state["answer"] == Value("43", 43.0)


def test_names_and_the_order_of_independent_statements_keep_the_key():
    first, renamed, reordered, other = trace_programs(
        ["x=2+3\ny=2*4", "u=2+3\nv=2*4", "y=2*4\nx=2+3", "x=2+3\ny=2*5"]
    )
    assert keys(first) == keys(renamed)
    assert keys(first)[1] == keys(reordered)[1]
    assert keys(first)[0] != keys(reordered)[0]
    assert keys(first)[1] != keys(other)[1]
    twice, once = trace_programs(["x=5\ny=5", "x=5"])
    assert keys(twice)[1] != keys(once)[0]  # how often a value is held counts


def test_rounding_is_asked_for():
    product, quotient = trace_programs(["x=72*0.2778", "x=72/3.6"])
    assert (product[0].state["x"].text, quotient[0].state["x"].text) == ("20.0016", "20.0")
    assert keys(product) != keys(quotient)
    assert keys(product, 0.01) == keys(quotient, 0.01)
    assert keys(product, 1e-320) != keys(quotient, 1e-320)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("True", 1.0),
        ("__import__('fractions').Fraction(1, 4)", 0.25),
        ("float('nan')", None),
        ("float('inf')", None),
        ("10**400", None),
        ("3j", None),
        ("[3]", None),
        ("'3'", None),
    ],
)
def test_only_finite_real_numbers_are_numbers(value, number):
    [trace] = trace_programs([f"answer={value}"])
    assert trace[0].state["answer"].number == number


@pytest.mark.parametrize(
    ("program", "statements"),
    [
        ("", ()),
        ("# nothing", ()),
        ("\n  \n'''What it does.'''\na=1", ("a=1",)),
        ("a = (1 +  # one\n 2)", ("a = 1 + 2",)),
        ("a = '#'", ("a = '#'",)),
        ("a=1; b = 2", ("a=1", "b = 2")),
        ("import math\nx += '\\d'", ("import math", "x += '\\d'")),
        ("if a: b=1", None),
        ("def f(): return 1", None),
        ("match a:\n  case 1: pass", None),
        ("with a: pass", None),
        ("a=", None),
        ("a=\0", None),
        ("(" * 4000 + ")" * 4000, None),
        ("a=1\n" * 4000, None),
    ],
)
def test_statements(program, statements):
    assert statements_of(program) == statements


FORGE = (
    "import os; [os.write(fd, b'{}') for fd in range(5, 20) "
    "if os.path.exists(f'/proc/self/fd/{{fd}}')]; os._exit(0)"
)
HOSTILE = [
    "import os; os.kill(os.getppid(), 9)",
    "import os; os._exit(3)",
    "raise SystemExit",
    "x=1/0",
    "x=[0]*10**9",
    "x='a'*10**6",
    "import os; os.fork()",
    "import os; x=os.listdir(f'/proc/{os.getppid()}/fd')",
    *(FORGE.format(text) for text in ("[[7]]", "[" * 9999, '[{"x": [1]}]\\n[]', "[")),
]


def test_what_dies_or_attacks_loses_its_own_result_alone():
    programs = ["x=1", *(text for one in HOSTILE for text in (one, "x=2"))]
    traces = trace_programs(programs, seconds=10.0, most=100)
    assert texts(traces[0]) == [{"x": "1"}]
    assert traces[1::2] == [None] * len(HOSTILE)
    assert [texts(one) for one in traces[2::2]] == [[{"x": "2"}]] * len(HOSTILE)


def test_what_hangs_is_ended():
    endless = "x=list(iter(int, 1))"
    traces = trace_programs(["x=1", endless, "import time; time.sleep(99)", "x=2"], seconds=0.3)
    assert [trace is None for trace in traces] == [False, True, True, False]


def test_programs_do_not_see_each_others_names():
    first, second = trace_programs(["x=1\nimport math\nmath.pi=3", "import math\ny=math.pi>3"])
    assert first[-1].state["x"].text == "1"
    assert (second[-1].state["y"].text, "x" in second[-1].state) == ("True", False)


def test_many_sandboxes_keep_the_order():
    assert run_many("def work(job): return job * 2", list(range(7)), most=3) == [
        0,
        2,
        4,
        6,
        8,
        10,
        12,
    ]
    assert run_many("def work(job): return job", []) == []


def test_what_cannot_work_is_told(monkeypatch):
    with pytest.raises(ValueError):
        trace_programs(["x=1"], [])
    for wrong in ({"seconds": 0.0}, {"most": 0}, {"largest": 0}):
        with pytest.raises(UsageError, match="more than 0"):
            run_many("", [1], **wrong)
    with pytest.raises(UsageError, match="no program can be run"):
        run_many("", [1], sandbox=Sandbox(Limits(memory=1 << 20)))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="bubblewrap"):
        trace_programs(["x=1"])


def test_it_can_be_stopped():
    stop = threading.Event()
    stop.set()
    assert trace_programs(["x=1"], stop=stop) == [None]
