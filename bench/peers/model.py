"""The model that the peers run: the shape of weir's benchmark model with random weights, or a Hugging Face folder."""

import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from shape import SHAPE

def load(folder=None, **ids):
    """Float32 weights; `ids` (pad_token_id, eos_token_id) go into the configuration."""
    torch.manual_seed(1)
    if folder is not None:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, **ids)).float()
