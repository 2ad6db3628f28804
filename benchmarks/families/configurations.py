"""Tiny configurations, of 0.1 to 0.5 million parameters, of the model families in `transformers`."""

from __future__ import annotations

from typing import Any

from rlhf.data.rows import Row

VOCABULARY = 96

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size": 64,
    "d_model": 64,
    "n_embd": 64,
    "intermediate_size": 96,
    "ffn_dim": 96,
    "n_inner": 96,
    "num_hidden_layers": 4,
    "n_layer": 4,
    "num_layers": 4,
    "n_layers": 4,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "n_positions": 128,
    "max_seq_len": 128,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
"""What a family's configuration takes of these; lengths beyond its windows are tried too."""

WINDOW = {"sliding_window": 6}
SLIDING = ["sliding_attention", "full_attention"] * 2
LINEAR = ["linear_attention", "full_attention"] * 2
MLA = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "num_key_value_heads": 4, "head_dim": 8, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
GATED_DELTA = {
    "layer_types": LINEAR, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "shared_expert_intermediate_size": 32,
}  # fmt: skip

FAMILIES: dict[str, dict[str, Any]] = {
    "afmoe": {"layer_types": SLIDING, **WINDOW, "num_dense_layers": 1},
    "apertus": {},
    "arcee": {},
    "bamba": {**MAMBA, "attn_layer_indices": [1, 3]},
    "biogpt": {},
    "bitnet": {},
    "bloom": {},
    "codegen": {"rotary_dim": 8},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"layer_types": SLIDING, **WINDOW, "logit_scale": 0.25},
    "ctrl": {"dff": 96},
    "cwm": {"layer_types": SLIDING, **WINDOW},
    "deepseek_v2": {**MLA, "topk_method": "greedy"},
    "deepseek_v3": MLA,
    "diffllama": {},
    "doge": {},
    "dots1": {"n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "ernie4_5": {},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2},
    "exaone4": {"layer_types": SLIDING, **WINDOW},
    "falcon": {},
    "falcon_h1": {**MAMBA, "mamba_d_ssm": 128},
    "falcon_mamba": {"state_size": 8, "time_step_rank": 4},
    "gemma": {},
    "gemma2": {"layer_types": SLIDING, **WINDOW, "query_pre_attn_scalar": 16},
    "gemma3_text": {"layer_types": SLIDING, **WINDOW, "query_pre_attn_scalar": 16},
    "glm": {},
    "glm4": {},
    "glm4_moe": {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 6},
    "gpt_neox": {},
    "gpt_oss": {"layer_types": SLIDING, **WINDOW},
    "gptj": {"rotary_dim": 8},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "granitemoe": {"logits_scaling": 4.0},
    "granitemoehybrid": {**MAMBA, "layer_types": ["mamba", "attention"] * 2, "shared_intermediate_size": 32},
    "granitemoeshared": {"shared_intermediate_size": 32},
    "helium": {},
    "hunyuan_v1_dense": {},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "mamba_d_state": 8,
              "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "jetmoe": {"kv_channels": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "llama": {},
    "llama4_text": {"attention_chunk_size": 6, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 96},
    "mamba": {"state_size": 8, "time_step_rank": 4},
    "mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 32, "n_groups": 1, "chunk_size": 8},
    "minimax": {"layer_types": LINEAR, "block_size": 8},
    "ministral": {"layer_types": SLIDING, **WINDOW},
    "mistral": WINDOW,
    "mixtral": WINDOW,
    "mpt": {},
    "nemotron": {},
    "nemotron_h": {"layers_block_type": ["mamba", "attention", "mamba", "mlp"], "mamba_num_heads": 4,
                   "mamba_head_dim": 32, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8},
    "olmo": {},
    "olmo2": {},
    "olmo3": {"layer_types": SLIDING, **WINDOW},
    "olmoe": {},
    "openai-gpt": {},
    "opt": {"word_embed_proj_dim": 64},
    "persimmon": {},
    "phi": {},
    "phi3": WINDOW,
    "phimoe": WINDOW,
    "qwen2": {},
    "qwen2_moe": {"shared_expert_intermediate_size": 32},
    "qwen3": {},
    "qwen3_5_text": {key: value for key, value in GATED_DELTA.items() if not key.startswith("shared")},
    "qwen3_moe": {},
    "qwen3_next": GATED_DELTA,
    "recurrent_gemma": {"attention_window_size": 6, "lru_width": 64, "block_types": ["recurrent", "attention"]},
    "rwkv": {"context_length": 128, "attention_hidden_size": 64},
    "seed_oss": {},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": WINDOW,
    "vaultgemma": {"layer_types": SLIDING, **WINDOW, "query_pre_attn_scalar": 16},
    "xglm": {},
    "xlstm": {"num_blocks": 4, "num_heads": 4, "chunk_size": 16},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2, "num_mem_blocks": 1, "mamba_d_state": 8,
               "n_mamba_heads": 4, "mamba_headdim": 32, "mamba_ngroups": 1, "chunk_size": 8,
               "use_mamba_kernels": False},
}  # fmt: skip


ROWS = [
    Row(tuple(range(5, 14)), ((20, 21, 22, 23, 24), (30, 31, 32, 33, 34, 35, 36, 37))),
    Row((40, 41, 42, 43), (tuple(range(50, 60)),)),
    Row((60, 61, 62), (tuple(range(70, 90)), (11, 12, 13), (14, 15))),
]
"""What the tiny models read: prompts with one to three responses, longer than their windows."""


class Tokens:
    """A tokenizer for the tiny models' tokens, as far as loading asks it."""

    name, vocab_size, eos_id, eos_token, pad_id, stop_ids = "ids", VOCABULARY, 1, "</s>", 0, (1,)
    fingerprint = former_fingerprint = "ids"


def architecture(family: str) -> dict[str, Any]:
    """`model.architecture` of a tiny model of this family."""
    from transformers import AutoConfig

    known = AutoConfig.for_model(family)
    names = set(known.to_dict()) | set(known.attribute_map)
    own = FAMILIES[family]
    return {"model_type": family} | {key: value for key, value in SIZES.items() if key in names} | own
