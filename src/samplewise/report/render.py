"""A run folder to one HTML file that needs nothing else: no network, no file beside it."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplewise.errors import InputError
from samplewise.files import atomic_write
from samplewise.report import figures

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render", "render_page"]

_KINDS = ("methods", "answers", "strategies", "decoding", "training")
_REJECTED = 100  # rows shown of those set aside


def render(folder: str | Path) -> Path:
    """Write `report.html` from what a run folder holds.

    Parameters
    ----------
    folder : str or Path
        With ``run.json``, ``report.json`` (what one of the functions `summarise...` gave) and
        perhaps ``rejected.jsonl``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If one of the first two is missing, or one of the three cannot be read.
    """
    folder = Path(folder)
    run, report = _load(folder / "run.json"), _load(folder / "report.json")
    path = folder / "report.html"
    atomic_write(path, render_page(run, report, _rejected(folder / "rejected.jsonl")))
    return path


def render_page(
    run: Mapping[str, Any],
    report: Mapping[str, Any],
    rejected: tuple[int, list[dict[str, Any]]] = (0, []),
) -> str:
    """Give the page of a report, whatever it is on.

    Parameters
    ----------
    run : mapping
        What ``run.json`` holds; what is missing is left out.
    report : mapping
        What one of the functions `summarise...` gave.
    rejected : (int, list of dict)
        How many rows were set aside, and the first of them.
    """
    drawn = figures.all_of(report)
    kind = report.get("kind")
    template = f"{kind}.html.j2" if kind in _KINDS else "selection.html.j2"
    page: str = (
        _environment()
        .get_template(template)
        .render(
            run=run,
            report=report,
            rejected=rejected[1],
            rejected_count=rejected[0],
            figures=_script_json(drawn),
            drawn=drawn,
            plotly=_plotly() if drawn else "",
        )
    )
    return page


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(
            "no such file",
            file=str(path),
            mend="give the folder of a finished run, or finish it with --resume",
        )
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", file=str(path)) from error
    if not isinstance(found, dict):
        raise InputError("is not a JSON object", file=str(path))
    return found


def _rejected(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """Count the rows set aside, and read the first of them."""
    if not path.exists():
        return 0, []
    with path.open("rb") as stream:
        lines = (line for line in stream if line.strip())
        first = list(itertools.islice(lines, _REJECTED))
        count = len(first) + sum(1 for _ in lines)
    try:
        return count, [json.loads(line) for line in first]
    except ValueError as error:
        raise InputError(f"is not JSON lines: {error}", file=str(path)) from error


def _script_json(value: Any) -> Any:
    """Write JSON that stands safely inside a script element, whatever texts it holds."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so no U+2028
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    for mark, escape in escapes.items():
        text = text.replace(mark, escape)
    return Markup(text)


@functools.cache
def _plotly() -> Any:
    """Read the script that plotly ships, without importing plotly (most of a second)."""
    import importlib.util

    from markupsafe import Markup

    found = importlib.util.find_spec("plotly")
    assert found is not None
    assert found.origin is not None
    script = Path(found.origin).parent / "package_data" / "plotly.min.js"
    return Markup(script.read_text(encoding="utf-8").replace("</script", "<\\/script"))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("samplewise.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figure=_figure,
        signed=_signed,
        count=_count,
        percent=_percent,
        dollars=_dollars,
        points=_points,
        seconds=_seconds,
    )
    environment.globals["strip"] = _strip
    return environment


def _figure(value: Any) -> str:
    """Write a number with about four digits, and anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def _signed(value: Any) -> str:
    """Write a difference with its sign."""
    text = _figure(value)
    return f"+{text}" if isinstance(value, (int, float)) and value > 0 else text


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else _figure(value)


def _percent(value: Any) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f}%" if value < 0.995 or value == 1 else f"{100 * value:.2f}%"


def _dollars(value: Any) -> str:
    """Write an amount: cents where it is large, three digits where it is less than a dollar."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 1:
        return f"${value:,.2f}"
    return f"${value:.{2 - math.floor(math.log10(abs(value)))}f}".rstrip("0")


def _points(value: Any) -> str:
    """Write a difference of two shares."""
    return "–" if value is None else f"{100 * value:.2g} points"


def _seconds(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    if value >= 120:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2f} s"


def _strip(row: dict[str, Any]) -> dict[str, float]:
    """Place a measure's range, mean and choice on a line from 0 to 100."""
    points = [row["low"], row["high"], row["chosen"]]
    low, high = min(points), max(points)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return {"low": 50, "high": 50, "random": 50, "chosen": 50}
    return {
        key: round(8 + 84 * (row[key] - low) / (high - low), 2)
        for key in ("low", "high", "random", "chosen")
    }
