"""What may be spent: one small value that every room reads in the same way."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

from samplewise.errors import UsageError

__all__ = ["Budget", "BudgetLike"]

BudgetLike: TypeAlias = "str | int | float | Budget"

_SPELLINGS = {
    "rows": ("", "row", "rows", "sample", "samples", "draw", "draws"),
    "tokens": ("token", "tokens", "tok"),
    "seconds": ("s", "sec", "second", "seconds"),
    "flops": ("flop", "flops"),
    "epsilon": ("epsilon", "eps"),
}
_UNITS = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}
_MINUTES = {
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
}
_MULTIPLES = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_PATTERN = re.compile(
    r"(?P<dollar>\$)?\s*(?P<number>\d[\d_,]*(?:\.\d+)?(?:e\d+)?)\s*"
    r"(?P<multiple>[kMBT](?![A-Za-z]))?\s*(?P<unit>%|[A-Za-z]+)?"
)
_MEND = "write it as 5%, 2000, '2000 rows', '1M tokens', '10 min' or '$5'"


@dataclass(frozen=True)
class Budget:
    """An amount of something that may be spent.

    Parameters
    ----------
    amount : float
        How much; above 0 and finite.
    unit : {'rows', 'fraction', 'tokens', 'seconds', 'dollars', 'flops', 'epsilon'}
        Of what. `fraction` is a share of the pool's rows, at most 1.

    Raises
    ------
    UsageError
        If the amount is not a positive finite number, or a fraction above 1.

    Examples
    --------
    >>> Budget.parse("5%").rows_of(55_185)
    2759
    >>> Budget.parse("1.5M tokens")
    Budget(amount=1500000.0, unit='tokens')
    >>> print(Budget.parse("10 min"), Budget.parse("$5"), Budget.parse(2000))
    600 seconds $5 2000 rows
    """

    amount: float
    unit: str = "rows"

    def __post_init__(self) -> None:
        units = {"fraction", "dollars", *_SPELLINGS}
        if self.unit not in units:
            raise UsageError(
                f"budget unit {self.unit!r}", mend=f"one of {', '.join(sorted(units))}"
            )
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise UsageError(f"a budget of {self.amount:g} buys nothing", mend=_MEND)
        if self.unit == "fraction" and self.amount > 1:
            raise UsageError(
                f"a budget of {self.amount:.0%} is more than the pool", mend="at most 100%"
            )
        if self.unit == "rows" and self.amount != int(self.amount):
            raise UsageError(f"a budget of {self.amount:g} rows is not whole", mend=_MEND)

    @classmethod
    def parse(cls, text: BudgetLike) -> Budget:
        """Read a budget as people write it; a plain number counts rows.

        Raises
        ------
        UsageError
            If `text` is none of the forms in the class's example.
        """
        if isinstance(text, Budget):
            return text
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            return cls(float(text))
        match = _PATTERN.fullmatch(str(text).strip())
        if match is None:
            raise UsageError(f"budget {text!r} cannot be read", mend=_MEND)
        number = float(match["number"].replace(",", "").replace("_", ""))
        number *= _MULTIPLES[match["multiple"] or ""]
        unit = (match["unit"] or "").lower()
        if match["dollar"] and not unit:
            return cls(number, "dollars")
        if not match["dollar"]:
            if unit == "%":
                return cls(number / 100, "fraction")
            if unit in ("dollar", "dollars", "usd"):
                return cls(number, "dollars")
            if unit in _MINUTES:
                return cls(number * _MINUTES[unit], "seconds")
            if unit in _UNITS:
                return cls(number, _UNITS[unit])
        raise UsageError(f"budget {text!r} cannot be read", mend=_MEND)

    def rows_of(self, total: int) -> int:
        """Count the rows this budget buys from a pool of `total` rows.

        A fraction is rounded to the nearest row, at least 1; never more than `total`.

        Raises
        ------
        UsageError
            If the budget is not one of rows.
        """
        if self.unit == "fraction":
            return min(total, max(1, round(self.amount * total)))
        if self.unit == "rows":
            return min(total, int(self.amount))
        raise UsageError(f"a budget in {self.unit} does not count rows", mend=_MEND)

    def __str__(self) -> str:
        if self.unit == "fraction":
            return f"{100 * self.amount:g}%"
        if self.unit == "dollars":
            return f"${self.amount:g}"
        number = f"{int(self.amount)}" if self.amount == int(self.amount) else f"{self.amount:g}"
        return f"{number} {self.unit}"
