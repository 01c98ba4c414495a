"""Tiny random models, saved as a folder that `load` takes."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SPECIAL = ["<s>", "</s>"]


def save_tokenizer(folder):
    """Save a tokenizer of bytes: token 2 + b is byte b's, and <s> begins a text."""
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: number for number, sign in enumerate([*SPECIAL, *signs])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return len(vocabulary)


def save_model(folder, kind="llama", seed=0, positions=256, spread=0.3):
    """Save a random model and its tokenizer, and give the folder's name."""
    words = save_tokenizer(folder)
    shape = {"vocab_size": words, "bos_token_id": 0, "eos_token_id": 1, "initializer_range": spread}
    wide = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": positions,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "gpt2":
            config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=positions, **shape)
            model = GPT2LMHeadModel(config)
        elif kind == "gemma2":  # caps its logits
            config = Gemma2Config(head_dim=8, final_logit_softcapping=2.0, **wide, **shape)
            model = Gemma2ForCausalLM(config)
        else:
            model = LlamaForCausalLM(LlamaConfig(**wide, **shape))
    model.save_pretrained(folder)
    return str(folder)
