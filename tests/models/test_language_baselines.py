import math

import pytest
import torch

from samplewise.errors import UsageError
from samplewise.models.gpt import GPT
from samplewise.models.quasi_lstm import QuasiLSTM, block_recurrence
from samplewise.models.sizes import SIZES, Size, gpt_parameters, quasi_lstm_parameters

PUBLISHED = {
    "mini": 27_549_696,
    "tiny": 53_912_064,
    "small": 110_615_040,
    "medium": 336_390_144,
    "large": 731_077_632,
    "XL": 1_478_160_384,
}
TINY = Size(layers=2, width=8, heads=2, head_width=6, block=4)
MODELS = {
    "gpt": lambda: GPT(TINY, 11, length=24),
    "quasi-lstm": lambda: QuasiLSTM(TINY, 11),
    "lstm": lambda: QuasiLSTM(TINY, 11, recurrent=True),
}


def count(model):
    return sum(weight.numel() for weight in model.parameters())


def lively(model, seed=0):
    """Weights so large that every token matters."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random) * 0.5)
    return model.double()


def tokens(rows, length, seed=1):
    return torch.randint(11, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_the_published_numbers_of_parameters(name, parameters):
    assert gpt_parameters(SIZES[name]) == parameters


@pytest.mark.parametrize("name", ["mini", "tiny", "XL"])
def test_the_networks_have_as_many(name):
    size = SIZES[name]
    with torch.device("meta"):
        assert count(GPT(size)) == PUBLISHED[name]
        assert count(QuasiLSTM(size)) == quasi_lstm_parameters(size)
    one_gate = size.layers * (size.width * size.inner + size.inner)
    # The published speeds are of cells that have one gate fewer.
    if name == "mini":
        assert quasi_lstm_parameters(size) - one_gate == 27_287_552


@pytest.mark.parametrize("length", [1, 4, 5, 16, 23])
@pytest.mark.parametrize("block", [1, 3, 8, 64])
def test_blocks_give_what_the_recurrence_gives_step_by_step(length, block):
    random = torch.Generator().manual_seed(length * 100 + block)
    forget = torch.rand(2, length, 5, generator=random, dtype=torch.float64) ** 4
    forget[0, length // 2] = 1e-300  # all but forgotten
    update = torch.randn(2, length, 5, generator=random, dtype=torch.float64)
    first = torch.randn(2, 5, generator=random, dtype=torch.float64)
    cell, expected = first, []
    for step in range(length):
        cell = forget[:, step] * cell + update[:, step]
        expected.append(cell)
    found = block_recurrence(forget.log(), update, first, block)
    torch.testing.assert_close(found, torch.stack(expected, 1), rtol=0, atol=1e-12)


def test_gradients_are_those_of_the_recurrence():
    random = torch.Generator().manual_seed(0)
    logs = -torch.rand(1, 5, 2, generator=random, dtype=torch.float64)
    update = torch.randn(1, 5, 2, generator=random, dtype=torch.float64)
    first = torch.randn(1, 2, generator=random, dtype=torch.float64)
    inputs = [one.requires_grad_() for one in (logs, update, first)]
    assert torch.autograd.gradcheck(lambda *given: block_recurrence(*given, 3), inputs)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_no_token_changes_what_is_said_before_it(make):
    model = lively(make())
    x = tokens(2, 11)
    logits = model(x)[0]
    for place in (0, 4, 10):
        y = x.clone()
        y[:, place] = (y[:, place] + 1) % 11
        other = model(y)[0]
        torch.testing.assert_close(other[:, :place], logits[:, :place], rtol=0, atol=1e-12)
        assert (other[:, place:] - logits[:, place:]).abs().amax(dim=(0, 2)).min() > 1e-6


@pytest.mark.parametrize("name", ["quasi-lstm", "lstm"])
def test_a_state_goes_from_window_to_window(name):
    model = lively(MODELS[name]())
    x = tokens(3, 13)
    whole, end = model(x)
    head, state = model(x[:, :5])
    tail, after = model(x[:, 5:], state)
    torch.testing.assert_close(torch.cat([head, tail], 1), whole, rtol=0, atol=1e-12)
    for one, other in zip(after, end, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert not torch.allclose(model(x[:, 5:])[0], tail)


def test_gates_that_read_nothing_of_the_output_before_make_the_lstm_a_quasi_lstm():
    plain, recurrent = lively(MODELS["quasi-lstm"]()), MODELS["lstm"]().double()
    recurrent.load_state_dict(plain.state_dict(), strict=False)
    for block in recurrent.blocks:
        torch.nn.init.zeros_(block.mixer.again.weight)
        torch.nn.init.zeros_(block.mixer.again.bias)
    x = tokens(2, 9)
    torch.testing.assert_close(recurrent(x)[0], plain(x)[0], rtol=0, atol=1e-12)


def test_first_weights_have_the_published_spread_and_leave_the_seed_of_torch_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    size = Size(layers=8, width=64, heads=4, head_width=16)
    models = [GPT(size, 300, 16, rng=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    one, same, other = (model.embedding.weight for model in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.detach().std() == pytest.approx(0.02, rel=0.03)
    down = models[0].blocks[0].down
    assert down.weight.detach().std() == pytest.approx(0.02 / math.sqrt(16), rel=0.03)
    assert not down.bias.any()


def test_a_window_longer_than_the_positions_is_refused():
    with pytest.raises(UsageError, match="a window has 25 tokens, and the model 24 positions"):
        MODELS["gpt"]()(tokens(1, 25))
