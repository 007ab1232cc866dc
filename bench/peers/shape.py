"""The shape of weir's benchmark model: a Qwen2 of 20.8 M weights."""

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
