"""Formats of infilling: they can be undone, and masks and losses stand where they should."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from samplewise.errors import InputError, UsageError
from samplewise.train.documents import DocumentFile, PairedWords
from samplewise.train.infill import (
    InfillMixture,
    Marks,
    attention_mask,
    infill_decode,
    infill_prompt,
    prefix_suffix_middle,
    restore,
    span_corrupt,
    undo_prefix_suffix_middle,
)
from samplewise.train.policy import Policy

MARKS = Marks.after(100, masks=6)
documents = st.lists(st.integers(2, 99), max_size=40)
ratios = st.tuples(st.floats(0.01, 0.95), st.floats(0.01, 0.95)).map(sorted)


@settings(max_examples=300)
@given(documents, ratios, st.booleans(), st.integers(0, 2**31))
def test_spans_are_put_back_and_stand_where_they_should(ids, ratio, touching, seed):
    rng = np.random.default_rng(seed)
    made, spans = span_corrupt(ids, MARKS, rng, *ratio, touching=touching)
    assert restore(made, MARKS) == ids
    if len(ids) < 2:
        assert (made, spans) == (ids, [])
        return
    assert len(made) == len(ids) + 3 * len(spans) + 2
    numbered = [token for token in made if token in MARKS.masks]
    assert numbered == [*MARKS.masks[: len(spans)]] * 2
    assert made.count(MARKS.end_of_mask) == len(spans)
    masked = sum(map(len, spans))
    low, high = (max(1, min(len(ids) - 1, round(r * len(ids)))) for r in ratio)
    assert low <= masked <= high
    assert all(spans)
    head = made[: made.index(MARKS.separator)]
    touched = any(
        one in MARKS.masks and other in MARKS.masks for one, other in itertools.pairwise(head)
    )
    assert touching or not touched


@settings(max_examples=200)
@given(documents, st.integers(0, 2**31))
def test_the_middle_is_put_back(ids, seed):
    made = prefix_suffix_middle(ids, MARKS, np.random.default_rng(seed))
    assert undo_prefix_suffix_middle(made, MARKS) == ids
    if len(ids) > 1:
        assert len(made) == len(ids) + 4


def pieces_of(ids):
    """Split formatted documents: an end that a separator follows is not a document's."""
    pieces, piece = [], []
    for place, token in enumerate(ids):
        following = ids[place + 1] if place + 1 < len(ids) else None
        if token == MARKS.end and following != MARKS.separator:
            pieces.append(piece)
            piece = []
        else:
            piece.append(token)
    return [*pieces, piece] if piece else pieces


@settings(max_examples=100)
@given(st.lists(documents.filter(len), min_size=1, max_size=4), st.integers(0, 2**31))
def test_documents_are_corrupted_each_by_itself(texts, seed):
    packed = [token for text in texts for token in (*text, MARKS.end)]
    made = InfillMixture(p_clm=0.0).format(packed, MARKS, np.random.default_rng(seed))
    assert [restore(piece, MARKS) for piece in pieces_of(made.ids)] == texts
    assert made.ids.count(MARKS.separator) == sum(len(text) > 1 for text in texts)
    assert all(made.scored)
    assert len(made.scored) == len(made.ids)


def test_all_causal_is_the_identity_and_a_seed_decides():
    packed = [5, 6, 7, 1, 8, 9]
    made = InfillMixture(p_clm=1.0).format(packed, MARKS, np.random.default_rng(0))
    assert (made.ids, all(made.scored), made.prefix, made.corrupted) == (packed, True, 0, False)
    half = InfillMixture()
    first, again = (half.format(packed, MARKS, np.random.default_rng(4)) for _ in range(2))
    assert first == again
    seen = {tuple(half.format(packed, MARKS, np.random.default_rng(s)).ids) for s in range(20)}
    assert len(seen) > 5, "another seed, other spans"


def test_loss_stands_where_it_should():
    packed = [*range(2, 12), 1, *range(12, 20)]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        targets = InfillMixture(p_clm=0.0, loss_on="targets").format(packed, MARKS, rng)
        rng = np.random.default_rng(seed)
        prefix = InfillMixture(p_clm=0.0, prefix=True).format(packed, MARKS, rng)
        assert targets.ids == prefix.ids
        cut = prefix.ids.index(MARKS.separator) + 1
        assert prefix.prefix == cut
        assert prefix.scored == [False] * cut + [True] * (len(prefix.ids) - cut)
        spans = targets.ids.count(MARKS.end_of_mask)
        kept = [token for token, flag in zip(targets.ids, targets.scored, strict=True) if flag]
        assert kept.count(MARKS.end_of_mask) == spans
        assert MARKS.separator not in kept


def test_objectives_and_ratios_are_drawn_as_asked():
    loop, rng, count = InfillMixture(), np.random.default_rng(0), 10_000
    packed = list(range(2, 42))
    share = np.mean([loop.format(packed, MARKS, rng).corrupted for _ in range(count)])
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(count)
    low, high, n = 0.1, 0.5, 40
    taken = [sum(map(len, span_corrupt(packed, MARKS, rng, low, high)[1])) for _ in range(4_000)]
    edges = np.clip((np.arange(4, 22) - 0.5) / n, low, high)
    expected = np.diff(edges) / (high - low)
    found = np.bincount(taken, minlength=21)[4:21]
    assert stats.chisquare(found, expected * len(taken)).pvalue > 1e-4


def test_masks_are_as_likely_everywhere():
    rng, n = np.random.default_rng(1), 20
    one = Marks.after(100, masks=1)
    ids = list(range(2, 2 + n))
    counts = np.zeros(n)
    for _ in range(4_000):
        spans = span_corrupt(ids, one, rng, 0.05, 0.05)[1]
        assert [len(span) for span in spans] == [1]
        counts[spans[0][0] - 2] += 1
    assert stats.chisquare(counts).pvalue > 1e-4


def test_the_prefix_is_read_in_both_directions_and_nothing_else():
    assert torch.equal(attention_mask(5), torch.ones(5, 5).tril().bool())
    learner = InfillMixture(batch=1).begin(steps=1, rng=0)
    model = learner.policy.model.double()

    def logits(ids, prefix):
        allowed = attention_mask(len(ids), prefix)
        added = torch.zeros(allowed.shape, dtype=torch.float64)
        added = added.masked_fill(~allowed, torch.finfo(torch.float64).min)
        with torch.no_grad():
            return model(
                input_ids=torch.tensor([ids]), attention_mask=added[None, None], use_cache=False
            ).logits[0]

    ids = [5, 6, 7, 8, 9, 10]
    with torch.no_grad():
        causal = model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(logits(ids, 0), causal)
    for prefix in (0, 3):
        before = logits(ids, prefix)
        for changed in range(6):
            other = [*ids]
            other[changed] = 20
            moved = (logits(other, prefix) - before).abs().amax(dim=1) > 1e-12
            sees = attention_mask(6, prefix)[:, changed]
            # Through a layer between, those of the prefix see what any of it sees.
            assert moved.tolist() == sees.tolist()


def test_prompts_and_what_is_read_of_an_answer():
    assert infill_prompt([2, 3], [4], MARKS) == [2, 3, 105, 4, 1, 100, 105]
    made, spans = span_corrupt([2, 3, 4], MARKS, np.random.default_rng(0), 0.34, 0.34)
    assert len(spans) == 1
    at = made.index(MARKS.masks[0])
    prefix, suffix = made[:at], made[at + 1 : made.index(MARKS.separator) - 1]
    assert made == [*infill_prompt(prefix, suffix, MARKS), *spans[0], MARKS.end_of_mask]
    assert infill_decode([7, MARKS.end, 8, MARKS.end_of_mask, 9], MARKS) == [7, MARKS.end, 8]
    assert infill_decode([7, 8], MARKS) == [7, 8]


@pytest.mark.parametrize(
    "knobs", [{}, {"objective": "middle"}, {"prefix": True, "loss_on": "targets"}]
)
def test_it_learns_and_goes_on_bit_for_bit(knobs, tmp_path):
    def begin(rng):
        loop = InfillMixture(batch=4, **knobs)
        return loop.begin(PairedWords(documents=50, test=8), steps=12, rng=rng)

    whole, stopped = begin(0), begin(0)
    for _ in range(12):
        whole.advance()
    for _ in range(5):
        stopped.advance()
    stopped.save(tmp_path / "checkpoint.pt")
    again = begin(9)
    again.load(tmp_path / "checkpoint.pt")
    for _ in range(7):
        again.advance()
    first, second = (one.parts["model"].state_dict() for one in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole.history[-1]["loss"] < whole.history[0]["loss"]
    assert set(whole.evaluate()) == {"left_to_right", "infill", "wrong_suffix", "exact"}


def test_documents(tmp_path):
    task = PairedWords(documents=30, test=5)
    for number in (0, 34):
        text = task.document(number)
        first, second = text[:3], text[4:7]
        assert text == f"{first}={second};{first}.{second};"
    file = tmp_path / "texts.txt"
    file.write_text("one\ntwo\n\nthree\n\n\nfour\n")
    read = DocumentFile(str(file), test=1)
    assert [read.document(number) for number in range(3)] == ["one\ntwo", "three", "four"]
    assert (read.count, read.held_out, read.gap(0)) == (2, 1, (2, 4))
    with pytest.raises(InputError, match="held out"):
        DocumentFile(str(file), test=3)
    with pytest.raises(InputError, match="cannot be read"):
        DocumentFile(str(tmp_path / "none.txt"))


def test_special_tokens_stand_for_no_character():
    policy = Policy.small(special=3)
    size = policy.model.config.vocab_size
    assert policy.decode([*policy.encode("ab"), size - 1, size - 3]) == "ab"


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"p_clm": 1.5}, "p_clm"),
        ({"ratio_low": 0.6}, "ratio_low"),
        ({"ratio_high": 1.0}, "ratio_high"),
        ({"length": 1}, "length"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_bad_knobs_are_refused(knobs, word):
    with pytest.raises(UsageError, match=word):
        InfillMixture(**knobs)


def test_a_broken_format_is_told():
    made, _ = span_corrupt(list(range(2, 12)), MARKS, np.random.default_rng(0))
    twice = [*made, MARKS.masks[0], 5, MARKS.end_of_mask]
    with pytest.raises(UsageError, match="twice"):
        restore(twice, MARKS)
    cut = made[: made.index(MARKS.separator) + 1]
    with pytest.raises(UsageError, match="missing"):
        restore(cut, MARKS)
