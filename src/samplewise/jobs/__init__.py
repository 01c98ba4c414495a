"""What a command does from its input to its report, in a run folder that can be resumed."""

from samplewise.jobs.answer_comparison import AnswersJob, run_compare_answers
from samplewise.jobs.answering import AnswerJob, run_answer
from samplewise.jobs.comparison import CompareJob, Comparison, compare, run_compare
from samplewise.jobs.proxies import Figure, Proxy
from samplewise.jobs.rerun import rerun
from samplewise.jobs.selection import SelectJob, run_select

__all__ = [
    "AnswerJob",
    "AnswersJob",
    "CompareJob",
    "Comparison",
    "Figure",
    "Proxy",
    "SelectJob",
    "compare",
    "rerun",
    "run_answer",
    "run_compare",
    "run_compare_answers",
    "run_select",
]
