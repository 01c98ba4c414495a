"""A policy draws by the very law that it scores by, however its prompts are padded."""

import pytest
import torch

from samplewise.errors import UsageError
from samplewise.train import policy as policies
from samplewise.train.base import Weights
from samplewise.train.policy import Policy, decode_characters, encode_characters

PROMPTS = ["7+8=", "1+2+3+4=", "0=", "9+9+9+9+9+9="]


@pytest.fixture(scope="module")
def policy():
    made = Policy.small(width=32, heads=2, rng=1)
    made.model.double()
    return made


def plain_logits(policy, ids):
    """Logits after each of some tokens, with neither padding nor cache."""
    with torch.no_grad():
        return policy.model(input_ids=ids[None], use_cache=False).logits[0]


def unpadded(batch, row):
    return batch.ids[row][batch.read[row].bool()]


def draw(policy, prompts, seed=0, **settings):
    random = torch.Generator().manual_seed(seed)
    return policy.sample(prompts, most=12, random=random, **settings)


def test_rows_are_drawn_by_the_law_of_each_prompt_alone(policy, monkeypatch):
    laws, draw_token = [], policies._draw

    def watch(logits, temperature, random):
        laws.append(logits)
        return draw_token(logits, temperature, random)

    monkeypatch.setattr(policies, "_draw", watch)
    batch = draw(policy, PROMPTS)
    assert sorted(batch.lengths.tolist()) != [12] * 4  # some end before others
    for row, prompt in enumerate(PROMPTS):
        ids, before = unpadded(batch, row), len(prompt)
        alone = plain_logits(policy, ids)
        assert decode_characters(ids[:before].tolist()) == prompt
        for step in range(int(batch.lengths[row])):
            torch.testing.assert_close(
                laws[step][row], alone[before + step - 1], rtol=1e-10, atol=1e-10
            )


def test_greedy_rows_are_what_each_gives_alone(policy):
    together = draw(policy, PROMPTS, temperature=0.0)
    for row, prompt in enumerate(PROMPTS):
        alone = draw(policy, [prompt], temperature=0.0)
        assert unpadded(together, row).tolist() == unpadded(alone, 0).tolist()


def test_greedy_is_what_transformers_generates(policy):
    ours = draw(policy, PROMPTS, temperature=0.0)
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([encode_characters(prompt)])
        theirs = policy.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12
        )
        assert unpadded(ours, row).tolist() == theirs[0].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_a_plain_pass(policy, temperature):
    batch = draw(policy, PROMPTS)
    with torch.no_grad():
        found = policy.log_probabilities(batch, temperature)
    for row in range(len(PROMPTS)):
        ids, length = unpadded(batch, row), int(batch.lengths[row])
        laws = (plain_logits(policy, ids)[:-1] / temperature).log_softmax(dim=1)
        values = laws.gather(1, ids[1:, None])[:, 0][-length:]
        torch.testing.assert_close(found[row][batch.scored[row]], values, rtol=1e-10, atol=1e-10)


def test_what_was_drawn_is_the_table_of_its_texts(policy):
    batch = draw(policy, PROMPTS, seed=2)
    ended = [bool(batch.ids[row][mask][-1] == 1) for row, mask in enumerate(batch.response)]
    again = policy.batch(PROMPTS, policy.texts(batch), ended=ended)
    assert all(torch.equal(one, other) for one, other in zip(batch, again, strict=True))


def test_draws_are_of_the_seed_alone(policy):
    state = torch.random.get_rng_state()
    first, again, other = (draw(policy, PROMPTS * 3, seed) for seed in (5, 5, 6))
    assert torch.equal(first.ids, again.ids)
    assert policy.texts(first) != policy.texts(other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_other_weights_score_and_leave_the_models_own(policy):
    batch = policy.batch(["1+1="], ["2"])
    before = policy.log_probabilities(batch)
    kept = Weights(policy.model).state_dict()
    with torch.no_grad():
        policy.model.lm_head.weight.add_(0.5 * torch.eye(*policy.model.lm_head.weight.shape))
    after = policy.log_probabilities(batch)
    assert torch.equal(policy.log_probabilities(batch, weights=kept), before)
    assert not torch.allclose(after, before)
    assert torch.equal(policy.log_probabilities(batch), after)


def test_a_small_policy_is_of_its_seed_alone():
    first, again, other = (Policy.small(width=16, layers=1, rng=seed) for seed in (3, 3, 4))
    weights = [one.model.lm_head.weight for one in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_adapters_alone_learn(tiny):
    lm = tiny(device="cpu")
    policy = Policy.of(lm, rank=2)
    batch = policy.sample(["1+1=", "2+2+2="], most=4, random=torch.Generator().manual_seed(0))
    ids = unpadded(batch, 0)
    assert policy.texts(batch)[0] == lm.tokenizer.decode(
        [token for token in ids[4:].tolist() if token != policy.end]
    )
    assert 0 < sum(one.numel() for one in policy.learned) < 6000
    policy.log_probabilities(batch).sum().backward()
    assert any(one.grad is not None and one.grad.any() for one in policy.learned)


@pytest.mark.parametrize(
    "call",
    [
        lambda policy, random: policy.sample([], most=3, random=random),
        lambda policy, random: policy.sample(["1"], most=0, random=random),
        lambda policy, random: policy.sample(["1"], most=3, temperature=-1.0, random=random),
        lambda policy, random: policy.sample(["é"], most=3, random=random),
    ],
)
def test_what_cannot_be_drawn_is_refused(policy, call):
    with pytest.raises(UsageError):
        call(policy, torch.Generator())
