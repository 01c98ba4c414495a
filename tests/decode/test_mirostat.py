"""The law, the loop, and the processor of Mirostat."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplewise import registry
from samplewise.decode.mirostat import Mirostat, MirostatV2
from samplewise.decode.samplers import PLAIN, make_processors
from samplewise.errors import UsageError
from tiny_models import save_model

BOTH = pytest.mark.parametrize("cls", [Mirostat, MirostatV2])


def zipf_logits(s, size):
    return -s * np.log(np.arange(1, size + 1))


def run(method, laws, rng, rows=None):
    """Draw from one table of logits after the other; give the last state and all that is known."""
    state, found = method.start(rows), []
    for logits in laws:
        _, state, drawn = method.step(logits, state, rng)
        found.append(drawn)
    return state, [np.array(column) for column in zip(*found, strict=True)]


def kept(method, logits, mu):
    """Say which tokens of one row stay."""
    return method.law(np.atleast_2d(logits), np.array([mu]), np).keep[0]


# --- exact ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("eta", [1.0, 0.1])
@pytest.mark.parametrize("surprise", ["model", "truncated"])
def test_errors_add_up_to_the_way_mu_went(cls, eta, surprise):
    rng = np.random.default_rng(0)
    laws = 3 * rng.normal(size=(300, 200))
    method = cls(tau=2.5, eta=eta, surprise=surprise)
    state, (surprises, errors, *_) = run(method, laws, rng)
    assert state.mu == pytest.approx(2 * 2.5 - eta * errors.sum(), abs=1e-9)
    assert errors.mean() == pytest.approx((5 - state.mu) / (eta * 300), abs=1e-9)
    if surprise == "model":
        np.testing.assert_allclose(errors, surprises - 2.5)
    else:
        assert (errors < surprises - 2.5).any()


@BOTH
def test_a_high_limit_is_plain_sampling_and_a_low_one_greedy(cls):
    laws = np.random.default_rng(0).normal(size=(20, 50)) * 4
    for logits in laws:
        assert kept(cls(), logits, 1e9).all()
        for mu in (-20.0, -1e9):
            assert np.flatnonzero(kept(cls(), logits, mu)) == [logits.argmax()]


def test_the_second_version_is_greedy_up_to_the_first_tokens_surprise():
    logits = np.log([0.1, 0.5, 0.4])
    assert kept(MirostatV2(), logits, 0.99).tolist() == [False, True, False]
    assert kept(MirostatV2(), logits, 1.01).tolist() == [False, True, False]
    assert kept(MirostatV2(), logits, 1.33).tolist() == [False, True, True]
    uniform = kept(MirostatV2(), np.zeros(8), 2.9)
    assert uniform.sum() == 1  # one token, even where others are as likely


def test_the_first_version_keeps_the_rank_of_the_surprise():
    logits = np.random.default_rng(0).permutation(zipf_logits(1.1, 50_000))
    assert kept(Mirostat(rounding="floor"), logits, 6.0).sum() == 7  # 7.88
    assert kept(Mirostat(rounding="script"), logits, 6.0).sum() == 9
    for s, k in ((1.5, 10), (2.0, 8)):  # 10.11, 8.00
        assert kept(Mirostat(rounding="floor"), zipf_logits(s, 50_000), 6.0).sum() == k
    # Greedy where the first rank alone has the limit's surprise.
    first = math.log2((1 - 50_000**-0.1) / 0.1)
    assert kept(Mirostat(rounding="floor"), logits, first).sum() == 1


@given(st.integers(0, 10**6), st.integers(1, 60), st.booleans(), st.sampled_from(["v1", "v2"]))
@settings(max_examples=80)
def test_the_likeliest_tokens_stay_and_more_of_them_as_the_limit_grows(seed, size, ties, version):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=size) * 3
    logits = logits.round() if ties else logits
    logits[rng.random(size) < 0.2] = -np.inf
    logits[rng.integers(size)] = 5.0
    method = Mirostat(candidates=10) if version == "v1" else MirostatV2()
    before = np.zeros(size, bool)
    for mu in np.sort(rng.uniform(-3, 12, 6)):
        now = kept(method, logits, mu)
        assert now.any()
        assert logits[now].min() >= logits[~now].max(initial=-np.inf)
        assert now.sum() >= before.sum()
        if version == "v2" or not ties:
            assert not (before & ~now)[logits > -np.inf].any()
        before = now


@BOTH
def test_a_uniform_law_has_one_surprise(cls):
    _, (surprises, *_) = run(cls(tau=1.0), np.zeros((40, 64)), np.random.default_rng(0))
    np.testing.assert_allclose(surprises, 6.0)


@BOTH
def test_one_possible_token_lifts_the_limit_by_a_step(cls):
    logits = np.full(16, -np.inf)
    logits[3] = 2.0
    state, (surprises, errors, _, mu, saturated) = run(
        cls(tau=2.0, eta=0.5), [logits] * 30, np.random.default_rng(0)
    )
    np.testing.assert_allclose(surprises, 0, atol=1e-12)
    np.testing.assert_allclose(errors, -2.0)
    np.testing.assert_allclose(mu, 4.0 + np.arange(30))
    assert saturated.tolist() == [i >= 16 for i in range(30)]  # from log2 16 + 16 on
    assert state.mu == pytest.approx(34.0)


def test_the_limit_stops_at_its_cap():
    state, (*_, mu, saturated) = run(MirostatV2(tau=3.0, mu_max=7.0), [[0.0, -np.inf]] * 5, 0)
    assert mu.tolist() == [6.0, 7.0, 7.0, 7.0, 7.0]
    assert saturated.tolist() == [False, True, True, True, True]
    assert state.mu == 7.0
    assert run(MirostatV2(tau=3.0, mu_max=math.inf), [[0.0, -np.inf]] * 5, 0)[0].mu == 21.0


def test_surprise_is_in_bits():
    logits = np.log([0.8, 0.2])
    assert kept(MirostatV2(), logits, 2.0).tolist() == [True, False]  # 2.32 bits, 1.61 nats
    assert kept(MirostatV2(), logits, 2.33).all()


def test_truncated_surprise_is_that_of_what_is_left():
    logits = np.log([0.5, 0.3, 0.2])
    token, state, drawn = MirostatV2(tau=1.0, surprise="truncated").step(
        logits, MirostatV2(tau=1.0).start(), rng=1
    )
    assert drawn.kept == 2  # up to 2 bits
    probability = [0.5, 0.3][token]
    assert drawn.surprise == pytest.approx(-math.log2(probability))
    assert drawn.error == pytest.approx(-math.log2(probability / 0.8) - 1.0)
    assert state.mu == pytest.approx(2.0 - drawn.error)


@BOTH
@pytest.mark.parametrize("surprise", ["model", "truncated"])
def test_a_batch_is_its_rows(cls, surprise):
    rng = np.random.default_rng(0)
    method = cls(tau=2.0, surprise=surprise, candidates=20) if cls is Mirostat else cls(tau=2.0)
    together, apart = np.full(4, 4.0), [np.full(1, 4.0) for _ in range(4)]
    for _ in range(30):
        logits = 4 * rng.normal(size=(4, 80))
        law = method.law(logits, together, np)
        tokens = np.array([rng.choice(np.flatnonzero(row)) for row in law.keep])
        drawn, together = method.settle(law, tokens, together, np)
        for i in range(4):
            own = method.law(logits[i : i + 1], apart[i], np)
            np.testing.assert_array_equal(own.keep[0], law.keep[i])
            single, apart[i] = method.settle(own, tokens[i : i + 1], apart[i], np)
            for ours, theirs in zip(single, drawn, strict=True):
                assert ours[0] == theirs[i]
    assert together.tolist() == [float(mu[0]) for mu in apart]


@BOTH
def test_tokens_are_drawn_by_their_share_of_what_is_left(cls):
    law = np.array([0.05, 0.4, 0.3, 0.15, 0.1])
    method, rows = cls(), 20_000
    state = method.start(rows)._replace(mu=np.full(rows, 1.5 if cls is Mirostat else 3.0))
    tokens, _, drawn = method.step(np.tile(np.log(law), (rows, 1)), state, rng=0)
    stays = kept(method, np.log(law), state.mu[0])
    assert 1 < stays.sum() < 5
    expected = np.where(stays, law, 0) / law[stays].sum()
    np.testing.assert_allclose(np.bincount(tokens, minlength=5) / rows, expected, atol=0.012)
    assert (drawn.kept == stays.sum()).all()


# --- statistical ----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("tau", [3.0, 4.0, 5.0])
def test_the_rate_stays_at_the_target_on_a_stream_of_zipfs_laws(cls, tau):
    rng = np.random.default_rng(0)
    exponents = rng.uniform(1.0, 1.6, (200, 5, 1))
    laws = (-s * np.log(np.arange(1, 5001)) for s in exponents)
    _, (surprises, *_) = run(cls(tau=tau), laws, rng, rows=5)
    assert abs(surprises.mean() - tau) <= 0.05


@BOTH
def test_a_small_step_is_slower_and_a_target_out_of_reach_is_reported(cls):
    rng = np.random.default_rng(1)
    laws = np.tile(zipf_logits(1.3, 1000), (300, 5, 1))
    _, (calm, *_) = run(cls(tau=3.0, eta=0.1), laws, rng, rows=5)
    assert abs(calm.mean() - 3.0) < 0.15
    _, (surprises, *_, saturated) = run(cls(tau=7.0), laws, rng, rows=5)
    law = np.exp(laws[0, 0])
    law /= law.sum()
    entropy = -(law * np.log2(law)).sum()
    assert abs(surprises.mean() - entropy) < 0.3  # all that the model has
    assert saturated.mean() > 0.8


def test_a_low_target_settles_above_itself_where_the_first_token_is_more_surprising():
    laws = np.zeros((50, 16))
    laws[:, 0] = 2.0  # 1.66 bits
    _, (surprises, *_) = run(MirostatV2(tau=0.5), laws, 0)
    first = -math.log2(math.exp(2) / (math.exp(2) + 15))
    np.testing.assert_allclose(surprises[1:], first)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"tau": 0.0}, "tau"),
        ({"tau": math.inf}, "tau"),
        ({"eta": -1.0}, "eta"),
        ({"mu0": math.inf}, "mu0"),
        ({"mu_max": 1.0}, "mu_max"),
        ({"surprise": "nats"}, "surprise"),
        ({"candidates": 1}, "candidates"),
        ({"rounding": "up"}, "rounding"),
    ],
)
def test_bad_knobs_are_named(knobs, word):
    with pytest.raises(UsageError, match=word):
        Mirostat(**knobs)


@pytest.mark.parametrize(
    "logits",
    [[], np.zeros((2, 2, 2)), [0.0, np.nan], [0.0, np.inf], [-np.inf, -np.inf], 3.0, [[0.0, 1.0]]],
)
def test_bad_logits_are_refused(logits):
    with pytest.raises(UsageError, match=r"logits"):
        MirostatV2().step(logits, MirostatV2().start(), rng=0)


def test_found_by_name_and_pickled():
    made = registry.make("mirostat-v1", {"tau": "2", "mu0": "none"}, room="decode")
    assert made == Mirostat(tau=2.0) == pickle.loads(pickle.dumps(made))
    assert registry.find("mirostat-v2", "decode") is MirostatV2


def test_drawing_changes_nothing_it_was_given_and_needs_no_torch():
    logits, state = np.log([[0.5, 0.3, 0.2]] * 2), MirostatV2().start(2)
    copy = logits.copy()
    first = MirostatV2().step(logits, state, rng=4)
    second = MirostatV2().step(logits, state, rng=4)
    assert first[0].tolist() == second[0].tolist()
    np.testing.assert_array_equal(logits, copy)
    assert state.mu.tolist() == [6.0, 6.0]
    code = (
        "import sys; from samplewise.decode.mirostat import Mirostat; m = Mirostat();"
        "m.step([0., 1.], m.start(), 0); assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the processor --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import AutoModelForCausalLM

    folder = save_model(tmp_path_factory.mktemp("model"), spread=0.6)
    made = AutoModelForCausalLM.from_pretrained(folder).eval()
    made.generation_config.eos_token_id = None
    made.generation_config.pad_token_id = 1
    return made


def generate(model, ids, processors, tokens=12, seed=0, **more):
    torch.manual_seed(seed)
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        logits_processor=processors,
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        **{**PLAIN, **more},
    )


@BOTH
def test_in_generate_every_token_is_kept_and_its_surprise_is_the_models(cls, model):
    ids = torch.tensor([[5, 6, 7], [8, 9, 10], [5, 6, 7]])
    processor = cls(tau=2.0).processor()
    found = generate(model, ids, [processor])
    drawn = found.sequences[:, 3:]
    logs = torch.stack(found.logits, 1).log_softmax(-1)
    surprise = -logs.gather(2, drawn[..., None])[..., 0].numpy() / math.log(2)
    traces = processor.trace(found.sequences)
    assert len(traces) == 3
    for row, trace in enumerate(traces):
        np.testing.assert_allclose(trace.surprise, surprise[row], rtol=1e-4)
        expected = 4.0 - np.cumsum(np.append(0, trace.surprise[:-1] - 2.0))
        np.testing.assert_allclose(trace.mu, expected, atol=1e-4)
        left = torch.isfinite(torch.stack(found.scores, 1)[row]).sum(-1)
        assert trace.kept.tolist() == left.tolist()
        assert trace.rate() == pytest.approx(surprise[row].mean(), rel=1e-4)
        assert not trace.saturated.any()
    without = processor.trace()
    assert [len(one.mu) for one in without] == [11] * 3
    np.testing.assert_array_equal(without[1].surprise, traces[1].surprise[:-1])


@BOTH
@pytest.mark.parametrize("surprise", ["model", "truncated"])
def test_the_processor_is_the_plain_loop(cls, surprise):
    rng = np.random.default_rng(0)
    method = cls(tau=2.0, surprise=surprise)
    processor, state = method.processor(), method.start(3)
    ids, steps = torch.zeros((3, 2), dtype=torch.long), []
    for _ in range(25):
        logits = 4 * rng.normal(size=(3, 70))
        law = method.law(logits, state.mu, np)
        masked = processor(ids, torch.tensor(logits))
        np.testing.assert_array_equal(torch.isfinite(masked).numpy(), law.keep)
        tokens, state, drawn = method.step(logits, state, rng)
        steps.append(drawn)
        ids = torch.cat([ids, torch.tensor(tokens)[:, None]], dim=1)
    for row, trace in enumerate(processor.trace(ids)):
        for ours, theirs in zip(trace, zip(*steps, strict=True), strict=True):
            np.testing.assert_allclose(ours, np.array(theirs)[:, row], rtol=1e-9)


@BOTH
def test_rows_called_one_by_one_are_the_batch(cls, model):
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    found = generate(model, ids, [cls(tau=1.5).processor()])
    for row in range(2):
        processor = cls(tau=1.5).processor()
        for step, (logits, scores) in enumerate(zip(found.logits, found.scores, strict=True)):
            prefix = found.sequences[row : row + 1, : 3 + step]
            masked = processor(prefix, logits[row : row + 1])
            assert torch.equal(masked, scores[row : row + 1])


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scores_of_any_width_are_masked_and_left_as_they_were(cls, dtype):
    scores = (3 * torch.randn(2, 40, generator=torch.Generator().manual_seed(0))).to(dtype)
    copy = scores.clone()
    masked = cls(tau=1.0).processor()(torch.zeros((2, 1), dtype=torch.long), scores)
    assert masked.dtype == dtype
    assert torch.equal(scores, copy)
    stays = torch.isfinite(masked)
    assert torch.equal(masked[stays], scores[stays])
    assert (masked[~stays] == -math.inf).all()
    assert 0 < stays.sum() < 80


def test_a_new_generation_starts_anew(model):
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    used = MirostatV2(tau=2.0).processor()
    first = generate(model, ids, [used]).sequences
    for prompt in (ids, ids.flip(0), ids[:1], torch.cat([ids, ids], dim=1), first):
        again = generate(model, prompt, [used], seed=3).sequences
        fresh = generate(model, prompt, [MirostatV2(tau=2.0).processor()], seed=3).sequences
        assert torch.equal(again, fresh)
        assert [len(one.mu) for one in used.trace(again)] == [12] * len(prompt)


def test_one_row_may_start_anew_beside_another():
    processor = MirostatV2(tau=1.0).processor()
    scores = torch.tensor([[0.0, 0.0, -1.0, -9.0]] * 2)
    processor(torch.tensor([[1, 2], [1, 3]]), scores)
    processor(torch.tensor([[1, 2, 0], [1, 3, 0]]), scores)
    processor(torch.tensor([[1, 2, 0, 1], [3, 3, 3, 1]]), scores)
    goes_on, anew = processor.trace(torch.tensor([[1, 2, 0, 1, 0], [3, 3, 3, 1, 0]]))
    assert len(goes_on.mu) == 3
    assert anew.mu.tolist() == [2.0]


def test_a_buffer_that_is_written_again_is_no_continuation():
    processor, scores = MirostatV2(tau=1.0).processor(), torch.tensor([[0.0, 0.0, -3.0]])
    buffer = torch.tensor([[1, 0, 0, 0]])
    processor(buffer[:, :1], scores)
    buffer[0, :2] = torch.tensor([2, 1])
    processor(buffer[:, :2], scores)
    assert processor.trace(buffer[:, :3])[0].mu.tolist() == [2.0]


def test_another_vocabulary_starts_anew():
    processor = MirostatV2().processor()
    processor(torch.tensor([[1]]), torch.zeros(1, 3))
    processor(torch.tensor([[1, 5]]), torch.zeros(1, 9))
    assert [len(one.mu) for one in processor.trace()] == [0]
    assert MirostatV2().processor().trace() == []


def test_padding_after_a_rows_end_leaves_mu():
    processor, scores = MirostatV2(tau=1.0).processor(), torch.tensor([[3.0, 0.0, -9.0]] * 2)
    ids = torch.tensor([[1], [1]])
    for tokens in ([0, 0], [0, 2], [0, 2], [0, 0]):
        processor(ids, scores)
        ids = torch.cat([ids, torch.tensor(tokens)[:, None]], dim=1)
    whole, ended = processor.trace(ids)
    assert not np.isnan(whole.surprise).any()
    assert np.isnan(ended.surprise).tolist() == [False, True, True, False]
    assert ended.mu[1] == ended.mu[2] == ended.mu[3]
    assert ended.rate() == pytest.approx(float(np.nanmean(ended.error)) + 1.0)


@BOTH
def test_padding_that_was_masked_before_leaves_mu_too(cls):
    processor, scores = cls(mu0=100.0).processor(), torch.tensor([[1.0, 0.0, -math.inf]])
    assert torch.equal(processor(torch.tensor([[0]]), scores), scores)
    processor(torch.tensor([[0, 2]]), scores)
    [trace] = processor.trace(torch.tensor([[0, 2, 0]]))
    assert trace.mu.tolist() == [100.0, 100.0]
    assert trace.kept.tolist() == [2, 2]


@pytest.mark.parametrize("sample", [True, False])
def test_beams_are_refused(sample, model):
    with pytest.raises(UsageError, match="beams"):
        generate(
            model,
            torch.tensor([[5, 6, 7]]),
            [MirostatV2(tau=4.0).processor()],
            tokens=30,
            do_sample=sample,
            num_beams=4,
        )


def test_a_trace_of_other_sequences_is_refused():
    processor = MirostatV2().processor()
    processor(torch.tensor([[1, 2]]), torch.zeros(1, 5))
    for other in ([[1, 2]], [[1, 3, 1]], [[1, 2, 1, 1]]):
        with pytest.raises(UsageError, match="sequences"):
            processor.trace(torch.tensor(other))


def test_surprise_is_that_of_the_law_after_temperature(model):
    processors = make_processors(temperature=0.5, extra=["mirostat-v2:tau=1.5"])
    found = generate(model, torch.tensor([[5, 6, 7]]), processors)
    logs = (torch.stack(found.logits, 1) / 0.5).log_softmax(-1)
    surprise = -logs.gather(2, found.sequences[:, 3:, None])[0, :, 0].numpy() / math.log(2)
    [trace] = processors[-1].trace(found.sequences)
    np.testing.assert_allclose(trace.surprise, surprise, rtol=1e-4, atol=1e-5)
