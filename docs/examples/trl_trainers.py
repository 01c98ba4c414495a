"""TRL's trainers, with a reward and a loss of Samplewise."""

from __future__ import annotations

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from samplewise.train.confidence_limited import TrainerLoss
from samplewise.train.length_control import LEVELS, LengthControl, level_prompt


def right(prompts, completions, answer, **columns):
    """Give 1 for answers that end with what the column `answer` says, 0 for others."""
    return [float(text.endswith(end)) for text, end in zip(completions, answer, strict=True)]


def short_to_long(model, tokenizer, problems, config: GRPOConfig, right=right) -> GRPOTrainer:
    """Train answers of three lengths; `problems` are pairs of a question and its answer."""
    rows = [
        {"prompt": level_prompt(level) + question, "level": level, "answer": answer}
        for question, answer in problems
        for level in LEVELS
    ]
    reward = LengthControl(form="target").reward_function(
        right, longest=config.max_completion_length, ends=[tokenizer.eos_token_id]
    )
    data = Dataset.from_list(rows)
    return GRPOTrainer(model, reward, config, data, processing_class=tokenizer)


def best_of_64(model, tokenizer, rows, config: SFTConfig) -> SFTTrainer:
    """Train on rows with `prompt` and `completion`, for the best of 64 samples."""
    data = Dataset.from_list(rows)
    loss = TrainerLoss(attempts=64)
    return SFTTrainer(
        model, config, train_dataset=data, processing_class=tokenizer, compute_loss_func=loss
    )
