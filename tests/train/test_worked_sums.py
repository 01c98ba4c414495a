import pickle

import pytest

from samplewise.errors import UsageError
from samplewise.train.worked_sums import WorkedSums


def test_every_solution_is_right_and_works_the_sum_out():
    task = WorkedSums(terms=4, base=7, passes=3, problems=200, test=50)
    passes = set()
    for number in range(task.count + task.held_out):
        digits = [int(digit) for digit in task.prompt(number)[:-1]]
        working, answer = task.solution(number).split("=")
        assert task.reward(number, task.solution(number)) == 1.0
        assert int(answer) == sum(digits) % 7
        parts = working.split(";")
        assert set(parts) == {"".join(str(sum(digits[: k + 1]) % 7) for k in range(1, 4))}
        passes.add(len(parts))
    assert passes == {1, 2, 3}


def test_no_problem_is_both_learned_and_tested():
    task = WorkedSums(terms=2, base=5, problems=6, test=6)
    assert len(set(task.sums)) == 12
    assert pickle.loads(pickle.dumps(task)).sums == task.sums


def test_the_longest_solution_fits():
    task = WorkedSums()
    assert max(len(task.solution(number)) + 1 for number in range(task.count)) <= task.longest


@pytest.mark.parametrize(
    "knobs", [{"terms": 1}, {"base": 11}, {"base": 1}, {"passes": 0}, {"problems": 0}, {"terms": 3}]
)
def test_what_cannot_be_made_is_refused(knobs):
    with pytest.raises(
        UsageError, match=next(iter(knobs)) if knobs != {"terms": 3} else "problems"
    ):
        WorkedSums(**knobs)
