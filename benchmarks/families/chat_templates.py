"""What the lab makes of the chat templates of well-known model families, as a table for docs/models.md.

`python -m benchmarks.families.chat_templates docs/models.md` writes it between the markers of that page.
The templates are our own; they write what those of the families write for turns of system, user and assistant.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlhf.data.records import Demonstration, Prompt
from rlhf.data.rows import make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import HFTokenizer

BEGIN, END = (
    "<!-- templates:begin (python -m benchmarks.families.chat_templates docs/models.md) -->",
    "<!-- templates:end -->",
)
TEXTS = ["hello there, how are you? I am fine. user assistant system model ASSISTANT: USER: [INST] Human: It is what"]


@dataclass(frozen=True)
class Family:
    """A template and the tokens that it counts on.

    Attributes:
        stops: tokens that the model's `generation_config.json` names beside end-of-text.
        spaced: whether the tokenizer writes `▁` for spaces, and in front of a text, as SentencePiece does.
    """

    source: str
    eos: str
    bos: str = "<s>"
    stops: tuple[str, ...] = ()
    spaced: bool = False


def turns(*pieces: str, before: str = "", after: str = "") -> str:
    """A template of pieces with `{}` for a content: system (empty: refused), user, assistant, the generation prompt,
    and what stands before all."""
    system, user, assistant, ask = pieces[:4]
    before = "".join(pieces[4:]) or before
    refusal = "{{ raise_exception('System role not supported') }}"
    parts = {"system": system, "user": user, "assistant": assistant}
    cases = "".join(
        f"{{% {'if' if role == 'system' else 'elif'} m.role == '{role}' %}}"
        + ("{{ " + repr(text).replace("{}", "' + m.content + '") + " }}" if text else refusal)
        for role, text in parts.items()
    )
    prompt = f"{{% if add_generation_prompt %}}{{{{ {ask!r} }}}}{{% endif %}}" if ask else ""
    return f"{before}{{% for m in messages %}}{cases}{{% endif %}}{{% endfor %}}{prompt}{after}"


def chatml(ask: str = "<|im_start|>assistant\n", default: str = "", end: str = "<|im_end|>\n") -> str:
    """`<|im_start|>role`, the text, `<|im_end|>`; with a system turn where the conversation has none."""
    first = "{% if messages[0].role != 'system' %}{{ " + repr(f"<|im_start|>system\n{default}{end}") + " }}{% endif %}"
    pieces = [f"<|im_start|>{role}\n{{}}{end}" for role in ("system", "user", "assistant")]
    return turns(*pieces, ask, before=first if default else "")


THOUGHTS = """\
{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}
{% set ns.last = loop.index0 %}
{% endif %}{% endfor %}{% for m in messages %}{% set text = m.content %}
{% set thought = '' %}
{% if m.role == 'assistant' and '</think>' in text %}
{% set thought = text.split('</think>')[0].split('<think>')[-1] %}
{% set text = text.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
{%- endif %}{{ text + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""
LLAMA3 = [f"<|start_header_id|>{role}<|end_header_id|>\n\n{{}}<|eot_id|>" for role in ("system", "user", "assistant")]
LLAMA3_ASK = "<|start_header_id|>assistant<|end_header_id|>\n\n"
GEMMA = ["<start_of_turn>user\n{}<end_of_turn>\n", "<start_of_turn>model\n{}<end_of_turn>\n", "<start_of_turn>model\n"]
BOS = "{{ bos_token }}"
DATED = "<|start_header_id|>system<|end_header_id|>\n\nToday: {{ strftime_now('%d %b %Y') }}<|eot_id|>"
HARMONY = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content }}"
    "<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
DEEPSEEK = ("{}", "<｜User｜>{}", "<｜Assistant｜>{}<｜end▁of▁sentence｜>")
COHERE = [f"<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>{{}}<|END_OF_TURN_TOKEN|>" for role in ("SYSTEM", "USER", "CHATBOT")]
GRANITE = [f"<|start_of_role|>{role}<|end_of_role|>{{}}<|end_of_text|>\n" for role in ("system", "user", "assistant")]
ZEPHYR = [f"<|{role}|>\n{{}}</s>\n" for role in ("system", "user", "assistant")]
PHI3 = [f"<|{role}|>\n{{}}<|end|>\n" for role in ("system", "user", "assistant")]

FAMILIES = {
    "ChatML, Yi": Family(chatml(), "<|endoftext|>", stops=("<|im_end|>",)),
    "Qwen 2, 2.5": Family(chatml(default="Be helpful."), "<|endoftext|>", stops=("<|im_end|>",)),
    "Qwen 3": Family(THOUGHTS, "<|im_end|>", stops=("<|endoftext|>",)),
    "QwQ, Qwen 3 Thinking": Family(chatml("<|im_start|>assistant\n<think>\n"), "<|im_end|>"),
    "Llama 2": Family(turns("<<SYS>>\n{}\n<</SYS>>\n\n", "<s>[INST] {} [/INST]", " {} </s>", ""), "</s>", spaced=True),
    "Llama 3": Family(turns(*LLAMA3, LLAMA3_ASK, BOS), "<|eot_id|>", "<|begin_of_text|>", ("<|end_of_text|>",)),
    "Llama 3.1": Family(turns(*LLAMA3, LLAMA3_ASK, BOS + DATED), "<|eot_id|>", "<|begin_of_text|>", ("<|eom_id|>",)),
    "Mistral v1": Family(turns("", "[INST] {} [/INST]", " {}</s>", "", BOS), "</s>", spaced=True),
    "Mistral v3": Family(turns("", "[INST] {}[/INST]", " {}</s>", "", BOS), "</s>", spaced=True),
    "Mistral v7": Family(turns("[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]", "[INST]{}[/INST]", "{}</s>", "", BOS), "</s>"),
    "Gemma 1, 2": Family(turns("", *GEMMA, BOS), "<eos>", "<bos>", ("<end_of_turn>",), spaced=True),
    "Gemma 3": Family(turns("{}\n\n", *GEMMA, BOS), "<eos>", "<bos>", ("<end_of_turn>",)),
    "Phi 3": Family(
        turns(*PHI3, "<|assistant|>\n", after="{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"),
        "<|endoftext|>",
        stops=("<|end|>",),
    ),
    "Phi 4": Family(
        turns(
            *(f"<|im_start|>{role}<|im_sep|>{{}}<|im_end|>" for role in ("system", "user", "assistant")),
            "<|im_start|>assistant<|im_sep|>",
        ),
        "<|endoftext|>",
        stops=("<|im_end|>",),
    ),
    "Zephyr": Family(turns(*ZEPHYR, "<|assistant|>\n"), "</s>", spaced=True),
    "Vicuna": Family(turns("{} ", "USER: {} ", "ASSISTANT: {}</s>", "ASSISTANT:", BOS), "</s>", spaced=True),
    "Alpaca": Family(
        turns("{}\n\n", "### Instruction:\n{}\n\n", "### Response:\n{}</s>\n\n", "### Response:\n"), "</s>"
    ),
    "DeepSeek V2": Family(
        turns("{}\n\n", "User: {}\n\n", "Assistant: {}<｜end▁of▁sentence｜>", "Assistant:", BOS),
        "<｜end▁of▁sentence｜>",
    ),
    "DeepSeek V3": Family(turns(*DEEPSEEK, "<｜Assistant｜>", BOS), "<｜end▁of▁sentence｜>"),
    "DeepSeek R1": Family(turns(*DEEPSEEK, "<｜Assistant｜><think>\n", BOS), "<｜end▁of▁sentence｜>"),
    "Command R": Family(
        turns(*COHERE, "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", BOS), "<|END_OF_TURN_TOKEN|>", "<BOS_TOKEN>"
    ),
    "Granite": Family(turns(*GRANITE, "<|start_of_role|>assistant<|end_of_role|>"), "<|end_of_text|>"),
    "OLMo 2": Family(
        turns("<|system|>\n{}\n", "<|user|>\n{}\n", "<|assistant|>\n{}<|endoftext|>\n", "<|assistant|>\n", BOS),
        "<|endoftext|>",
    ),
    "SmolLM 2, 3, InternLM 2": Family(chatml(default="You are SmolLM."), "<|im_end|>"),
    "Falcon": Family(turns("{}\n", "User: {}\n", "Falcon: {}\n", "Falcon:"), "<|endoftext|>"),
    "Baichuan 2": Family(turns("{}", "<reserved_106>{}", "<reserved_107>{}", "<reserved_107>"), "</s>", spaced=True),
    "ChatGLM 4": Family(
        turns("<|system|>\n{}", "<|user|>\n{}", "<|assistant|>\n{}", "<|assistant|>\n", "[gMASK]<sop>"),
        "<|endoftext|>",
        stops=("<|user|>", "<|observation|>"),
    ),
    "StarChat": Family(turns(*PHI3, "<|assistant|>\n"), "<|endoftext|>", stops=("<|end|>",)),
    "MiniCPM": Family(turns("{}", "<用户>{}", "<AI>{}", "<AI>"), "</s>", spaced=True),
    "gpt-oss": Family(HARMONY, "<|return|>", stops=("<|call|>",)),
}
MARKS = re.compile(
    r"<\|[^|>\s{}]{1,40}\|>|<｜[^｜>]{1,40}｜>|</?s>|<bos>|<eos>|<BOS_TOKEN>|<(?:start|end)_of_turn>|<reserved_\d+>"
    r"|\[gMASK\]|<sop>|\[/?SYSTEM_PROMPT\]|<\|(?:START|END)_OF_TURN_TOKEN\|>"
)


def make_tokenizer(family: Family, folder: Path) -> HFTokenizer:
    """A small tokenizer of the family's kind, with its special tokens and its template, saved in `folder`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if family.spaced:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
        backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
        alphabet = sorted({chr(code) for code in range(32, 127)} | set("\n\t▁四。你好用户"))
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXTS * 5, trainer)
    marks = sorted({family.bos, family.eos, *family.stops, *MARKS.findall(family.source)})
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    backend.add_tokens(["<think>", "</think>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=family.bos, eos_token=family.eos)
    tokenizer.chat_template = family.source
    tokenizer.save_pretrained(folder)
    stops: Any = [tokenizer.convert_tokens_to_ids(stop) for stop in (family.eos, *family.stops)]
    GenerationConfig(eos_token_id=stops).save_pretrained(folder)
    return HFTokenizer(folder)


def table() -> str:
    """The section of docs/models.md, in Markdown."""
    lines = [
        "| family | a prompt ends with | an answer's tokens | answers of a conversation |",
        "| --- | --- | --- | --- |",
    ]
    two = Demonstration(Prompt((("user", "how"), ("assistant", "ok"), ("user", "what"))), "hello")
    for name, family in FAMILIES.items():
        with TemporaryDirectory() as folder:
            tokenizer = make_tokenizer(family, Path(folder))
        template = template_for(tokenizer)
        prompt = template.prompt(Prompt.of("how")).ids
        shown = tokenizer.decode(prompt, skip_special=False).split("how")[-1]
        answer = tokenizer.decode(template.response("hello"), skip_special=False)
        rows, _ = make_rows([two], "demonstrations", template, 500)
        kind = "one row" if len(rows) == 1 else "a row each"
        cells = [name, *(f"`{text!r}`".replace("|", "\\|") for text in (shown, answer)), kind]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    page = Path(sys.argv[1])
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
