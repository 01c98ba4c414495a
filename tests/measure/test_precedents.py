"""Cases in time: nothing later than a query is ever its candidate or its precedent."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.errors import InputError, UsageError
from samplewise.measure.precedents import Precedents


def record(number, date, citations=(), facts=("f",), law=("l",)):
    return {
        "appno": number,
        "date": date,
        "facts": list(facts),
        "law": list(law),
        "citations": list(citations),
    }


def test_lists_as_text_and_several_forms_of_dates():
    cases = Precedents.from_records(
        [
            record("3/80", "3 March 1980", ["1/60", " 2/70 "]),
            record("1/60", datetime.date(1960, 1, 1)) | {"facts": "['a', 'b']", "citations": "[]"},
            record("2/70", "01/02/1970") | {"law": "", "citations": "['1/60', '1/60']"},
        ]
    )
    assert [case.number for case in cases.cases] == ["1/60", "2/70", "3/80"]
    assert cases.cases[0].facts == ("a", "b")
    assert cases.cases[1].date == datetime.date(1970, 2, 1)
    assert [found.tolist() for found in cases.cited] == [[], [0], [0, 1]]
    assert cases.dropped == {"unknown": 0, "not_earlier": 0, "repeated": 1}
    assert cases.cases[0].view("facts+law") == "a\nb\nl"


def test_a_citation_without_letter_means_the_latest_earlier_judgment():
    cases = Precedents.from_records(
        [
            record("332/57A", "1960-01-01"),
            record("332/57B", "1965-01-01"),
            record("9/62", "1962-01-01", ["332/57"]),
            record("9/70", "1970-01-01", ["332/57", "332/57B"]),
            record("9/59", "1959-01-01", ["332/57", "9/59", "77/77"]),
        ]
    )
    by_number = {case.number: cases.cited[i] for i, case in enumerate(cases.cases)}
    names = [case.number for case in cases.cases]
    assert [names[i] for i in by_number["9/62"]] == ["332/57A"]
    assert [names[i] for i in by_number["9/70"]] == ["332/57B"]
    assert not len(by_number["9/59"])
    assert cases.dropped == {"unknown": 1, "not_earlier": 2, "repeated": 1}


DAYS = st.dates(datetime.date(2000, 1, 1), datetime.date(2000, 1, 20))


@settings(max_examples=50)
@given(st.lists(st.tuples(DAYS, st.lists(st.integers(0, 11), max_size=5)), min_size=2, max_size=12))
def test_time_only_runs_forward(drawn):
    cases = Precedents.from_records(
        record(f"{i}/00", day, [f"{j}/00" for j in cites]) for i, (day, cites) in enumerate(drawn)
    )
    for query, case in enumerate(cases.cases):
        earlier = cases.candidates(query)
        assert not earlier[query]
        assert earlier[cases.relevant(query)].all()
        assert all(cases.cases[i].date < case.date for i in np.flatnonzero(earlier))
    splits = cases.split("2000-01-05", "2000-01-10")
    parts = [splits.train, splits.development, splits.test]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert all(len(cases.cited[query]) for query in together)
    assert all(cases.cases[i].date <= splits.train_end for i in splits.train)
    assert all(cases.cases[i].date > splits.development_end for i in splits.test)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"date": "yesterday"}, "field 'date': is 'yesterday'"),
        ({"facts": "not a list"}, "field 'facts': is no list"),
        ({"law": "__import__('os')"}, "field 'law': is no list"),
        ({"citations": [1]}, "field 'citations': holds something"),
    ],
)
def test_what_cannot_be_read_is_named(change, words):
    with pytest.raises(InputError, match=words):
        Precedents.from_records([record("1/60", "1960-01-01") | change])


def test_other_mistakes():
    twice = [record("1/60", "1960-01-01"), record("1/60", "1961-01-01")]
    with pytest.raises(InputError, match="'1/60' comes twice"):
        Precedents.from_records(twice)
    with pytest.raises(InputError, match="field 'law': is missing"):
        Precedents.from_records([{"appno": "1", "date": "1960-01-01", "facts": []}])
    cases = Precedents.from_records(twice[:1])
    with pytest.raises(UsageError, match="earlier day first"):
        cases.split("1970-01-01", "1960-01-01")
    with pytest.raises(UsageError, match="view 'outcome'"):
        cases.cases[0].view("outcome")
