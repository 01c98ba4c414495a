import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise.errors import UsageError
from samplewise.train.document_streams import DocumentStreams, shortest_queues

END = 2


def library(lengths):
    """Documents whose tokens are all different, from 10 on."""
    starts = 10 + np.cumsum([0, *lengths])
    return [np.arange(start, start + n) for start, n in zip(starts, lengths, strict=False)]


def rows_of(documents, queues):
    """The streams by the definition."""
    return [
        np.concatenate([np.append(documents[number], END) for number in queue]) for queue in queues
    ]


LENGTHS = st.lists(st.integers(1, 12), min_size=4, max_size=12)


@given(LENGTHS, st.sampled_from([1, 2, 4]), st.integers(1, 9), st.data())
@settings(max_examples=80)
def test_every_token_is_scored_once_save_the_first_of_each_stream(lengths, rows, length, data):
    shift = data.draw(st.integers(1, length))
    documents = library(lengths)
    streams = DocumentStreams(documents, rows, length, shift=shift, end=END)
    scored = [[] for _ in range(rows)]
    count = 0
    for number, window in enumerate(streams):
        count += 1
        for row in range(rows):
            mask = window.scored[0, row]
            scored[row] += window.targets[0, row, mask].tolist()
            if number:
                assert not mask[: length - shift].any()
            # A target is the token after its input.
            whole = rows_of(documents, streams.queues)[row]
            part = whole[number * shift : number * shift + length + 1]
            assert window.inputs[0, row, : len(part)].tolist() == part[:length].tolist()
            assert window.targets[0, row, : max(0, len(part) - 1)].tolist() == part[1:].tolist()
    assert count == streams.windows
    assert scored == [row[1:].tolist() for row in rows_of(documents, streams.queues)]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 6))
def test_queues_differ_by_the_longest_document_at_most(lengths, count):
    queues = shortest_queues(lengths, count)
    assert sorted(number for queue in queues for number in queue) == list(range(len(lengths)))
    assert all(queue == sorted(queue) for queue in queues)
    loads = [sum(lengths[number] for number in queue) for queue in queues]
    assert max(loads) - min(loads) <= max(lengths)


def test_equal_queues_are_filled_from_the_first():
    assert shortest_queues([3, 3, 3, 1, 1], 3) == [[0, 3], [1, 4], [2]]


def test_micro_batches_only_split_the_rows():
    documents = library([5, 9, 3, 7, 8, 2, 6, 4, 1, 5])
    whole = list(DocumentStreams(documents, 8, 4))
    for parts in (2, 8):
        split = list(DocumentStreams(documents, 8, 4, micro_batches=parts))
        assert len(split) == len(whole)
        for one, other in zip(split, whole, strict=True):
            assert one.inputs.shape == (parts, 8 // parts, 4)
            assert one.is_padded == other.is_padded
            for name in ("inputs", "targets", "scored"):
                rows = getattr(one, name).reshape(1, 8, 4)
                np.testing.assert_array_equal(rows, getattr(other, name))


def test_streams_that_repeat_go_round_and_are_never_padded():
    documents = library([3, 2, 4])
    streams = DocumentStreams(documents, 2, 5, repeat=True)
    rings = rows_of(documents, streams.queues)
    assert streams.windows is None
    for number, window in zip(range(9), streams, strict=False):
        for row, ring in enumerate(rings):
            places = np.arange(number * 5, number * 5 + 6) % len(ring)
            np.testing.assert_array_equal(window.inputs[0, row], ring[places[:-1]])
            np.testing.assert_array_equal(window.targets[0, row], ring[places[1:]])
        assert window.scored.all()
        assert not window.is_padded


def test_a_token_may_be_like_the_padding():
    streams = DocumentStreams([np.zeros(5, np.int32), np.ones(2, np.uint8)], 2, 8)
    [window] = streams
    assert window.scored[0].sum(axis=1).tolist() == [5, 2]
    assert window.is_padded
    assert window.inputs.dtype == np.int64


def test_it_goes_on_from_a_state():
    documents = library([9, 9, 9])
    streams = DocumentStreams(documents, 2, 3)
    iterator = iter(streams)
    next(iterator)
    state = streams.state_dict()
    rest = [window.inputs.tolist() for window in iterator]
    other = DocumentStreams(documents, 2, 3)
    other.load_state_dict(state)
    assert [window.inputs.tolist() for window in other] == rest


def test_documents_may_be_on_disk(tmp_path):
    documents = library([6, 5])
    for number, one in enumerate(documents):
        np.save(tmp_path / f"{number}.npy", one)
    mapped = [np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in range(2)]
    for one, other in zip(
        DocumentStreams(mapped, 1, 4), DocumentStreams(documents, 1, 4), strict=True
    ):
        np.testing.assert_array_equal(one.inputs, other.inputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shift": 0}, "shift is 0"),
        ({"shift": 5}, "shift is 5"),
        ({"batch_size": 3}, "there are 2 documents for 3 rows"),
        ({"micro_batches": 2}, "micro_batches 2"),
        ({"documents": [np.ones(3)]}, "document 0 has the shape .3,. and the type float64"),
        ({"documents": [np.empty(0, int)]}, "document 0 has the shape .0,."),
    ],
)
def test_what_cannot_be_streamed_is_refused(arguments, message):
    given = {"documents": library([4, 4]), "batch_size": 1, "length": 4}
    with pytest.raises(UsageError, match=message):
        DocumentStreams(**given | arguments)
