"""A test bed of string rewriting: how many distinct instructions a model needs to follow new ones.

An instruction is a rule x -> y, and following it means to replace the leftmost x of a string by y.
At a fixed number of examples one varies how many distinct rules they cover, trains a model, and
asks it for rules that it has never seen.

Cost: O(n) in the examples times their length.
Source: Only-IF, arXiv 2410.04717. Its alphabet, its rendering and the exact law of the rule weights
were not found; what stands here in their place is reconstructed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samplewise.errors import UsageError
from samplewise.rng import RandomState, generator

__all__ = [
    "Domain",
    "Example",
    "Rule",
    "evaluate_rewriting",
    "in_domain",
    "make_examples",
    "make_rules",
    "render",
    "rewrite",
    "rule_counts",
    "run_markov",
    "smallest_above",
    "split_rules",
]

Domain: TypeAlias = Literal["free", "repeat", "period", "mirror"]

_TRIES = 1_000  # draws of a string or a rule before giving up
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Rule:
    """Replace `left` by `right`; `domain` and `strength` say how both were made."""

    left: str
    right: str
    domain: Domain = "free"
    strength: int = 1


@dataclass(frozen=True)
class Example:
    """A string, the rule to apply to it, and what comes of it.

    Parameters
    ----------
    text, output : str
    rule : Rule
    rule_id : int
        Place of the rule in the list that it was drawn from.
    has_op : bool
        Whether the rule applies at all.
    """

    text: str
    rule: Rule
    output: str
    rule_id: int
    has_op: bool


def rewrite(left: str, right: str, text: str) -> str:
    """Replace the leftmost occurrence of `left`, once; without one, the text stays as it is.

    Examples
    --------
    >>> rewrite("aa", "bac", "caaba"), rewrite("iss", "art", "canada")
    ('cbacba', 'canada')
    """
    return text.replace(left, right, 1)


def run_markov(
    rules: Sequence[tuple[str, str, bool]], text: str, *, most: int = 10_000
) -> tuple[str, int]:
    """Run a Markov algorithm: apply the first rule that matches, until none does or one stops.

    Parameters
    ----------
    rules : sequence of (left, right, stops)
        In order of precedence; an empty left side matches at the beginning.
    text : str
    most : int
        Steps at most.

    Returns
    -------
    text : str
    steps : int

    Raises
    ------
    UsageError
        If it has not stopped after `most` steps.

    Examples
    --------
    >>> run_markov([("ba", "ab", False)], "baba")  # sorts
    ('aabb', 3)
    """
    for step in range(most):
        found = next((rule for rule in rules if rule[0] in text), None)
        if found is None:
            return text, step
        text = rewrite(found[0], found[1], text)
        if found[2]:
            return text, step + 1
    raise UsageError(f"the rules have not stopped after {most} steps", mend="raise most=")


def in_domain(text: str, domain: Domain, strength: int) -> bool:
    """Say whether a string is of a domain: every letter repeated, a block repeated, or mirrored.

    Examples
    --------
    >>> in_domain("aaabbb", "repeat", 3), in_domain("abcabc", "period", 2)
    (True, True)
    >>> in_domain("abccbaabc", "mirror", 3), in_domain("abab", "mirror", 2)
    (True, False)
    """
    if domain == "free" or strength == 1:
        return True
    if domain == "repeat":
        blocks = [text[i : i + strength] for i in range(0, len(text), strength)]
        return all(len(set(block)) == 1 for block in blocks)
    block = text[: -(-len(text) // strength)]
    return text == _laid_out(block, domain, strength, len(text))


def make_rules(
    count: int,
    rng: RandomState = None,
    *,
    length: int = 20,
    alphabet: str = _ALPHABET,
    domain: Domain = "free",
    strengths: Sequence[int] = (1,),
    avoid: Sequence[Rule] = (),
    new_strings: bool = True,
) -> list[Rule]:
    """Draw distinct rules with sides of one length that differ.

    Parameters
    ----------
    count : int
    rng : int, numpy.random.Generator or None
    length : int
        Of each side.
    alphabet : str
    domain : {'free', 'repeat', 'period', 'mirror'}
    strengths : sequence of int
        How often a letter or a block is repeated; one is drawn for every rule. Where the length
        is no multiple of it, the last block is cut.
    avoid : sequence of Rule
        Rules that may not come again, such as those trained on.
    new_strings : bool
        Whether their sides may not come again either.

    Raises
    ------
    UsageError
        If there are not that many.

    Examples
    --------
    >>> rule = make_rules(1, 0, length=6, domain="period", strengths=[2])[0]
    >>> in_domain(rule.left, "period", 2) and in_domain(rule.right, "period", 2)
    True
    """
    random = generator(rng)
    taken = {(rule.left, rule.right) for rule in avoid}
    strings = {side for rule in avoid for side in (rule.left, rule.right)} if new_strings else set()
    rules: list[Rule] = []
    misses = 0
    while len(rules) < count:
        strength = int(random.choice(list(strengths)))
        left, right = (_string(random, length, alphabet, domain, strength) for _ in range(2))
        if left == right or (left, right) in taken or left in strings or right in strings:
            misses += 1
            if misses > _TRIES + 20 * count:
                raise UsageError(
                    f"{count} rules are asked for, and there are hardly more than {len(rules)}",
                    mend="ask for fewer, or give a longer length or a larger alphabet",
                )
            continue
        taken.add((left, right))
        rules.append(Rule(left, right, domain, strength))
    return rules


def split_rules(
    train: int, test: int, rng: RandomState = None, **how: object
) -> tuple[list[Rule], list[Rule]]:
    """Draw rules to train on and others to test with; `how` as `make_rules` takes it.

    Examples
    --------
    >>> train, test = split_rules(5, 3, 0, length=4)
    >>> {rule.left for rule in train} & {rule.left for rule in test}
    set()
    """
    random = generator(rng)
    first = make_rules(train, random, **how)  # type: ignore[arg-type]
    return first, make_rules(test, random, avoid=first, **how)  # type: ignore[arg-type]


def rule_counts(
    rules: int, total: int, rng: RandomState = None, *, alpha: float | None = None
) -> NDArray[np.int64]:
    """Share a fixed number of examples out among rules.

    Parameters
    ----------
    rules, total : int
        At least one example a rule.
    rng : int, numpy.random.Generator or None
    alpha : float, optional
        None: evenly, those left over to the first. Else multinomial with weights drawn from the
        power law of density alpha w^(alpha - 1) on (0, 1): the lower, the more uneven.

    Returns
    -------
    ndarray of int64, shape (rules,)

    Raises
    ------
    UsageError
        If there are fewer examples than rules, or alpha is not above 0.

    Examples
    --------
    >>> rule_counts(3, 10).tolist()
    [4, 3, 3]
    """
    if not 1 <= rules <= total:
        raise UsageError(f"{total} examples for {rules} rules", mend="give at least one a rule")
    if alpha is None:
        return (total // rules + (np.arange(rules) < total % rules)).astype(np.int64)
    if not alpha > 0:
        raise UsageError(f"alpha is {alpha}", mend="give more than 0")
    random = generator(rng)
    # The logarithm of a weight, since u^(1/alpha) vanishes for a small alpha.
    weights = np.log(random.random(rules)) / alpha
    weights = np.exp(weights - weights.max())
    return random.multinomial(total, weights / weights.sum()).astype(np.int64)


def make_examples(
    rules: Sequence[Rule],
    counts: Sequence[int] | NDArray[np.int64],
    rng: RandomState = None,
    *,
    length: int = 50,
    no_op: float = 0.0,
    alphabet: str = _ALPHABET,
) -> list[Example]:
    """Make examples of rules: a random string with the left side put somewhere into it.

    Parameters
    ----------
    rules : sequence of Rule
    counts : sequence of int
        Examples of each.
    rng : int, numpy.random.Generator or None
    length : int
        Of the input.
    no_op : float
        Probability that the input does not hold the left side at all, and stays as it is.
    alphabet : str

    Raises
    ------
    UsageError
        If a left side does not fit into the input, or none without it can be drawn.

    Examples
    --------
    >>> one = make_examples([Rule("ab", "cd")], [1], 0, length=6, alphabet="xyz")[0]
    >>> one.text.replace("ab", "cd") == one.output, one.has_op
    (True, True)
    """
    random = generator(rng)
    found = []
    for number, (rule, count) in enumerate(zip(rules, counts, strict=True)):
        if len(rule.left) > length:
            raise UsageError(
                f"a left side of {len(rule.left)} letters does not fit into {length}",
                mend="give a longer length",
            )
        for _ in range(int(count)):
            has_op = bool(random.random() >= no_op)
            text = (
                _with(rule.left, length, random, alphabet)
                if has_op
                else _without(rule.left, length, random, alphabet)
            )
            output = rewrite(rule.left, rule.right, text)
            found.append(Example(text, rule, output, number, has_op))
    return found


def render(example: Example) -> tuple[str, str]:
    """Write an example as a prompt and its answer; the form is our own.

    Examples
    --------
    >>> render(Example("caaba", Rule("aa", "bac"), "cbacba", 0, True))
    ('aa>bac|caaba=', 'cbacba.')
    """
    return f"{example.rule.left}>{example.rule.right}|{example.text}=", f"{example.output}."


def evaluate_rewriting(
    examples: Sequence[Example], answers: Sequence[str]
) -> dict[str, float | dict[tuple[str, int], float]]:
    """Measure exact matches: of all, of those where the rule applies or not, and by domain.

    Parameters
    ----------
    examples : sequence of Example
    answers : sequence of str
        What the model gave, without an end mark.

    Returns
    -------
    dict
        ``all``, ``has_op``, ``no_op`` (NaN where there are none) and ``domains``, which maps
        (domain, strength) to its share.

    Examples
    --------
    >>> one = Example("aa", Rule("b", "c"), "aa", 0, False)
    >>> evaluate_rewriting([one], ["aa"])["no_op"]
    1.0
    """
    right = np.array(
        [answer == one.output for one, answer in zip(examples, answers, strict=True)], bool
    )
    applies = np.array([one.has_op for one in examples], bool)
    kinds = [(one.rule.domain, one.rule.strength) for one in examples]
    return {
        "all": _mean(right),
        "has_op": _mean(right[applies]),
        "no_op": _mean(right[~applies]),
        "domains": {
            kind: _mean(right[np.array([one == kind for one in kinds])])
            for kind in sorted(set(kinds))
        },
    }


def smallest_above(
    train_and_score: Callable[[int], float], numbers: Sequence[int], threshold: float = 0.9
) -> tuple[dict[int, float], int | None]:
    """Sweep the number of rules, and find the smallest from which on the score stays above.

    Parameters
    ----------
    train_and_score : callable
        Trains on so many rules, always with the same total of examples, and gives the accuracy
        on rules not seen.
    numbers : sequence of int
    threshold : float

    Returns
    -------
    scores : dict of int to float
    smallest : int or None

    Examples
    --------
    >>> smallest_above(lambda rules: min(1.0, rules / 400), [100, 300, 400, 1000])[1]
    400
    """
    scores = {number: train_and_score(number) for number in sorted(numbers)}
    smallest = None
    for number in sorted(numbers, reverse=True):
        if scores[number] < threshold:
            break
        smallest = number
    return scores, smallest


def _letters(rng: np.random.Generator, length: int, alphabet: str) -> str:
    return "".join(alphabet[i] for i in rng.integers(len(alphabet), size=length))


def _string(
    rng: np.random.Generator, length: int, alphabet: str, domain: Domain, strength: int
) -> str:
    if domain == "free":
        return _letters(rng, length, alphabet)
    return _laid_out(_letters(rng, -(-length // strength), alphabet), domain, strength, length)


def _laid_out(block: str, domain: Domain, strength: int, length: int) -> str:
    """Repeat a block in the way of its domain, and cut what is too much."""
    if domain == "repeat":
        return "".join(letter * strength for letter in block)[:length]
    if domain == "period":
        return (block * strength)[:length]
    return "".join(block if i % 2 == 0 else block[::-1] for i in range(strength))[:length]


def _with(left: str, length: int, rng: np.random.Generator, alphabet: str) -> str:
    """Put the left side at a uniform place into random letters."""
    rest = _letters(rng, length - len(left), alphabet)
    place = int(rng.integers(len(rest) + 1))
    return rest[:place] + left + rest[place:]


def _without(left: str, length: int, rng: np.random.Generator, alphabet: str) -> str:
    for _ in range(_TRIES):
        text = _letters(rng, length, alphabet)
        if left not in text:
            return text
    raise UsageError(
        f"hardly any string of {length} letters lacks {left!r}",
        mend="give a longer left side or a larger alphabet, or no_op=0",
    )


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
