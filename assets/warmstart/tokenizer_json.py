"""The tokenizer that tokenizer.json describes, whatever the model's type."""

from transformers import PreTrainedTokenizerFast


class TokenizerJson(PreTrainedTokenizerFast):
    """Reads tokenizer.json as it stands."""
