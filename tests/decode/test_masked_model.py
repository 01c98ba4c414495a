import subprocess
import sys

import numpy as np
import pytest

from samplewise.decode import masked_model
from samplewise.decode.masked_diffusion import Ancestral, FirstHitting
from samplewise.decode.masked_likelihood import discrete_elbo
from samplewise.decode.masked_model import MASK, CharacterModel, Shape, train_character_model
from samplewise.decode.masked_network import torch_model
from samplewise.errors import InputError, UsageError

torch = pytest.importorskip("torch")

TEXT = "samples are drawn, one by one. " * 8
SMALL = Shape(length=12, width=16, layers=1, heads=2)


@pytest.fixture(scope="module")
def model():
    return train_character_model(TEXT, Shape(12, 32, 1, 2), steps=400, batch=32, learning_rate=0.01)


def test_it_learns_the_text(model):
    windows = np.stack([model.encode(TEXT[i : i + 12]) for i in range(0, 31, 3)])
    elbo = discrete_elbo(model, windows, model.vocabulary, samples=100)
    # There are 31 windows: log 31 / 12 nats a character are the least, log 15 a blind guess.
    assert np.log(31) / 12 - 0.02 < np.log(elbo.perplexity()) < 0.6
    hidden = model.encode(f"dra{MASK}n, o{MASK}e ")[None]
    filled = FirstHitting(temperature=0.1).fill(model, hidden, model.vocabulary, rng=0)
    assert model.decode(filled.tokens[0]) == "drawn, one "
    assert filled.calls == 2


def test_samplers_draw_its_text(model):
    masks = np.full((40, 12), model.vocabulary)
    for sampler in (FirstHitting(), Ancestral(steps=200)):
        drawn = sampler.fill(model, masks, model.vocabulary, rng=0).tokens
        parts = [model.decode(row)[i : i + 4] for row in drawn for i in range(9)]
        assert np.mean([part in TEXT for part in parts]) > 0.5


def test_the_same_seed_gives_the_same_model_and_leaves_the_callers_random_state():
    state = torch.random.get_rng_state()
    one, same, other = (
        train_character_model(TEXT, SMALL, steps=3, batch=4, rng=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    masks = np.full((1, 12), one.vocabulary)
    np.testing.assert_array_equal(one(masks), same(masks))
    assert not np.allclose(one(masks), other(masks))


def test_the_file_gives_the_model_back(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    read = CharacterModel.load(tmp_path / "model.safetensors")
    assert (read.alphabet, read.shape) == (model.alphabet, model.shape)
    tokens = model.encode("samples are ")[None]
    np.testing.assert_array_equal(read(tokens), model(tokens))


def test_a_file_is_whole_or_as_it_was(model, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model.save(path)
    before = path.read_bytes()

    def half(tensors, name, metadata):
        name.write_bytes(before[:100])
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_files_that_are_none(model, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match="no file of a character model"):
        CharacterModel.load(path)
    path.write_bytes(b"not a model")
    with pytest.raises(InputError, match="no file of a character model"):
        CharacterModel.load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="no file of a character model"):
        CharacterModel.load(path)
    model.save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="no file of a character model"):
        CharacterModel.load(path)


def test_characters_and_tokens(model):
    assert model.alphabet == "".join(sorted(set(TEXT)))
    tokens = model.encode("one" + MASK)
    assert tokens[-1] == model.vocabulary
    assert model.decode(tokens) == "one" + MASK
    with pytest.raises(UsageError, match="'Q'"):
        model.encode("Quite")
    with pytest.raises(UsageError, match="13 long"):
        model(np.zeros((1, 13), np.int64))


@pytest.mark.parametrize(
    ("text", "knobs", "word"),
    [
        ("short", {}, "5 characters"),
        (TEXT + MASK, {}, "holds"),
        (TEXT, {"steps": 0}, "steps"),
        (TEXT, {"batch": 0}, "batch"),
        (TEXT, {"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_training_that_makes_no_sense(text, knobs, word):
    with pytest.raises(UsageError, match=word):
        train_character_model(text, SMALL, **knobs)


@pytest.mark.parametrize("knobs", [{"length": 0}, {"layers": -1}, {"width": 10, "heads": 3}])
def test_shapes_that_make_no_sense(knobs):
    with pytest.raises(UsageError, match=next(iter(knobs))):
        Shape(**knobs)


def test_a_torch_module_is_wrapped_and_its_column_of_the_mask_cut_off():
    class Module(torch.nn.Module):
        """Says token 1 in the first half of time, token 0 else; and the mask, loudly."""

        def __init__(self):
            super().__init__()
            self.times = []

        def forward(self, tokens, time):
            self.times.append(time)
            late = torch.zeros(len(tokens)) if time is None else time
            scores = torch.stack([late - 0.5, 0.5 - late, torch.full_like(late, 9)], dim=1)
            return (99 * scores)[:, None].expand(*tokens.shape, 3).to(torch.bfloat16)

    module = Module()
    filled = FirstHitting().fill(torch_model(module, 2), np.full((200, 3), 2), 2, rng=0)
    ordered = np.take_along_axis(filled.tokens, filled.order, axis=1)
    clear = np.abs(filled.times - 0.5) > 0.1
    assert (ordered == (filled.times < 0.5))[clear].all()
    assert module.times[0].dtype == torch.float32
    torch_model(module, 2)(np.full((1, 3), 2), None)
    assert module.times[-1] is None


def test_the_room_does_not_load_torch():
    code = (
        "import sys, samplewise; samplewise.methods('decode'); "
        "import samplewise.decode.masked_model; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert masked_model.MASK == MASK
