"""Write the pages that come from code and results: one a method, their index, reproductions.

Run by mkdocs-gen-files while the documentation is built.
"""

from __future__ import annotations

import dataclasses
import functools
import html
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import mkdocs_gen_files
import numpy as np

import samplewise as sw
from samplewise import registry
from samplewise.errors import SamplewiseError

mpl.use("Agg")
sys.path.insert(0, str(Path(__file__).parent))
RESULTS = Path("reproductions/results")
CONTESTS = Path("benchmarks/results")
BUDGET = 40
PROBLEMS = 24
NEEDS = {
    "embeddings": "vectors",
    "score": "a score for every row",
    "groups": "a source or a label",
    "outcomes": "outcomes",
    "target": "a target",
    "text": "texts",
    "response": "a prompt and a response",
}
BLOBS = (  # x, y, spread, points
    (0.0, 0.0, 0.9, 260),
    (4.5, 0.5, 0.5, 120),
    (2.2, 4.0, 0.7, 120),
    (-3.6, 3.0, 0.4, 60),
    (-2.6, -3.4, 0.6, 30),
    (5.0, 5.2, 0.25, 10),
)
PAIRS = (  # what scorers of texts are shown
    ("What is the capital of France?", "Paris."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Count to five.", "One, two, three, four, five."),
    ("Count to five.", "Five five pelican of seventy."),
    ("Translate to German: good morning", "Guten Morgen"),
    ("Name a colour.", "xqzt vbr plk"),
)
MISSING: dict[str, str] = {}  # methods without a picture, and why
WEIGHTED: set[str] = set()  # methods whose picture shows weights
CAPTIONS: dict[str, str] = {}  # what the picture of a method that decodes shows


def main() -> None:
    """Write all pages."""
    results = read_results()
    pool = picture_pool()
    for room, (folder, draw, *_) in ROOMS.items():
        methods = registry.methods(room)
        for cls in methods:
            draw(cls, pool)
            write(f"{folder}/{cls.name}.md", method_page(cls, results))
        write(f"{folder}/index.md", methods_index(room, methods))
    write("reproductions.md", reproductions_page(results))
    write("guide/which-method.md", which_method_page(results))


def write(path: str, lines: Iterable[str]) -> None:
    """Write one page."""
    with mkdocs_gen_files.open(path, "w") as stream:
        stream.write("\n".join(lines) + "\n")


# --- methods ----------------------------------------------------------------------------------


def methods_index(room: str, methods: list[type[registry.Method]]) -> list[str]:
    """List all methods of a room in a table."""
    rows = [
        f"| [`{cls.name}`]({cls.name}.md) | {cls.title()} | {needs(cls)} | {cls.cost} "
        f"| {paper_link(cls)} |"
        for cls in methods
    ]
    return [
        *ROOMS[room][3:],
        "",
        f"Every page is made from the code; `samplewise methods --room {room}` lists the same.",
        "",
        "| name | what it does | needs | cost | paper |",
        "|---|---|---|---|---|",
        *rows,
    ]


def method_page(cls: type[registry.Method], results: list[dict[str, Any]]) -> list[str]:
    """Describe one method."""
    facts = {
        "also called": ", ".join(f"`{alias}`" for alias in cls.aliases),
        "paper": paper_link(cls),
        "cost": cls.cost,
        "needs": needs(cls),
        "draws a row twice": "it may" if getattr(cls, "repeats", False) else "",
        "reproduced": reproduction_links(cls, results),
    }
    return [
        "---",
        f"title: {cls.name}",
        "---",
        "",
        f"# {cls.title()}",
        "",
        f"| name | `{cls.name}` |",
        "|---|---|",
        *(f"| {name} | {fact} |" for name, fact in facts.items() if fact),
        "",
        *picture_lines(cls),
        "",
        *how_to_use(cls),
        "",
        *knob_table(cls),
        "",
        *real_problems(cls, results),
        f"::: {cls.__module__}.{cls.__qualname__}",
        "    options:",
        "        heading_level: 2",
        "        members: []",
    ]


def real_problems(cls: type[registry.Method], results: list[dict[str, Any]]) -> list[str]:
    """Show what the built-in model made of real problems with it, beside the baselines."""
    lines: list[str] = []
    for path in sorted((RESULTS / "runs").glob("*/report.json")) if cls.room == "answer" else ():
        report = json.loads(path.read_text())
        if "strategies" not in report:
            lines += by_itself(cls, path, report)
            continue
        rows = {row["strategy"]: row for row in report["strategies"]}
        mine = next((name for name in rows if name.partition(":")[0] == cls.name), None)
        if mine is None:
            continue
        told = rows[mine]
        asked = report["asked"]
        baselines = [name for name in rows if name in ("single", "equal-tokens vote")]
        lines += [
            f"## On 20 real problems: {path.parent.name}",
            "",
            f"The built-in model of 135M parameters, at most {asked['limit']:,} tokens a problem; "
            f"`{asked['verifier']}` marks the answers, and is what a strategy that asks while it "
            "answers is told: an oracle's help.",
            "",
            "| strategy | right | from the vote | interval | tokens a problem | unanswered |",
            "|---|---|---|---|---|---|",
            *(real_row(name, rows[name]) for name in [mine, *(b for b in baselines if b != mine)]),
            "",
            verdict_on(told, bool(reproduction_links(cls, results))),
            f"Every answer is in `{path.parent}`.",
            "",
        ]
    return lines


def by_itself(cls: type[registry.Method], path: Path, report: dict[str, Any]) -> list[str]:
    """Show a run of one strategy without a bound of tokens."""
    if report["asked"]["strategy"] != cls.name:
        return []
    sums, knobs = report["totals"], report["asked"]["knobs"]
    each = sums["tokens"] / sums["problems"]
    told = ", ".join(f"{name} {value}" for name, value in knobs.items() if value is not None)
    return [
        f"## Without a bound: {path.parent.name}",
        "",
        f"{sums['right']} of {sums['problems']} right, {sums['abstained']} unanswered, with "
        f"{sums['completions'] / sums['problems']:.1f} completions and {each:,.0f} tokens a "
        f"problem ({told}). Every answer is in `{path.parent}`.",
        "",
    ]


def real_row(name: str, row: dict[str, Any]) -> str:
    """Give the row of a strategy."""
    away = (f"{row['difference']:+.2f}", f"{row['low']:+.2f} to {row['high']:+.2f}")
    if name == "equal-tokens vote":
        away = ("", "")
    cells = (f"{row['accuracy']:.0%}", *away, f"{row['tokens']:,.0f}", str(row["unanswered"]))
    return f"| `{name}` | {' | '.join(cells)} |"


def verdict_on(row: dict[str, Any], reproduced: bool) -> str:
    """Say whether it beats the vote at equal tokens, and what a small model can show."""
    if row["clear"]:
        return "It is " + ("above" if row["low"] > 0 else "**below**") + " the vote, clearly."
    weak = "It is not told from a vote at equal tokens: so small a model is too weak for it, or "
    shown = "; what the method does is shown where it is reproduced." if reproduced else "."
    return f"{weak}20 problems are too few{shown}"


def how_to_use(cls: type[registry.Method]) -> list[str]:
    """Say how it is used: by a command, or from Python where there is none for it."""
    if getattr(cls, "kind", "") == "allocator":
        lines = (
            f'allocation = sw.method("{cls.name}", room="mix").start(groups=4, rng=0)',
            "counts = allocation.ask(400)           # how many to draw of each",
            "allocation.tell(counts, outcomes)      # what they turned out to be worth",
        )
        return ["```python", *lines, "```"]
    if cls.room == "mix":
        call = f'sw.mix(sizes={{"en": 9000, "sw": 1000}}, method="{cls.name}", rng=0, total=50_000)'
        return ["```python", f"stream = {call}", "stream.draw(64).indices", "```"]
    if cls.room != "decode":
        return ["```sh", ROOMS[cls.room][2].format(name=cls.name), "```"]
    kind = getattr(cls, "kind", "")
    command = 'samplewise decode "Write a haiku about rain."'
    used = {
        "draft": ("sh", f"{command} --draft {cls.name} --out run"),
        "verifier": (
            "sh",
            f"{command} --draft draft-model:model=FOLDER --verifier {cls.name} --temperature 1 "
            "--out run",
        ),
        "sampler": ("sh", f"{command} --sampler {cls.name} --temperature 1 --out run"),
        "masked sampler": (
            "python",
            f"from {cls.__module__} import {cls.__name__}\n\n"
            f"filled = {cls.__name__}().fill(model, tokens, vocabulary, rng=0)",
        ),
        "corrector": (
            "python",
            f"from {cls.__module__} import {cls.__name__}, Annealed\n\n"
            f"found = {cls.__name__}().sample(score, Annealed(2.0), noising, dimensions, rng=0)",
        ),
    }
    language, text = used[kind]
    return [f"```{language}", *text.splitlines(), "```"]


def knob_table(cls: type[registry.Method]) -> list[str]:
    """Give the knobs, their types and defaults."""
    fields = dataclasses.fields(cls)
    if not fields:
        return ["It has no knobs."]
    cells = [(field.name, escape(str(field.type)), default(field)) for field in fields]
    rows = [
        f"| `{name}` | <code>{kind}</code> | <code>{value}</code> |" for name, kind, value in cells
    ]
    return ["| knob | type | default |", "|---|---|---|", *rows]


def default(field: dataclasses.Field[Any]) -> str:
    """Give a knob's default as text."""
    if field.default is not dataclasses.MISSING:
        return escape(repr(field.default))
    made = field.default_factory
    return "none" if made is dataclasses.MISSING else escape(repr(made()))


def escape(text: str) -> str:
    """Make text safe inside a table cell."""
    return html.escape(text, quote=False).replace("|", "&#124;")


def needs(cls: type[registry.Method]) -> str:
    """Say what the rows must have, or what a strategy must be able to ask."""
    if cls.room in ("decode", "mix"):
        return str(getattr(cls, "kind", ""))
    if cls.room == "train":
        return ", ".join(dict.fromkeys(task.label for task in cls.tasks))
    if cls.room == "answer":
        return "a verifier" if cls().asks_verifier() else "nothing"
    named = ", ".join(NEEDS.get(need, need) for need in cls.needs)
    return named or getattr(cls, "needs_note", "") or "nothing"


def paper_link(cls: type[registry.Method]) -> str:
    """Link the paper, where its reference is an arXiv id."""
    known = cls.paper.removeprefix("arXiv:")
    if known.replace(".", "").isdigit():
        return f"[arXiv {known}](https://arxiv.org/abs/{known})"
    return cls.paper


# --- pictures ---------------------------------------------------------------------------------


def picture_pool() -> sw.Pool:
    """Make the points that every method chooses from: blobs that hold very different numbers."""
    rng = np.random.default_rng(7)
    points = np.concatenate([rng.normal((x, y), s, (n, 2)) for x, y, s, n in BLOBS])
    blob = np.repeat(np.arange(len(BLOBS)), [n for *_, n in BLOBS])
    score = np.exp(-((points[:, 0] - 2) ** 2 + (points[:, 1] - 2) ** 2) / 12)
    texts = [f"group {b} item {i}" for i, b in enumerate(blob)]
    labels = [f"group {b}" for b in blob]
    pool = sw.Pool.from_arrays(points.astype(np.float32), y=labels, text=texts, score=score)
    aim = rng.normal((-3.6, 3.0), 0.8, (40, 2)).astype(np.float32)
    return pool.with_target(sw.Pool.from_arrays(aim, text=[f"group 3 item {i}" for i in range(40)]))


def outcome(pool: sw.Pool, rows: Any) -> Any:
    """Say what draws are worth in the pictures: the more, the further to the right."""
    return 1 / (1 + np.exp(-pool.embeddings[rows, 0] / 2))


def write_picture(cls: type[registry.Method], pool: sw.Pool) -> None:
    """Draw the points, and those that the method chooses; without it, say why there is none."""
    try:
        chosen = sw.select(pool, BUDGET, cls(), rng=0, outcome=outcome)
    except SamplewiseError as error:
        MISSING[cls.name] = str(error)
        return
    if np.ptp(chosen.weights) > 0:
        WEIGHTED.add(cls.name)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    x, y = pool.embeddings.T
    axes.scatter(x, y, s=10, color="#b6c2c9", linewidths=0, label=f"pool: {len(pool)}")
    rows = chosen.indices
    sizes = 34 * chosen.weights / chosen.weights.mean()
    axes.scatter(
        x[rows],
        y[rows],
        s=np.clip(sizes, 12, 160),
        color="#d9480f",
        edgecolors="white",
        linewidths=0.6,
        label=f"chosen: {len(rows)}",
    )
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    save(figure, f"methods/{cls.name}.png")


def write_score_picture(cls: type[registry.Method], pool: sw.Pool) -> None:
    """Draw the points in the colour of their score; a scorer of texts scores a few texts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    if "embeddings" in cls.needs:
        score = sw.score(pool, cls.name, rng=0).score
        x, y = pool.embeddings.T
        ranks = np.argsort(np.argsort(score)) / (len(score) - 1)
        drawn = axes.scatter(x, y, c=ranks, s=12, cmap="viridis", linewidths=0)
        figure.colorbar(drawn, label="rank of the score, from easy to hard")
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set_visible(False)
    else:
        texts = sw.Pool.from_rows(
            [{"instruction": asked, "response": said} for asked, said in PAIRS]
        )
        score = sw.score(texts, cls.name).score
        order = np.argsort(score)
        names = [" ".join(PAIRS[i]).replace("$", "") for i in order]
        axes.barh(names, score[order], color="#d9480f")
        axes.set(xlabel=cls.name)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, f"scores/{cls.name}.png")


def write_answer_picture(cls: type[registry.Method], _: sw.Pool) -> None:
    """Draw what the strategy draws for one problem, and what all get right for their tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.2), layout="constrained")
    tree, axes = figure.subplots(1, 2)
    draw_tree(tree, answers_of(cls).answers[2 * PROBLEMS // 3])
    for name, (tokens, right) in contest_of_strategies().items():
        mine = name == cls.name
        color = "#d9480f" if mine else "#868e96"
        axes.plot(tokens, right, "o", color=color, markersize=11 if mine else 7)
        if mine or name in ("single", "repeated"):
            axes.annotate(
                name, (tokens, right), (8, 4), textcoords="offset points", color=color, fontsize=9
            )
    axes.set(xscale="log", xlabel="tokens drawn for a problem", ylabel="share answered right")
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, f"strategies/{cls.name}.png")


def write_decode_picture(cls: type[registry.Method], _: sw.Pool) -> None:
    """Draw what a method that decodes does, each kind in its own way."""
    from decode_pictures import draw

    write_drawn(cls, draw, "decoding")


def write_mix_picture(cls: type[registry.Method], _: sw.Pool) -> None:
    """Draw how often each source comes, or how a budget is split."""
    from training_pictures import draw_mix

    write_drawn(cls, draw_mix, "mixing")


def write_loop_picture(cls: type[registry.Method], _: sw.Pool) -> None:
    """Draw what a loop learns in a few seconds."""
    from training_pictures import draw_loop

    write_drawn(cls, draw_loop, "training")


def write_drawn(cls: type[registry.Method], draw: Callable[[Any, Any], str], folder: str) -> None:
    """Write a picture and keep what is seen in it; without it, why there is none."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    try:
        CAPTIONS[cls.name] = draw(cls, axes)
    except SamplewiseError as error:
        MISSING[cls.name] = str(error)
        return
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, f"{folder}/{cls.name}.png")


def draw_tree(axes: Any, answer: Any) -> None:
    """Draw completions in columns, each to the right of what it was made from."""
    depths: list[int] = []
    for origin in answer.origins:
        depths.append(1 + max((depths[parent] for parent in origin.parents), default=-1))
    heights = [-depths[:place].count(depth) for place, depth in enumerate(depths)]
    most = max(depths.count(depth) for depth in depths)
    heights = [
        height + (depths.count(depth) - most) / 2
        for height, depth in zip(heights, depths, strict=True)
    ]
    for place, origin in enumerate(answer.origins):
        for parent in origin.parents:
            axes.plot(
                [depths[parent], depths[place]],
                [heights[parent], heights[place]],
                color="#ced4da",
                linewidth=0.8,
                zorder=1,
            )
    shown = [
        origin.kind if origin.kind != "answer" else "right answer" if verdict.correct else "answer"
        for origin, verdict in zip(answer.origins, answer.verdicts, strict=True)
    ]
    colors = {"right answer": "#2b8a3e", "answer": "#adb5bd"}
    others = ("#4c6ef5", "#f59f00", "#be4bdb", "#15aabf", "#e64980", "#82c91e")
    for number, kind in enumerate(dict.fromkeys(shown)):
        places = [place for place, one in enumerate(shown) if one == kind]
        axes.scatter(
            [depths[place] for place in places],
            [heights[place] for place in places],
            color=colors.get(kind, others[number % len(others)]),
            label=kind,
            zorder=2,
        )
    if answer.place is not None:
        axes.plot(
            depths[answer.place], heights[answer.place], "o", mfc="none", mec="#d9480f", ms=13
        )
    axes.set(xticks=[], yticks=[], xlabel="one after the other")
    axes.margins(x=0.15, y=0.15)
    axes.legend(fontsize=8, loc="best")
    axes.spines[:].set_visible(False)


@functools.cache
def answers_of(cls: type[registry.Method]) -> Any:
    """Run a strategy on problems of a made-up model whose right answers are the shorter ones."""
    from samplewise.models.completion import Completion
    from samplewise.problems import Problem
    from samplewise.testing import ScriptedModel, ScriptedVerifier

    def guess(request: Any, number: int) -> Completion:
        rng = np.random.default_rng(request.seed)
        asked = " ".join(turn.content for turn in request.messages)
        hard = int(re.findall(r"Problem (\d+)", asked)[0]) / PROBLEMS
        right = rng.random() > 0.15 + 0.6 * hard
        tokens = max(20, int(rng.normal(300 if right else 450, 90)))
        said = "7" if right else str(rng.integers(5))
        if "Python list" in request.messages[-1].content:
            return Completion('["It is odd.", "It is small."]', tokens=20)
        most = request.max_tokens or tokens
        chances = tuple(rng.normal(-0.5 if right else -0.8, 0.3, min(tokens, most)))
        return Completion(
            f"so {said}",
            "stop" if tokens <= most or request.log_probabilities else "length",
            tokens=min(tokens, most),
            log_probabilities=chances,
            seconds=tokens / 100,
        )

    problems = [Problem.ask(f"Problem {n} ?", id=str(n), answer="7") for n in range(PROBLEMS)]
    knobs = {"language": "en"} if cls.name == "hedged-sampling" else {}
    return sw.answer(
        problems, ScriptedModel(guess), cls(**knobs), verifier=ScriptedVerifier(), rng=0
    )


@functools.cache
def contest_of_strategies() -> dict[str, tuple[float, float]]:
    """Give tokens a problem and the share right of every strategy, by name."""
    found = {}
    for cls in registry.methods("answer"):
        answers = answers_of(cls)
        tokens = float(np.mean([one.tokens for one in answers.answers]))
        found[cls.name] = tokens, answers.accuracy
    return found


def save(figure: Any, path: str) -> None:
    """Write a picture."""
    with mkdocs_gen_files.open(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=110, facecolor="white")


def picture_lines(cls: type[registry.Method]) -> list[str]:
    """Show the picture and say what it shows."""
    if cls.room == "answer":
        return [
            f"![What {cls.name} gets right for its tokens]({cls.name}.png)",
            "",
            "*Left: what it draws for one problem, with a ring around what it keeps. Right: "
            f"{PROBLEMS} problems of a made-up model whose right answers tend to be shorter and "
            "likelier, and which plans and criticism do not help; default knobs. A strategy that "
            "asks a verifier asks one that is always right.*",
        ]
    if cls.room == "score":
        shown = "600 points of six classes" if "embeddings" in cls.needs else "A few rows"
        return [f"![{cls.name}]({cls.name}.png)", "", f"*{shown}, default knobs.*"]
    if cls.name in CAPTIONS:
        return [f"![{cls.name}]({cls.name}.png)", "", f"*{CAPTIONS[cls.name]}*"]
    if cls.name in MISSING:
        return [f"*No picture: {MISSING[cls.name].splitlines()[0]}*"]
    told = []
    for need in getattr(cls, "needs", ()):
        if need == "score":
            told.append("scores are highest in the middle")
        if need == "target":
            told.append("the target is at the upper left")
        if need == "outcomes":
            told.append("outcomes are higher to the right")
    if cls.name in WEIGHTED:
        told.append("larger means more weight")
    legend = "".join(f"; {one}" for one in told)
    return [
        f"![What {cls.name} chooses]({cls.name}.png)",
        "",
        f"*{BUDGET} of {sum(n for *_, n in BLOBS)} points in the plane, default knobs{legend}.*",
    ]


# --- reproductions ----------------------------------------------------------------------------


def read_results() -> list[dict[str, Any]]:
    """Read the committed results, ordered by file name."""
    files = sorted(RESULTS.glob("*.json"))
    return [json.loads(path.read_text()) | {"slug": path.stem} for path in files]


def reproduction_links(cls: type[registry.Method], results: list[dict[str, Any]]) -> str:
    """Link the results of the method's paper."""
    found = [one for one in results if cls.paper and cls.paper in str(one["paper"])]
    return ", ".join(f"[{one['slug']}](../reproductions.md#{one['slug']})" for one in found)


def reproductions_page(results: list[dict[str, Any]]) -> list[str]:
    """Show each paper's figures beside ours."""
    lines = [
        "# Reproductions",
        "",
        "The paper's figures beside ours, at a size that runs on two cores. "
        "`make reproduce N=01` runs one again.",
    ]
    if not results:
        lines += ["", "No result is committed yet."]
    for one in results:
        lines += ["", *reproduction(one)]
    return lines


def reproduction(one: dict[str, Any]) -> list[str]:
    """Show one result."""
    agrees = {True: "yes", False: "**no**"}.get(one["agrees"], str(one["agrees"]))
    return [
        f"## {one['slug']} {{ #{one['slug']} }}",
        "",
        f"Paper: {flat(one['paper'])}",
        "",
        f"Setting: {flat(one['setting'])}",
        "",
        f"Agrees: {agrees}. {flat(one['why'])}",
        "",
        *figures_table(one["paper_figures"], one["our_figures"]),
        "",
        f"*{flat(one['hardware'])}; {one['seconds']:,.0f} s; version {one['version']}.*",
    ]


def figures_table(paper: Any, ours: Any) -> list[str]:
    """Put the paper's figures beside ours, by name where they have names."""
    theirs, own = ({**flatten(one)} for one in (paper, ours))
    rows = [
        f"| {escape(name)} | {cell(theirs.get(name))} | {cell(own.get(name))} |"
        for name in dict.fromkeys([*theirs, *own])
    ]
    return ["| figure | paper | ours |", "|---|---|---|", *rows]


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """Flatten nested mappings, joining their names."""
    if not isinstance(value, dict):
        return {name or "result": value}
    flat_items: dict[str, Any] = {}
    for key, inner in value.items():
        flat_items |= flatten(inner, f"{name} / {key}" if name else str(key))
    return flat_items


def cell(value: Any) -> str:
    """Format one figure."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape(flat(value))


def flat(value: Any) -> str:
    """Write a plain value, a list or a mapping in one line."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {flat(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(flat(inner) for inner in value)
    return " ".join(str(value).split())


# --- which method -----------------------------------------------------------------------------

PURPOSES = (  # what a user has, which methods are for it, and the reproduction that measured them
    ("Some labels are wrong", "coverage-centric moderate", "47-coverage-centric"),
    ("You know what the rows are for", "optimal-transport nearest-to-target dsir", "48-got-d"),
    ("You fit a linear model", "lewis sensitivity leverage", "11-lp-sensitivity-sampling"),
    ("You train a classifier on a few labelled rows", "graph-attention", "13-gais-graph-attention"),
    ("Rows have tags and a quality", "information-gain", "02-mig"),
    (
        "The pool holds junk, and you train in rounds",
        "iterative-refinement",
        "01-diversify-and-conquer",
    ),
    ("You train a retriever", "hard-negatives", "51-ecthr-pcr"),
    ("You specialise in one domain", "cross-domain", "56-only-if"),
)


def which_method_page(results: list[dict[str, Any]]) -> list[str]:
    """Answer from what was measured: contests on one pool, and the reproductions."""
    found = {one["slug"]: one for one in results}
    lines = [
        "# Which method should I use?",
        "",
        "The one that wins on your pool: [compare](compare.md) takes minutes. What follows is what "
        "was measured here; every table is made from a committed result file.",
    ]
    for path in sorted(CONTESTS.glob("compare_select*.json")):
        lines += ["", *contest(json.loads(path.read_text()))]
    lines += [
        "",
        "## By what you have",
        "",
        "| you have | look at | what was measured |",
        "|---|---|---|",
    ]
    for purpose, names, slug in PURPOSES:
        if slug in found:
            methods = ", ".join(f"[`{name}`](../methods/{name}.md)" for name in names.split())
            told = f"[{slug}](../reproductions.md#{slug}): {escape(flat(found[slug]['why']))}"
            lines.append(f"| {purpose} | {methods} | {told} |")
    return lines


def contest(one: dict[str, Any]) -> list[str]:
    """Show one comparison: its verdict, and a table with intervals."""
    asked, figure = one["setting"], next(iter(one["figures"].values()))
    hardware = one["hardware"]
    lines = [
        f"## {asked['rows']:,} instructions, {asked['budget']}, proxy `{asked['proxy']}`",
        "",
        one["verdict"],
        "",
        f"| method | {figure['title']} | from random | interval | seeds | seconds to choose |",
        "|---|---|---|---|---|---|",
    ]
    for row in one["methods"]:
        away = ("", "")
        if row["difference"] is not None:
            low, high = row["difference_low"], row["difference_high"]
            away = (f"{row['difference']:+.4f}", f"{low:+.4f} to {high:+.4f}")
        name = row["method"].partition(":")[0]
        link = f"[`{row['method']}`](../methods/{name}.md)"
        cells = (f"{row['mean']:.4f}", *away, str(row["seeds"]), f"{row['seconds']:.1f}")
        lines.append(f"| {link} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"*Intervals hold together at {1 - asked['alpha']:.0%}. {hardware['cpu']}, "
        f"{hardware['cores']} cores; {one['seconds']:,.0f} s in all.*",
    ]


ROOMS = {  # folder, picture, command, heading
    "select": (
        "methods",
        write_picture,
        "samplewise select pool.jsonl --budget 5% --method {name} --out run",
        "# Methods",
    ),
    "score": (
        "scores",
        write_score_picture,
        "samplewise select pool.jsonl --score method:{name} --method kmeans-quality --out run",
        "# Scores",
        "",
        "What a row is worth, for any method that chooses by a score: `--score method:NAME`, or "
        "`sw.score(pool, NAME)`. A score is higher where the row is harder.",
    ),
    "answer": (
        "strategies",
        write_answer_picture,
        "samplewise answer problems.jsonl --strategy {name} --out run",
        "# Strategies",
        "",
        "Which whole answers to draw, and which to keep: `--strategy NAME`, or "
        "`sw.answer(problems, strategy=NAME)`.",
    ),
    "mix": (
        "mixing",
        write_mix_picture,
        "",
        "# Mixing",
        "",
        "How often each row, source, skill or group is drawn while training. A "
        "[mixer](../guide/mix.md) gives rows without end; an allocator splits a sampling budget as "
        "results come in.",
    ),
    "train": (
        "training",
        write_loop_picture,
        "samplewise train {name} --out run",
        "# Training",
        "",
        "Loops that learn from what they draw: `samplewise train NAME`, or `sw.train(NAME)`. Each "
        "is one file that reads from top to bottom. [How to](../guide/train.md).",
    ),
    "decode": (
        "decoding",
        write_decode_picture,
        "",
        "# Decoding",
        "",
        "Which token comes next. [Drafts](../guide/decode.md) guess tokens ahead, verifiers keep "
        "the guesses that leave the law as it is, samplers change the law; masked samplers fill "
        "the masks of a masked diffusion model, and a corrector makes the samples of a diffusion "
        "model follow a law that was meant.",
    ),
}
main()
