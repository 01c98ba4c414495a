"""The rewriting test bed: the card's examples, a Markov algorithm by hand, and its statistics."""

import itertools
import math

import numpy as np
import pytest

from samplewise.errors import UsageError
from samplewise.measure.rewriting import (
    Example,
    Rule,
    evaluate_rewriting,
    in_domain,
    make_examples,
    make_rules,
    rewrite,
    rule_counts,
    run_markov,
    smallest_above,
    split_rules,
)


def test_rewriting_by_hand():
    assert rewrite("aa", "bac", "caaba") == "cbacba"
    assert rewrite("iss", "art", "mississippi") == "martissippi"
    assert rewrite("iss", "art", "canada") == "canada"
    assert rewrite("aa", "b", "aaa") == "ba"


def test_a_markov_algorithm_appends_the_mirror_image():
    letters = "ab"
    rules = [
        *[(f"A{x}", f"{x}AB{x}", False) for x in letters],
        *[(f"B{x}{y}", f"{y}B{x}", False) for x in letters for y in letters],
        *[(f"AB{x}", f"{x}A", False) for x in letters],
        ("A", "", True),
        ("", "A", False),
    ]
    assert run_markov(rules, "abb") == ("abbbba", 11)
    assert run_markov(rules, "a") == ("aa", 4)
    assert run_markov(rules, "ab") == ("abba", 7)
    for length in range(6):
        for word in map("".join, itertools.product(letters, repeat=length)):
            assert run_markov(rules, word)[0] == word + word[::-1]
    with pytest.raises(UsageError, match="not stopped"):
        run_markov([("", "a", False)], "", most=50)


def test_inputs_hold_the_left_side_or_do_not():
    rules = make_rules(20, 0, length=3, alphabet="abc")
    examples = make_examples(rules, [50] * 20, 1, length=9, no_op=0.3, alphabet="abc")
    for one in examples:
        assert (one.rule.left in one.text) == one.has_op
        assert len(one.text) == 9
        assert one.output == rewrite(one.rule.left, one.rule.right, one.text)
        assert one.has_op or one.output == one.text
    share = np.mean([not one.has_op for one in examples])
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / len(examples))


def test_the_place_of_the_left_side_is_uniform():
    rule = Rule("##", "!!")
    examples = make_examples([rule], [4_000], 2, length=12)
    places = np.bincount([one.text.index("##") for one in examples], minlength=11)
    expected = 4_000 / 11
    assert ((places - expected) ** 2 / expected).sum() < 29.6  # chi-square, 10 df, 1e-3


def test_train_and_test_share_no_rule_and_no_string():
    train, test = split_rules(300, 100, 3, length=5)
    sides = [{side for rule in part for side in (rule.left, rule.right)} for part in (train, test)]
    assert not sides[0] & sides[1]
    assert len({(rule.left, rule.right) for rule in (*train, *test)}) == 400
    assert all(rule.left != rule.right for rule in (*train, *test))
    pairs = split_rules(10, 5, 3, length=2, alphabet="abc", new_strings=False)
    assert not {(r.left, r.right) for r in pairs[0]} & {(r.left, r.right) for r in pairs[1]}


@pytest.mark.parametrize(
    ("domain", "strength", "length"), [("repeat", 3, 9), ("period", 2, 6), ("mirror", 3, 9)]
)
def test_domains(domain, strength, length):
    rules = make_rules(50, 4, length=length, domain=domain, strengths=[strength])
    for rule in rules:
        for side in (rule.left, rule.right):
            assert len(side) == length
            assert in_domain(side, domain, strength)
            block = side[: length // strength]
            if domain == "repeat":
                assert side == "".join(c * strength for c in side[::strength])
            elif domain == "period":
                assert side == block * strength
            else:
                assert side == block + block[::-1] + block
    free = make_rules(50, 5, length=length, domain=domain, strengths=[1])
    assert not all(in_domain(rule.left, domain, strength) for rule in free)
    halves = make_rules(50, 6, length=8, domain="mirror", strengths=[2])
    assert all(rule.left == rule.left[::-1] for rule in halves)
    cut = make_rules(20, 7, length=7, domain=domain, strengths=[3])
    assert all(in_domain(rule.left, domain, 3) and len(rule.left) == 7 for rule in cut)


def test_counts():
    assert rule_counts(4, 100).tolist() == [25] * 4
    assert rule_counts(50, 10_000, 0, alpha=0.5).sum() == 10_000
    even = rule_counts(50, 100_000, 1, alpha=1_000)
    assert (abs(even - 2_000) < 5 * math.sqrt(2_000) + 2_000 * 0.01).all()

    def gini(counts):
        order = np.sort(counts)
        n = len(order)
        return (2 * (np.arange(1, n + 1) * order).sum() / order.sum() - n - 1) / n

    spread = [
        np.mean([gini(rule_counts(200, 100_000, seed, alpha=a)) for seed in range(5)])
        for a in (2, 1, 0.5, 0.2, 0.1, 0.03)
    ]
    assert spread == sorted(spread)


def test_evaluation():
    rules = make_rules(10, 8, length=4)
    examples = make_examples(rules, [20] * 10, 9, length=12, no_op=0.5)
    oracle = evaluate_rewriting(examples, [one.output for one in examples])
    assert (oracle["all"], oracle["has_op"], oracle["no_op"]) == (1, 1, 1)
    assert oracle["domains"] == {("free", 1): 1.0}
    lazy = evaluate_rewriting(examples, [one.text for one in examples])
    assert (lazy["has_op"], lazy["no_op"]) == (0, 1)
    only = [Example("a", Rule("a", "b"), "b", 0, True)]
    assert math.isnan(evaluate_rewriting(only, ["b"])["no_op"])
    with pytest.raises(ValueError, match="zip"):
        evaluate_rewriting(only, [])


def test_the_smallest_number_from_which_on_it_stays_above():
    scores = {10: 0.95, 100: 0.2, 500: 0.92, 1_000: 0.97}
    assert smallest_above(scores.__getitem__, list(scores)) == (scores, 500)
    assert smallest_above(lambda n: 0.0, [1, 2])[1] is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_rules(10, 0, length=1, alphabet="ab"), "hardly more than 2"),
        (lambda: rule_counts(10, 9), "9 examples for 10 rules"),
        (lambda: rule_counts(1, 9, alpha=0), "alpha is 0"),
        (lambda: make_examples([Rule("abc", "d")], [1], 0, length=2), "does not fit into 2"),
        (
            lambda: make_examples([Rule("a", "b")], [1], 0, length=9, no_op=1, alphabet="a"),
            "lacks 'a'",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(call, words):
    with pytest.raises(UsageError, match=words):
        call()
