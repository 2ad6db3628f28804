"""SmolLM2's 4-bit file becomes a model folder: on a file of the same kinds of blocks, made by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu.smollm2 import unpack

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")

WIDTH, HEADS, KV_HEADS, INNER = 64, 4, 2, 96
BYTES = [chr(b) if 33 <= b < 127 else chr(256 + b) for b in range(128)]
MERGED = ["\u010a\u010a", "12"]
"""Two line ends, which the text in front of a digit may hold, and two digits, which no text may."""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"


def q8_0(weights: np.ndarray, scale: float) -> np.ndarray:
    """Blocks of 32 values: the scale in half precision, then whole numbers of 8 bits."""
    levels = np.round(weights / scale).astype(np.int8).reshape(-1, 32)
    head = np.full((len(levels), 1), scale, np.float16).view(np.uint8)
    return np.concatenate([head, levels.view(np.uint8)], axis=1).reshape(len(weights), -1)


def q4_1(weights: np.ndarray, scale: float, least: float) -> np.ndarray:
    """Blocks of 32 values: scale and least value in half precision; of byte i, the low half is value i, the high half
    value i + 16."""
    levels = np.round((weights - least) / scale).astype(np.uint8).reshape(-1, 32)
    head = np.tile(np.array([scale, least], np.float16).view(np.uint8), (len(levels), 1))
    return np.concatenate([head, levels[:, :16] | levels[:, 16:] << 4], axis=1).reshape(len(weights), -1)


def permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries and keys as llama.cpp has them: the halves that rotate together are neighbours."""
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write(file: Path) -> dict[str, np.ndarray]:
    """A GGUF file of one layer, and what its weights are under the names of `transformers`."""
    import gguf

    draw = np.random.default_rng(0)
    words = SPECIAL + BYTES + MERGED
    writer = gguf.GGUFWriter(file, "llama")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_context_length, 128),
        (writer.add_embedding_length, WIDTH),
        (writer.add_feed_forward_length, INNER),
        (writer.add_head_count, HEADS),
        (writer.add_head_count_kv, KV_HEADS),
        (writer.add_rope_freq_base, 100000.0),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_vocab_size, len(words)),
        (writer.add_rope_dimension_count, WIDTH // HEADS),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_tokenizer_pre, "smollm"),
        (writer.add_token_list, words),
        (writer.add_token_types, [3] * len(SPECIAL) + [1] * (len(words) - len(SPECIAL))),
        (writer.add_token_merges, [" ".join(word) for word in MERGED]),
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
        (writer.add_unk_token_id, 0),
        (writer.add_pad_token_id, 2),
        (writer.add_chat_template, TEMPLATE),
    ):
        add(value)  # type: ignore[operator]
    expected: dict[str, np.ndarray] = {}

    def tensor(name: str, ours: str, rows: int, columns: int, heads: int = 0) -> None:
        """Values that 4 bits hold exactly: 16 levels of 1/64 from −1/8."""
        values = (draw.integers(0, 16, (rows, columns)) / 64 - 0.125).astype(np.float32)
        expected[f"model.{ours}.weight"] = values
        stored = permuted(values, heads) if heads else values
        writer.add_tensor(f"{name}.weight", q4_1(stored, 1 / 64, -0.125), raw_dtype=gguf.GGMLQuantizationType.Q4_1)

    def norm(name: str, ours: str) -> None:
        expected[f"model.{ours}.weight"] = draw.normal(1, 0.1, WIDTH).astype(np.float32)
        writer.add_tensor(f"{name}.weight", expected[f"model.{ours}.weight"])

    embedding = (draw.integers(-127, 128, (len(words), WIDTH)) / 256).astype(np.float32)
    expected["model.embed_tokens.weight"] = embedding
    writer.add_tensor("token_embd.weight", q8_0(embedding, 1 / 256), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    of_keys = KV_HEADS * WIDTH // HEADS
    tensor("blk.0.attn_q", "layers.0.self_attn.q_proj", WIDTH, WIDTH, HEADS)
    tensor("blk.0.attn_k", "layers.0.self_attn.k_proj", of_keys, WIDTH, KV_HEADS)
    tensor("blk.0.attn_v", "layers.0.self_attn.v_proj", of_keys, WIDTH)
    tensor("blk.0.attn_output", "layers.0.self_attn.o_proj", WIDTH, WIDTH)
    tensor("blk.0.ffn_gate", "layers.0.mlp.gate_proj", INNER, WIDTH)
    tensor("blk.0.ffn_up", "layers.0.mlp.up_proj", INNER, WIDTH)
    tensor("blk.0.ffn_down", "layers.0.mlp.down_proj", WIDTH, INNER)
    norm("blk.0.attn_norm", "layers.0.input_layernorm")
    norm("blk.0.ffn_norm", "layers.0.post_attention_layernorm")
    norm("output_norm", "norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("gguf")
    expected = write(folder / "x.gguf")
    unpack(folder / "x.gguf", folder / "model")
    return folder / "model", expected


def test_weights_are_those_of_the_blocks(unpacked: Any) -> None:
    from transformers import AutoModelForCausalLM

    folder, expected = unpacked
    model = AutoModelForCausalLM.from_pretrained(folder)
    found = {name: w for name, w in model.state_dict().items() if name != "lm_head.weight"}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], torch.from_numpy(values), rtol=0, atol=0, msg=name)
    assert model.lm_head.weight is model.model.embed_tokens.weight, "tied"
    assert model.config.num_key_value_heads == KV_HEADS and model.config.rope_parameters["rope_theta"] == 100000
    assert not hasattr(model.config, "quantization_config") and model.generation_config.eos_token_id == 2


def test_the_tokenizer_is_the_one_of_the_training(unpacked: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(unpacked[0])
    line_ends, one, two = (tokenizer.convert_tokens_to_ids(token) for token in (MERGED[0], "1", "2"))
    assert tokenizer.encode("\n\n12") == [line_ends, one, two]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "1"}], tokenize=False)
    assert text == "<|im_start|>user\n1<|im_end|>\n"
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (SPECIAL[1], SPECIAL[2], SPECIAL[2])
    assert tokenizer.unk_token == SPECIAL[0] and tokenizer.model_max_length == 128
    assert tokenizer.decode(tokenizer.encode(text)) == text and len(tokenizer.encode("<|im_end|>")) == 1


def test_a_whole_folder_is_left_alone(unpacked: Any) -> None:
    written = (unpacked[0] / "model.safetensors").stat().st_mtime_ns
    unpack(Path("nowhere.gguf"), unpacked[0])
    assert (unpacked[0] / "model.safetensors").stat().st_mtime_ns == written
