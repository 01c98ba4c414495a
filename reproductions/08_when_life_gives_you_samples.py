"""Hedged sampling, CHOPS and X-MBR (arXiv 2506.20544): five samples a prompt, in any language.

The paper asks models of 8B and 111B parameters in seven languages, and a judge as large. No such
model fits here, so that this is arithmetic and not language: pools of normal qualities against the
integrals of their order statistics, points in 16 dimensions for minimum Bayes risk, and a made
model and judge of known errors that the real strategy talks to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness import Result, Value, interval, reproduce
from samplewise.answer import Answers, Sampling, answer
from samplewise.measure.minimum_bayes_risk import first_best, pool_scores
from samplewise.measure.paired import paired_difference
from samplewise.measure.pool_quality import pool_quality
from samplewise.measure.win_rates import WinRate, win_rates
from samplewise.models.completion import Completion, Request
from samplewise.problems import Problem
from samplewise.testing import ScriptedModel
from samplewise.verify.base import Verdict, Verifier

Array = NDArray[np.float64]
Table = dict[str, dict[str, Value]]
Rates = Mapping[str, Mapping[str, WinRate | float]]

PAPER = {
    "win rate, change against the single sample (points)": {
        "8B models against Gemini, mean": {"figure": 6.8, "source": "abstract"},
        "Command-A, N=5, CHOPS": {"figure": 9.0, "source": "abstract"},
        "Command-A, N=5, X-MBR": {"figure": 8.3, "source": "digest"},
        "Command-A, N=5, reward model, best of n": {"figure": 4.5, "source": "digest"},
        "hedged less single-temperature pool, English": {"figure": 2.4, "source": "digest"},
        "hedged less single-temperature pool, others": {"figure": 2.2, "source": "digest"},
    },
    "pools at temperature 0.7 (percent of the greedy score)": {
        "English": {"hope": 25.4, "risk": -37.7, "source": "digest"},
        "others": {"hope": 37.2, "risk": -44.5, "source": "digest"},
    },
    "share of prompts where MBR keeps the greedy answer (percent)": {
        "all": {"figure": 35.3, "source": "digest"}
    },
}
GREEDY, WARM = (0.0, 0.3), (-0.605, 1.4)  # mean and deviation of quality
EXPECTED = {  # worked out when this experiment was designed: our own figures, not the paper's
    "mean": {"five warm samples": "-0.605", "hedged": "-0.484"},
    "hope": {"five warm samples": "1.02", "hedged": "0.95"},
    "risk": {"five warm samples": "-2.23", "hedged": "-2.05"},
    "error": {
        "single sample": "1.63",
        "MBR": "1.34",
        "X-MBR, own bias": "1.20",
        "best possible": "1.07",
    },
}
LANGUAGES = ("en", "ar", "de", "hi", "ja", "ru", "zh")
RIVALS: Mapping[str, dict[str, object]] = {
    "greedy": {"samples": 1},
    "random of 5": {"selector": "random"},
    "longest of 5": {"selector": "longest"},
    "best of 5 by reward": {"selector": "best-of-n"},
    "tournament": {"selector": "tournament"},
    "MBR": {"selector": "mbr"},
    "X-MBR": {"selector": "x-mbr"},
    "CHOPS": {"selector": "chops"},
    "CHOPS, not hedged": {"selector": "chops", "hedge": False},
    "MBR, not hedged": {"selector": "mbr", "hedge": False},
}


def main(quick: bool) -> Result:
    """Run the three experiments, and say what they show."""
    qualities = pools(20_000 if quick else 100_000)
    errors = points(100 if quick else 1_000, 3 if quick else 5)
    talk = Talk(4 if quick else 60)
    rates, hedged = talk.rates(), talk.hedging()
    return Result(
        paper="When Life Gives You Samples: The Benefits of Scaling up Inference Compute for "
        "Multilingual LLMs, arXiv 2506.20544",
        setting=("Quick run. " if quick else "")
        + "No language model. (1) Pools of five qualities: greedy N(0, 0.3), warm N(-0.605, 1.4), "
        "and the integrals of their order statistics. (2) Answers as points in 16 dimensions: the "
        "truth 0, a bias shared by a language N(0, 0.8²), noise N(0, 1) a sample; evidence in "
        "another language of noise 0.7; utility: minus the squared distance. (3) The strategy "
        f"itself, asked {talk.prompts} problems in each of {len(LANGUAGES)} languages, before a "
        "made model of the qualities of (1) and a made judge: pairs by a logistic curve with a "
        "taste for the first place, lists by the highest quality with noise 0.8 and the same "
        "taste, rewards with noise 0.8 in English and 1.6 elsewhere; win rates by true quality "
        "against one warm sample. The paper has Aya Expanse 8B, Qwen3 8B and Command-A 111B, a "
        "judge of 111B parameters, and m-ArenaHard-v2.0, MGSM and WMT.",
        paper_figures=PAPER,
        our_figures={
            "pools of five (plain differences from the greedy mean)": qualities,
            "16 dimensions, squared error a dimension": errors,
            "win rate against one warm sample, made model and judge": table(rates),
            "change of win rate by hedging, and greedy answers kept (points, percent)": {
                **hedged,
                "MBR keeps the greedy answer": {"percent": round(100 * talk.greedy_share(), 1)},
            },
            "a judge that always names the first answer (percent of prompts)": talk.first_places(),
        },
        agrees="not comparable",
        why=told(errors, rates, hedged),
    )


# --- pools against their integrals ----------------------------------------------------------------


def pools(count: int) -> Table:
    """Simulate plain and hedged pools, and set the integrals beside them."""
    rng = np.random.default_rng(0)
    warm = rng.normal(*WARM, (count, 5))
    hedged = warm.copy()
    hedged[:, 0] = rng.normal(*GREEDY, count)
    found: Table = {}
    for name, scores, members in (
        ("five warm samples", warm, [WARM] * 5),
        ("hedged", hedged, [GREEDY, *[WARM] * 4]),
    ):
        told = pool_quality(scores, np.zeros(count))
        most, least = extremes(members)
        exact = {
            "hope": most,
            "risk": least,
            "mean": float(np.mean([mean for mean, _ in members])),
        }
        found[name] = {}
        for column, value in exact.items():
            found[name] |= {
                column: round(getattr(told, column), 3),
                f"{column}, integral": round(value, 3),
                f"{column}, expected": EXPECTED[column][name],
            }
    return found


def extremes(members: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Integrate the expected greatest and least of independent normals."""
    from scipy.integrate import quad
    from scipy.stats import norm

    def below(x: float) -> float:
        return float(np.prod([norm.cdf(x, *one) for one in members]))

    def above(x: float) -> float:
        return float(np.prod([norm.sf(x, *one) for one in members]))

    most = quad(lambda x: 1 - below(x), 0, 20)[0] - quad(below, -20, 0)[0]
    least = quad(above, 0, 20)[0] - quad(lambda x: 1 - above(x), -20, 0)[0]
    return float(most), float(least)


# --- points in 16 dimensions ----------------------------------------------------------------------


def points(problems: int, seeds: int) -> Table:
    """Measure the squared error of what each rule keeps."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        rows = [one_problem(np.random.default_rng([seed, number])) for number in range(problems)]
        for name in rows[0]:
            found.setdefault(name, []).append(float(np.mean([row[name] for row in rows])))
    return {
        name: {
            "error": [round(value, 4) for value in interval(values)],
            "expected": EXPECTED["error"].get(name, ""),
        }
        for name, values in found.items()
    }


def one_problem(rng: np.random.Generator, size: int = 5, more: int = 3) -> dict[str, float]:
    """Draw one pool and four kinds of evidence, and give the error of each rule's answer."""
    bias = rng.normal(0, 0.8, 16)
    pool = bias + rng.normal(0, 1, (size, 16))
    noise = rng.normal(0, 0.7, (more, 16))
    evidence = {
        "X-MBR, own bias": rng.normal(0, 0.8, 16) + noise,
        "X-MBR, shared bias": bias + noise,
        "X-MBR, noise N(0, 3²)": rng.normal(0, 3, (more, 16)),
        "X-MBR, noise N(0, 10²)": rng.normal(0, 10, (more, 16)),
    }
    errors = (pool**2).mean(axis=1)
    within = -distances(pool, pool)
    kept = {"single sample": 0, "MBR": first_best(pool_scores(within))}
    for name, seen in evidence.items():
        kept[name] = first_best(pool_scores(within, -distances(pool, seen)))
    kept["best possible"] = int(errors.argmin())
    return {name: float(errors[place]) for name, place in kept.items()}


def distances(one: Array, other: Array) -> Array:
    """Give squared distances, shape (len(one), len(other))."""
    return np.asarray(((one[:, None] - other[None]) ** 2).sum(axis=2))


# --- the strategy, before a made model and judge --------------------------------------------------


class Talk:
    """Problems in several languages, and a model and judge whose errors are known."""

    def __init__(self, prompts: int) -> None:
        self.prompts = prompts
        self.problems = [
            Problem.ask(
                f"Task {number} ({language})", id=f"{language}{number}", row={"language": language}
            )
            for language in LANGUAGES
            for number in range(prompts)
        ]
        self.languages = [str(problem.row["language"]) for problem in self.problems]
        self.found = {name: self.ask(knobs) for name, knobs in RIVALS.items()}
        self.single = [
            worth(one.text) for one in self.ask({"samples": 1, "hedge": False}, 1).answers
        ]

    def ask(self, knobs: Mapping[str, object], rng: int = 0, stubborn: bool = False) -> Answers:
        """Answer all problems."""

        def script(request: Request, number: int) -> Completion:
            return Completion(reply(request, stubborn), tokens=1)

        return answer(
            self.problems,
            ScriptedModel(script),
            "hedged-sampling",
            verifier=Reward(),
            sampling=Sampling(max_tokens=64),
            rng=rng,
            **knobs,
        )

    def rates(self) -> dict[str, dict[str, WinRate | float]]:
        """Give win rates against the single sample, in English and elsewhere, and calls."""
        rates = {}
        for name, answers in self.found.items():
            wins = self.wins(name)
            calls = [
                sum(origin.remarks.get("calls", 0) for origin in one.origins)
                for one in answers.answers
            ]
            others = win_rates(wins, self.languages, leave_out=["en"])
            every = win_rates(wins, self.languages)
            rates[name] = {
                "English": every.languages["en"],
                "others, mean of languages": others.macro,
                "all": every.pooled,
                "judge calls": float(np.mean(calls)),
            }
        return rates

    def wins(self, name: str) -> Array:
        """Give 1 for each prompt where a rival is above the single sample, 0 where below."""
        kept = [worth(one.text) for one in self.found[name].answers]
        return np.asarray((np.sign(np.subtract(kept, self.single)) + 1) / 2)

    def hedging(self) -> Table:
        """Give what hedging adds to the win rate of a selector: points and 95% interval."""
        english = np.array([language == "en" for language in self.languages])
        found: Table = {}
        for name in ("CHOPS", "MBR"):
            pair = self.wins(name), self.wins(f"{name}, not hedged")
            found[name] = {}
            for column, rows in (("English", english), ("others", ~english)):
                gap = paired_difference(pair[0][rows], pair[1][rows])
                found[name][column] = [round(100 * one, 2) for one in gap]
        return found

    def greedy_share(self) -> float:
        """Give the share of prompts where MBR keeps the greedy answer."""
        return float(np.mean([one.place == 0 for one in self.found["MBR"].answers]))

    def first_places(self) -> Table:
        """Give how often the answer drawn first is kept, with and without a shuffle."""
        found: Table = {}
        for name, shuffle in (("as they were drawn", False), ("shuffled", True)):
            places = [one.place for one in self.ask({"shuffle": shuffle}, stubborn=True).answers]
            share = 100 * float(np.mean([place == 0 for place in places]))
            found[name] = {"kept the one drawn first": round(share, 1)}
        return found


class Reward(Verifier):
    """Score an answer by its quality and an error, which is larger outside of English."""

    name = "reward"

    async def verify(self, problem: Problem, texts: Sequence[str]) -> list[Verdict]:
        """Score answers."""
        error = 0.8 if problem.row["language"] == "en" else 1.6
        return [
            Verdict(False, worth(text) + error * chance("reward", text).normal()) for text in texts
        ]


def reply(request: Request, stubborn: bool) -> str:
    """Answer, compare or choose, by what is asked."""
    asked = request.messages[-1].content
    shown = re.findall(r"<answer (\S+)>\n(.*?)\n</answer", asked)
    if not shown:
        return draw(asked, request)
    qualities = [worth(text) for _, text in shown]
    random = chance("judge", asked, request.temperature)
    if shown[0][0] == "A":
        ahead = 2 * (qualities[0] - qualities[1]) + 0.5
        return "A" if random.random() < 1 / (1 + np.exp(-ahead)) else "B"
    if stubborn:
        return "1"
    seen = np.array(qualities) + 0.8 * random.normal(size=len(shown))
    seen[0] += 0.5
    return f"By what matters here:\n{shown[int(seen.argmax())][0]}"


def draw(asked: str, request: Request) -> str:
    """Make an answer that carries its quality; those in the other language are of another kind."""
    heat, seed = request.temperature, request.seed if request.temperature else 0
    mean, deviation = GREEDY if heat == 0 else WARM
    random = chance("answer", asked, heat, seed)
    words = "word " * int(random.integers(1, 20))
    return f"{words}{random.normal(mean, deviation):.6f}"


def worth(text: str | None) -> float:
    """Read the quality of an answer."""
    assert text is not None
    return float(text.split()[-1])


def chance(*what: object) -> np.random.Generator:
    """Give random numbers that only what is named decides."""
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


# --- tables and judgement -------------------------------------------------------------------------


def table(rates: Rates) -> Table:
    """Give rates in percent with their intervals, and calls."""
    return {
        name: {
            column: round(value, 1)
            if isinstance(value, float)
            else [round(100 * one, 2) for one in value[:3]]
            for column, value in row.items()
        }
        for name, row in rates.items()
    }


def told(errors: Table, rates: Rates, hedged: Table) -> str:
    """Say which of the paper's directions these settings show, and why that proves little."""

    def gain(name: str) -> str:
        one = rates[name]["all"]
        assert isinstance(one, WinRate)
        return f"{100 * one.rate - 50:.1f}"

    def error(name: str) -> float:
        value = errors[name]["error"]
        assert isinstance(value, list)
        return float(value[0])

    def less(name: str, than: str) -> str:
        return f"{name} errs {'less' if error(name) < error(than) else 'no less'} than {than}"

    return (
        "the paper's figures are of language models and judges, and none was run here: a made "
        "judge errs as we made it err, so that the directions below are checks of the rules and no "
        "evidence for the paper. In 16 dimensions "
        + ", ".join(
            [
                less("MBR", "single sample"),
                less("X-MBR, own bias", "MBR"),
                less("X-MBR, own bias", "X-MBR, shared bias"),
                less("X-MBR, noise N(0, 3²)", "MBR"),
                less("X-MBR, noise N(0, 10²)", "MBR"),
            ]
        )
        + " (noise around the truth still says where the truth is, if it is not too wide). The "
        f"strategy gains, in points over one warm sample: CHOPS {gain('CHOPS')} with 1 call of the "
        f"judge, X-MBR {gain('X-MBR')} with 35, MBR {gain('MBR')} with 20, the reward "
        f"{gain('best of 5 by reward')}, the greedy answer alone {gain('greedy')}: warm samples "
        "are worse on average here, so that much of every gain is that of not being warm. Hedging, "
        f"which the paper finds to gain 2.2 to 2.4 points, {hedges(hedged)} here: it raises the "
        "mean of a pool and lowers its best, which a good judge would have found."
    )


def hedges(hedged: Table) -> str:
    """Say whether hedging gains, over selectors and languages."""
    gaps = [value for row in hedged.values() for value in row.values() if isinstance(value, list)]
    if all(low > 0 for _, low, _ in gaps):
        return "gains"
    if all(high < 0 for _, _, high in gaps):
        return "loses"
    return "neither gains nor loses clearly"


if __name__ == "__main__":
    reproduce("08-when-life-gives-you-samples", main)
