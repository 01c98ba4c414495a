"""The report in a real browser: it draws, complains of nothing and asks the network nothing."""

import json
import os
import shutil

import numpy as np
import pytest
from answer_cases import drawn, report_on, write_answers
from method_cases import report_of, write_contest
from playwright.sync_api import sync_playwright
from report_cases import HOSTILE

from samplewise.report import (
    Beside,
    Draws,
    render,
    summarise_decoding,
    summarise_strategies,
    summarise_training,
)

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("SAMPLEWISE_CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    if path is None:
        pytest.fail(
            "no Chromium found: install one (apt install chromium), or set SAMPLEWISE_CHROMIUM "
            "to the path of a Chromium or Chrome"
        )
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield found
        found.close()


def watched(browser, url, scheme):
    """Open a page, and keep what it complains of and what it asks for."""
    page = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme=scheme)
    errors, requests = [], []
    page.on("console", lambda message: errors.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    return page, errors, requests


def close_narrow(page):
    """Make a page narrow: it does not scroll sideways."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_opens_cleanly(browser, run_folder, tmp_path, scheme):
    url = render(run_folder).as_uri()
    page, errors, requests = watched(browser, url, scheme)
    for figure, mark in (("map", ".scatterlayer .point"), ("scores", ".bars"), ("rounds", ".bars")):
        page.wait_for_selector(f"[data-figure={figure}] svg.main-svg {mark}", state="attached")
        assert page.locator(f"[data-figure={figure}] svg.main-svg").first.is_visible()
    for table in ("comparison", "groups", "rounds", "run", "rejected"):
        assert page.locator(f"#{table} table").first.is_visible()
    assert page.locator("#map .scatterlayer .point").count() == 300

    page.locator("#map .nsewdrag").first.hover()
    page.evaluate(
        "Plotly.Fx.hover(document.querySelector('[data-figure=map]'),"
        " [{curveNumber: 1, pointNumber: 0}])"
    )
    hover = page.locator("#map .hoverlayer").text_content()
    assert "<script>alert(1)" in hover  # as text
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert (tmp_path / f"{scheme}.png").stat().st_size > 20_000
    assert errors == []
    assert requests == [url]
    page.close()


def test_a_narrow_screen_does_not_scroll_sideways(browser, run_folder):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(render(run_folder).as_uri())
    page.wait_for_selector("#map svg.main-svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_on_methods_opens_cleanly(browser, tmp_path, scheme):
    means = {f"good {HOSTILE}": 0.9, "fair": 0.7, "poor": 0.3, "random": 0.5}
    url = render(write_contest(tmp_path / "run", report_of(means, most=8))).as_uri()
    page, errors, requests = watched(browser, url, scheme)
    page.wait_for_selector("#picture svg.main-svg .scatterlayer .point", state="attached")
    assert page.locator("#picture .errorbars path.xerror").count() == 4
    bar = page.locator("#picture .errorbars path.xerror").first
    assert bar.evaluate("path => getComputedStyle(path).stroke").startswith("rgb(")
    assert page.locator("#methods tbody tr").count() == 4
    assert page.locator("#saved").is_visible()
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert errors == []
    assert requests == [url]
    close_narrow(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_on_answers_opens_cleanly(browser, tmp_path, scheme):
    rows = drawn(40, 32, text=f"It is plain {HOSTILE} that it is")
    url = render(write_answers(tmp_path / "run", report_on(rows, price=(1, 2), value=1))).as_uri()
    page, errors, requests = watched(browser, url, scheme)
    page.wait_for_selector("#coverage svg.main-svg .scatterlayer .js-line", state="attached")
    assert page.locator("#coverage svg.main-svg").first.is_visible()
    for table in ("law", "run"):
        assert page.locator(f"#{table} table").first.is_visible()
    assert page.locator("#pays").is_visible()
    rows_shown = page.locator("#problems details.problem")
    assert rows_shown.count() == 40
    opened = rows_shown.first.locator(".opened")
    assert not opened.is_visible()
    rows_shown.first.locator("summary").first.click()
    assert opened.is_visible()
    assert opened.locator(".sample").count() == 32
    assert "<script>alert(1)" in opened.locator(".says").nth(1).text_content()  # as text
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert errors == []
    assert requests == [url]
    close_narrow(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_on_strategies_opens_cleanly(browser, tmp_path, scheme):
    found = {
        name: drawn(40, 4, seed=seed, text=f"It is plain {HOSTILE} that it is")
        for seed, name in enumerate(["vote", f"other {HOSTILE}", "third:samples=4"])
    }
    table = [
        {
            "strategy": name,
            "accuracy": np.mean([row["correct"] for row in rows]),
            "difference": 0.1 * place,
            "low": 0.05 * place,
            "high": 0.2 * place,
            "clear": place == 2,
            "tokens": 400.0,
            "sequential_tokens": 90.0,
            "completions": 4.0,
            "unanswered": 0,
        }
        for place, (name, rows) in enumerate(found.items())
    ]
    asked = {"model": HOSTILE, "verifier": "math", "limit": 400, "alpha": 0.05, "rng": 0}
    report = summarise_strategies(table, found, rival="vote", verdict=HOSTILE, asked=asked)
    url = render(write_answers(tmp_path / "run", report)).as_uri()
    page, errors, requests = watched(browser, url, scheme)
    page.wait_for_selector("#picture svg.main-svg .scatterlayer .point", state="attached")
    assert page.locator("#picture .errorbars path.xerror").count() == 3
    assert page.locator("#strategies tbody tr").count() == 3
    rows_shown = page.locator("#problems details.problem")
    assert rows_shown.count() == 40
    rows_shown.first.locator("summary").click()
    opened = rows_shown.first.locator(".opened")
    assert opened.locator(".sample").count() == 3
    assert "<script>alert(1)" in opened.locator(".says").nth(1).text_content()  # as text
    page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    assert errors == []
    assert requests == [url]
    close_narrow(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_on_decoding_opens_cleanly(browser, tmp_path, scheme):
    rows = [
        {
            "prompt": HOSTILE,
            "text": "a" + HOSTILE,
            "finish": "stop",
            "tokens": 3,
            "pieces": ["a", HOSTILE],
            "surprises": [0.5, 9.25, 0.1],
            "entropies": [1.0, 2.0, 0.3],
            "read": [8, 8],
            "accepted": [1, 0],
            "given": [2, 1],
            "tokens_per_step": 1.5,
            "speed_up": 1.25,
        }
    ]
    totals = {
        "prompts": 1,
        "tokens": 3,
        "steps": 2,
        "read": 16,
        "tokens_per_step": 1.5,
        "accepted_by_depth": [0.5],
        "seconds": 1.0,
        "speed_up": 1.25,
    }
    asked = {"draft": HOSTILE, "model": "builtin", "temperature": 0.5, "samplers": [HOSTILE]}
    summary = summarise_decoding(rows, totals, asked=asked, slowness="too slow " + HOSTILE)
    (tmp_path / "report.json").write_text(json.dumps(summary))
    (tmp_path / "run.json").write_text(json.dumps({"version": "1"}))
    page, errors, requests = watched(browser, render(tmp_path).as_uri(), scheme)
    for figure, mark in (("accepted", ".bars"), ("surprise", ".scatterlayer .point")):
        page.wait_for_selector(f"[data-figure={figure}] svg.main-svg {mark}", state="attached")
    assert "too slow" in page.locator("#verdict").text_content()
    tokens = page.locator(".token")
    assert [token.text_content() for token in tokens.all()] == ["a", HOSTILE]
    assert tokens.nth(1).get_attribute("title") == "9.25 bits of surprise, 2.0 of entropy"
    assert page.locator(".token.begins").count() == 1
    assert errors == []
    assert len(requests) == 1
    close_narrow(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_on_training_opens_cleanly(browser, tmp_path, scheme):
    history = [
        {"loss": 1 / step, HOSTILE: 0.5, "tokens": 40.0, "seconds": 0.1} for step in range(1, 41)
    ]
    for step in (0, 39):
        history[step]["test accuracy"] = step / 40
    draws = Draws()
    for _ in range(30):
        draws.add({"prompt": HOSTILE, "text": HOSTILE, "reward": 1.0, "tokens": 3})
    rival = Beside(
        name=HOSTILE,
        title=HOSTILE,
        knobs={HOSTILE: HOSTILE},
        unit="tokens",
        equal=True,
        histories=(history, history[:20]),
        outcomes=({HOSTILE: [1.0, 0.0, 1.0]}, {HOSTILE: [0.0, 0.0, 1.0]}),
    )
    summary = summarise_training(
        history,
        draws,
        asked={"loop": HOSTILE, "model": "small", "knobs": {"a": HOSTILE}},
        rival=rival,
    )
    (tmp_path / "report.json").write_text(json.dumps(summary))
    (tmp_path / "run.json").write_text(json.dumps({"version": "1"}))
    page, errors, requests = watched(browser, render(tmp_path).as_uri(), scheme)
    for figure in ("curves-0", "curves-1", "curves-3", "tested-0"):
        page.wait_for_selector(f"[data-figure={figure}] svg.main-svg .js-line", state="attached")
    assert page.locator("#tested .figure").count() == 1
    assert page.locator("#rival tbody tr").count() == 4  # a figure, steps, tokens, seconds
    assert "not clearly different" in page.locator("#verdict").text_content()
    assert page.locator("#curves .figure").count() == 4  # loss, the hostile one, tokens, speed
    assert page.locator("details.problem").count() == 24
    page.locator("details.problem summary").first.click()
    assert page.locator("details.problem .says").first.text_content() == HOSTILE
    assert "0.975" in page.locator(".tiles").text_content()
    assert errors == []
    assert len(requests) == 1
    close_narrow(page)
