"""The model that the peers run: the shape of weir's benchmark model with random weights, or a Hugging Face folder."""

import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}


def load(folder=None, **ids):
    """Float32 weights; `ids` (pad_token_id, eos_token_id) go into the configuration."""
    torch.manual_seed(1)
    if folder is not None:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, **ids)).float()
