"""What a checkpoint could have said at a score's place, gone through one by one with transformers. Nothing here is a test.

Written without a look at judges/vllm/expected_scores.py: the place is found by a pattern and by decoding ever longer prefixes,
what the grammar admits by comparing every token of the vocabulary with the texts that may stand there.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coigw_judge.prompting.rubric import Rubric


class Exact:
    """A checkpoint as transformers reads it, in float32 on the CPU."""

    def __init__(self, folder: Path) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM

        self._torch = torch
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self._texts = {i: self._tokenizer.decode([i], skip_special_tokens=False) for i in range(size)}

    def logits(self, ids: Sequence[int]) -> Any:
        with self._torch.no_grad():
            return self._model(self._torch.tensor([ids])).logits[0, -1]

    def odds(
        self, prompt: Sequence[int], reply: Sequence[int], rubric: Rubric, key: str
    ) -> tuple[dict[int, float], float]:
        """P(value) at the place of a dimension's score in a reply; and how much of it begins with a token of several."""
        text = self._tokenizer.decode(list(reply), skip_special_tokens=False)
        own = text[text.rfind("</think>") + 1 :]
        told = re.search(
            rf'"{key}":(?:\{{"reason":"(?:[^"\\]|\\.)*","score":)?(\d+)(\}}?(?:\}}|,"\w+":(?:\{{"\w+":"|"|)))', own
        )
        assert told is not None, own
        begin = len(text) - len(own) + told.start(1)
        before = next(
            n
            for n in range(len(reply))
            if len(self._tokenizer.decode(list(reply[:n]), skip_special_tokens=False)) == begin
        )
        values = [str(value) for value in rubric.scale.values()]
        odds: dict[int, float] = defaultdict(float)
        at_once = self._go([*prompt, *reply[:before]], "", 1.0, values, told[2], odds)
        assert abs(sum(odds.values()) - 1) < 1e-4
        return dict(odds), 1 - at_once

    def _go(
        self, ids: list[int], begun: str, p: float, values: list[str], behind: str, odds: dict[int, float]
    ) -> float:
        """Share p out among all tokens that may come next, and follow each until it is a value; returns how much of p
        is one at once."""
        may_stand = [value[len(begun) :] + behind for value in values if value.startswith(begun)]
        legal = [i for i, text in self._texts.items() if text and any(each.startswith(text) for each in may_stand)]
        shares = self._torch.softmax(self.logits(ids)[legal].double(), 0).tolist()
        at_once = 0.0
        for token, share in zip(legal, shares, strict=True):
            joined = begun + self._texts[token]
            number = re.match(r"\d*", joined)[0]
            if number != joined or not any(value != joined and value.startswith(joined) for value in values):
                odds[int(number)] += p * share
                at_once += p * share
            else:
                self._go([*ids, token], joined, p * share, values, behind, odds)
        return at_once


def mean(odds: dict[int, float]) -> float:
    """The expected value."""
    return sum(value * p for value, p in odds.items())
