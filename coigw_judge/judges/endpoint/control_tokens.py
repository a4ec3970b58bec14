"""Control tokens in a record's text, where a server renders the chat template and ids cannot be sent.

What looks like a control token of some model family is broken up by a zero-width space behind its first character:
people see the same, a tokenizer no longer does. Families: Qwen, GLM, Phi, Llama 3 and others (`<|im_end|>`), DeepSeek
and Hunyuan (`<｜User｜>`, with full-width bars), Llama 2 and Mistral (`[INST]`, `<s>`, `[TOOL_CALLS]`), Gemma
(`<start_of_turn>`), Seed (`<seed:bos>`), MiniMax (`]~b]`), and the bare tags that several have (`<think>`,
`<tool_call>`). A full-width `＜` counts as `<`: some tokenizers fold it before they look for tokens.
Markup that merely resembles these, `<s>` for struck text, is broken up too: it costs a flag and no meaning.
A server's own list of tokens is not known, which is why ids are the better way (token_id_form.py).
"""

import re

FLAG = "control_tokens_neutralised"
"""How a fact and a verdict name that the judge saw a text so changed."""

_TAGS = (
    *("think", "thinking", "tool", "tools", "tool_call", "tool_calls", "tool_response", "s"),
    *("bos", "eos", "pad", "unk", "mask", "sop", "eop", "eoh", "eoa", "eom", "start_of_turn", "end_of_turn"),
    *("start_of_image", "end_of_image", "beginning_of_sentence", "end_of_sentence", "end_of_utterance"),
    *("fim_prefix", "fim_middle", "fim_suffix", "file_sep", "repo_name", r"unused\d+", r"reserved_\d+"),
    *(r"SPECIAL_\d+", r"extra_id_\d+", r"seed:[a-z_]+", r"minimax:[a-z_]+", "SYS"),
)
_BRACKETS = (
    *("INST", "SYSTEM_PROMPT", "AVAILABLE_TOOLS", "TOOL_CALLS", "TOOL_RESULTS", "TOOL_CONTENT", "MODEL_SETTINGS"),
    *("THINK", "ARGS", "CALL_ID", "PREFIX", "MIDDLE", "SUFFIX", "IMG", "IMG_BREAK", "IMG_END", "AUDIO"),
    *("BEGIN_AUDIO", "BOS", "EOS", "EOT", "PAD", "UNK", "SEP", "CLS", "MASK", "gMASK", "sMASK", r"UNUSED_TOKEN_\d+"),
    *("start_header_id", "end_header_id", "extra_id_0"),
)
_CONTROL = re.compile(
    r"[<＜](?=[|｜])"
    rf"|[<＜](?=/?(?:{'|'.join(_TAGS)})[>＞])"
    rf"|\[(?=/?(?:{'|'.join(_BRACKETS)})\])"
    r"|\](?=~!?b\[|~b\])|\[(?=e~\[)|\](?=<\]minimax\[>\[)"
)


def neutralised(text: str) -> str:
    """The text without anything that a tokenizer may take for a control token."""
    return _CONTROL.sub(lambda match: match[0] + "\u200b", text)


def characters(text: str) -> int:
    """How many characters a text has as it is sent."""
    return len(neutralised(text))
