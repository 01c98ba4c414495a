"""TRL's trainers take the reward, the loss and the collator as they are."""

import copy
import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from samplewise.train.confidence_limited import TrainerLoss, dco_loss
from samplewise.train.length_control import LengthControl, level_prompt, tldr_reward
from samplewise.train.objectives import group_advantages, grpo_loss
from samplewise.train.policy import CHARACTERS, Policy
from samplewise.train.program_distillation import Collator
from samplewise.train.worked_sums import WorkedSums

# TRL itself uses names that transformers has since changed.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "trl_trainers.py"
RATE = 0.5
STEPS = 2
SETTINGS = {  # gradient descent in single precision on a processor
    "max_steps": STEPS,
    "learning_rate": RATE,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 1e9,
    "optim": "sgd",
    "bf16": False,
    "use_cpu": True,
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Set what HF_HUB_OFFLINE sets, which is read but once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def example():
    """Import the example of the guide."""
    spec = importlib.util.spec_from_file_location("trl_trainers", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokenizer():
    """Give what a small model reads as a tokenizer of transformers."""
    vocabulary = {sign: number for number, sign in enumerate(["<pad>", "</s>", *CHARACTERS])}
    characters = Tokenizer(models.BPE(vocabulary, []))
    characters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=characters, pad_token="<pad>", eos_token="</s>")


def weights(policy):
    return torch.cat([weight.detach().flatten() for weight in policy.learned])


def descend(policy, loss):
    """Take a step by hand."""
    gradients = torch.autograd.grad(loss, policy.learned)
    with torch.no_grad():
        for weight, gradient in zip(policy.learned, gradients, strict=True):
            weight -= RATE * gradient


def test_the_tokenizer_reads_and_writes_as_a_small_model_does(tokenizer):
    text = "short: 1 + 2\n= 3~"
    ids = tokenizer(text)["input_ids"]
    assert ids == Policy.small(width=8).encode(text)
    assert tokenizer.decode([*ids, 1, 0], skip_special_tokens=True) == text


# --- the reward -----------------------------------------------------------------------------------

LONGEST, GROUP, HEAT = 6, 8, 1.5
WEIGHTS = {"short": 1.0, "medium": 0.3, "long": 0.0}
TARGETS = {"short": 1.5, "medium": 3.0, "long": 6.0}  # of LONGEST tokens


def taught():
    """Give sums, and a model that has imitated some: it ends some answers, and some are right."""
    task = WorkedSums(terms=2, base=4, passes=3, problems=7, test=1)
    learner = LengthControl(warm_up=20).begin(task, steps=1, rng=0)
    while learner.done < learner.warm_up:
        learner.advance()
    return task, learner.policy


def rewards(correct, tokens, levels):
    """Give rewards by `tldr_reward`, and which answers are whole."""
    whole = [len(ids) < LONGEST or ids[-1] == 1 for ids in tokens]
    found = tldr_reward(
        np.array(correct) * whole,
        [len(ids) for ids in tokens],
        longest=LONGEST,
        weight=[WEIGHTS[level] for level in levels],
        target=[TARGETS[level] for level in levels],
    )
    return found, whole


def step_of_grpo(policy, heads, tokens, values):
    """Take the step of the package's own loss."""
    groups = torch.arange(len(values)) // GROUP
    gains = group_advantages(torch.from_numpy(values), groups).float()
    # Of tokens, as a text does not show a token of padding that was drawn.
    batch = dataclasses.replace(policy, encode=list).batch(
        heads, tokens, ended=[False] * len(tokens)
    )
    new = policy.log_probabilities(batch, HEAT)
    descend(policy, grpo_loss(new, new.detach(), gains, batch.scored))


def test_grpo_with_the_reward_of_length_control(example, tokenizer, tmp_path):
    from trl import GRPOConfig

    task, policy = taught()
    start, own = weights(policy), copy.deepcopy(policy)
    seen = []

    def right(prompts, completions, **columns):
        correct = example.right(prompts, completions, **columns)
        seen.append((prompts, completions, correct, columns["completion_ids"], columns["level"]))
        return correct

    config = GRPOConfig(
        str(tmp_path),
        max_completion_length=LONGEST,
        num_generations=GROUP,
        per_device_train_batch_size=6 * GROUP,
        temperature=HEAT,
        loss_type="grpo",
        log_completions=True,
        num_completions_to_print=1,
        **SETTINGS,
    )
    problems = [(task.prompt(n), task.solution(n)[-1]) for n in range(task.count)]
    trainer = example.short_to_long(policy.model, tokenizer, problems, config, right)
    trainer.train()

    assert len(seen) == STEPS
    kinds = set()
    for step, (prompts, texts, correct, tokens, levels) in enumerate(seen, 1):
        expected, whole = rewards(correct, tokens, levels)
        kinds |= {*zip(correct, whole, strict=True)}
        assert all(map(str.startswith, prompts, map(level_prompt, levels)))
        table = pq.read_table(tmp_path / "completions" / f"completions_{step:05d}.parquet")
        assert table["completion"].to_pylist() == texts
        np.testing.assert_allclose(table["length_control"], expected, rtol=1e-6)
        logged = trainer.state.log_history[step - 1]
        assert logged["rewards/length_control/mean"] == pytest.approx(expected.mean(), rel=1e-5)
        assert logged["completions/clipped_ratio"] == pytest.approx(1 - np.mean(whole))
        step_of_grpo(own, tokenizer(prompts)["input_ids"], tokens, expected)
    assert len(kinds) == 4  # right and wrong, whole and cut
    moved, wanted = weights(policy) - start, weights(own) - start
    # Not to the last digit: TRL adds 1e-4 to a group's deviation, the package 1e-6.
    assert (moved - wanted).norm() < 0.01 * wanted.norm()


# --- the loss -------------------------------------------------------------------------------------

SUMS = [("1+1=", "2"), ("3+4=", "7"), ("9+9=", "18"), ("12+5=", "17")]
BATCHES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}


def as_trl_reads(example, policy, tokenizer, folder):
    from trl import SFTConfig

    rows = [{"prompt": prompt, "completion": answer} for prompt, answer in SUMS]
    config = SFTConfig(folder, **SETTINGS, **BATCHES)
    return example.best_of_64(policy.model, tokenizer, rows, config)


def as_the_collator_reads(example, policy, tokenizer, folder):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": prompt, "program": answer} for prompt, answer in SUMS]
    config = SFTConfig(
        folder,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        **SETTINGS,
        **BATCHES,
    )
    return SFTTrainer(
        policy.model,
        config,
        train_dataset=Dataset.from_list(rows),
        data_collator=Collator(policy),
        processing_class=tokenizer,
        compute_loss_func=TrainerLoss(64),
    )


@pytest.mark.parametrize("make", [as_trl_reads, as_the_collator_reads])
def test_supervised_with_the_loss_for_the_best_of_many(make, example, tokenizer, tmp_path):
    policy = Policy.small(width=8, layers=1, heads=2, rng=0)
    start, own = weights(policy), copy.deepcopy(policy)
    with pytest.warns(FutureWarning, match="compute_loss_func.* will be removed in v2"):
        trainer = make(example, policy, tokenizer, str(tmp_path))
    trainer.train()
    for _ in range(STEPS):
        batch = own.batch(*zip(*SUMS, strict=True))
        logp = torch.where(batch.scored, own.log_probabilities(batch), 0.0).sum(dim=1)
        descend(own, dco_loss(logp, 64).loss.sum() / batch.scored.sum())
    torch.testing.assert_close(weights(policy), weights(own), rtol=0, atol=1e-6)
    assert (weights(own) - start).abs().max() > 0.1
