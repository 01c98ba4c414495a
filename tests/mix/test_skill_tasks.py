import re

import numpy as np
import pytest

from samplewise.errors import UsageError
from samplewise.mix.skill_tasks import CHAIN, addition, lego

TREE = (None, 0, 0, 1, 1)
CHAINS = (None, 0, 1, None, 3)


def solve(question):
    """Follow the assignments of a question from the variable it asks for."""
    told = dict(re.findall(r"(\w) = ((?:val|not) \w)(?= [,.])", question))
    variable = re.search(r"Output: (\w) = val $", question)[1]
    turned, steps = 0, 0
    while True:
        word, variable = told[variable].split()
        turned ^= word == "not"
        if variable.isdigit():
            return str(int(variable) ^ turned), steps
        steps += 1


def depth(parents, skill):
    return 0 if parents[skill] is None else 1 + depth(parents, parents[skill])


@pytest.mark.parametrize("parents", [CHAIN, TREE, CHAINS])
def test_following_the_clauses_gives_the_answer(parents):
    count = 2_000 if parents == CHAIN else 100  # 10,000 on the chain
    for skill in range(5):
        made = lego(count, skill, parents=parents, rng=skill)
        for example in made:
            assert solve(example.question) == (example.answer, depth(parents, skill))
            assert example.skill == skill
        assert len({example.question for example in made}) == count


def test_answers_are_even_and_the_first_variable_is_told():
    for skill in range(5):
        made = lego(2_000, skill, rng=10 + skill)
        ones = sum(example.answer == "1" for example in made)
        assert abs(ones - 1_000) < 4 * np.sqrt(500)
    for example in lego(200, 0, rng=0):
        asked = example.question[-len("x = val ")]
        assert f"{asked} = val {example.answer} " in example.question


def test_clauses_come_in_every_order():
    places = [
        example.question.split(" , ").index(clause)
        for example in lego(600, 0, rng=0)
        for clause in example.question.split(" , ")
        if re.search(r"= val \d", clause)
    ]
    assert min(np.bincount(places, minlength=5)) > 70


def test_addition():
    for skill in range(3):
        made = addition(500, skill, rng=skill)
        for example in made:
            digits = re.fullmatch(
                r"Input: A = (\d \d \d) \+ (\d \d \d) , A (\d) = \? Output: ", example.question
            )
            a, b = (int(digits[i].replace(" ", "")) for i in (1, 2))
            assert int(digits[3]) == example.skill == skill
            assert max(a, b) < 999
            assert example.answer == str(a + b).zfill(4)[-1 - skill]


def test_the_same_seed_makes_the_same_questions():
    assert lego(5, 2, rng=1) == lego(5, 2, rng=1) != lego(5, 2, rng=2)
    assert addition(5, 2, rng=1) == addition(5, 2, rng=1) != addition(5, 2, rng=2)


@pytest.mark.parametrize(
    ("skill", "parents", "count"),
    [(5, CHAIN, 1), (-1, CHAIN, 1), (0, (0,), 1), (0, (None, 2, None), 1), (0, (None,), 27)],
)
def test_lego_refuses_what_cannot_be(skill, parents, count):
    with pytest.raises(UsageError):
        lego(count, skill, parents=parents, rng=0)


def test_addition_refuses_what_cannot_be():
    for count, skill in ((1, 3), (-1, 0)):
        with pytest.raises(UsageError):
            addition(count, skill, rng=0)
