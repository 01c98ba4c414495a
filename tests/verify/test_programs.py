import pytest

from samplewise.verify.programs import as_number, program_of, run_program, run_programs
from samplewise.verify.sandbox import Limits, Sandbox


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("def solution():\n    return 6 * 7", "42"),
        ("def solution():\n    return math.sqrt(16)", "4.0"),
        ("def solution():\n    print('no')\n    return 3", "3"),
        ("def solution():\n    print(5)\nsolution()", "5"),
        ("print('so')\nprint(8)\nprint()", "8"),
        ("from fractions import Fraction\ndef solution():\n    return Fraction(1, 4)", "0.25"),
        ("if __name__ == '__main__':\n    print(4)", "4"),
        ("def solution():\n    return 10**30", str(10**30)),
    ],
)
def test_a_value_is_returned_or_printed(program, value):
    assert run_program(program) == (value, "")
    assert run_programs([program]) == [(value, "")]


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("def solution(:", "SyntaxError"),
        ("def solution():\n    return 1 / 0", "ZeroDivisionError"),
        ("def other():\n    return 1", "no value"),
        ("def solution():\n    pass", "no value"),
        ("def solution(x):\n    return x", "TypeError"),
        ("import sys\nsys.exit(0)", "no value"),
        ("import os\nos._exit(3)", "ended by failed"),
        ("\0", "null bytes"),
    ],
)
def test_what_gives_no_value_says_why(program, error):
    result = run_program(program)
    assert result.value is None
    assert error in result.error
    assert [one.value for one in run_programs([program, "print(1)"])] == [None, "1"]


def test_an_endless_program_is_ended():
    result = run_program("while True: pass", Sandbox(Limits(seconds=0.5)))
    assert result == (None, "it ended by timeout")
    [endless, other] = run_programs(["while True: pass", "print(2)"], seconds=0.5)
    assert (endless.value, "too long" in endless.error, other.value) == (None, True, "2")


def test_programs_run_apart_from_us(tmp_path):
    (tmp_path / "here").touch()
    look = f"import os\ndef solution():\n    return os.path.exists({str(tmp_path / 'here')!r})"
    assert run_program(look).value == "False"
    assert run_programs([look])[0].value == "False"


def test_a_program_cannot_say_what_is_no_result():
    forged = """
import os
for fd in range(5, 20):
    if os.path.exists(f"/proc/self/fd/{fd}"):
        os.write(fd, b"[[7, 8], 9]")
os._exit(0)
"""
    [result] = run_programs([forged])
    assert (result.value, "dies" in result.error) == (None, True)


@pytest.mark.parametrize(
    ("given", "decimals", "wanted"),
    [
        ("2.0", None, "2"),
        ("-0.0", None, "0"),
        ("0.30000000000000004", None, "0.3"),
        ("33.333333333333336", 2, "33.33"),
        ("1e20", None, "1" + "0" * 20),
        ("1e-05", None, "0.00001"),
        ("9" * 30, None, "9" * 30),
        ("$1,250.50", None, "1250.5"),
        ("9" * 5000, None, None),
        ("seven", None, None),
        ("", None, None),
    ],
)
def test_numbers_are_written_in_one_way(given, decimals, wanted):
    assert as_number(given, decimals) == wanted


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```\nx = 1\n```\nor\n```python\ndef solution(): pass\n```", "def solution(): pass"),
        ("~~~py\nprint(1)\n~~~", "print(1)"),
        ("```python\nprint(1)", "print(1)"),  # cut off before its end
        ("a = 3\nb = 4\nprint(a * b)\n\nSo it is 12.", "a = 3\nb = 4\nprint(a * b)"),
        ("Sure!\nimport math\n\ndef solution(): pass", "import math\n\ndef solution(): pass"),
        ("Total = 3 + 4 apples, so 7.", None),
        ("from there it is 7", None),
        ("", None),
        ("```\n```", None),
    ],
)
def test_the_program_in_a_text(text, program):
    assert program_of(text) == program
