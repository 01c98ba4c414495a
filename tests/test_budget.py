from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplewise.budget import Budget
from samplewise.errors import UsageError


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("5%", 0.05, "fraction"),
        ("100 %", 1.0, "fraction"),
        ("2000", 2000, "rows"),
        (2000, 2000, "rows"),
        (2e3, 2000, "rows"),
        ("2,000 rows", 2000, "rows"),
        ("1e3 samples", 1000, "rows"),
        (" 3k draws ", 3000, "rows"),
        ("1M tokens", 1e6, "tokens"),
        ("1.5B tok", 1.5e9, "tokens"),
        ("10 min", 600, "seconds"),
        ("2h", 7200, "seconds"),
        ("90 s", 90, "seconds"),
        ("$5", 5, "dollars"),
        ("0.5 usd", 0.5, "dollars"),
        ("2T FLOPs", 2e12, "flops"),
        ("3 eps", 3, "epsilon"),
        (Budget(4, "tokens"), 4, "tokens"),
    ],
)
def test_budgets_as_people_write_them(text: Any, amount: float, unit: str) -> None:
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (pytest.approx(amount), unit)


@pytest.mark.parametrize(
    "text",
    ["", "abc", "0", "0%", "-3", "200%", "5 apples", "$5 tokens", "1.5", "nan", "inf", "5%%", "$",
     float("nan"), float("inf"), 0, -1, 0.5, True, None, [5], "1e999"],
)  # fmt: skip
def test_what_is_no_budget_is_refused_with_a_mend(text: Any) -> None:
    with pytest.raises(UsageError, match="budget") as caught:
        Budget.parse(text)
    assert caught.value.mend
    assert caught.value.exit_code == 2


@given(percent=st.integers(1, 100), total=st.integers(1, 10**6))
def test_a_share_is_the_nearest_row_and_at_least_one(percent: int, total: int) -> None:
    count = Budget.parse(f"{percent}%").rows_of(total)
    exact = Fraction(percent * total, 100)
    assert 1 <= count <= total
    assert abs(count - exact) <= Fraction(1, 2) or (count == 1 and exact < 1)


@given(asked=st.integers(1, 10**9), total=st.integers(1, 10**6))
def test_rows_are_never_more_than_asked_or_there(asked: int, total: int) -> None:
    assert Budget.parse(asked).rows_of(total) == min(asked, total)


def test_tokens_count_no_rows() -> None:
    with pytest.raises(UsageError, match="tokens"):
        Budget.parse("5 tokens").rows_of(10)


@pytest.mark.parametrize(
    "text", ["5%", "12.5%", "2000", "7 tokens", "600 seconds", "$5", "3 epsilon"]
)
def test_what_is_printed_can_be_read_again(text: str) -> None:
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)
