"""Architectures of models that tests of several verbs make at random."""

LONG_LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 65536,
    "initializer_range": 0.2,
    "pad_token_id": None,
}
"""As many positions as no test fills."""
