"""Expected scores of the real engine against exact enumeration: `10` as two tokens, as one, and behind a thinking part."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from exact import Exact, mean
from small import rubric

from coigw_judge.job.recipe import reply_budget
from coigw_judge.judges import embedded
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.protocol import Reply
from coigw_judge.judges.read_reply import read_reply
from coigw_judge.judges.vllm import judge
from coigw_judge.judges.vllm.expected_scores import Drawn
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.template import Prompt
from coigw_judge.replies.outcome import Scored

pytestmark = [pytest.mark.engine, pytest.mark.slow]
TEXTS = (
    "雨停了，修表匠把灯拧亮。",
    "他把旧表放在窗台上。",
    "巷口卖豆花的老人不说话。",
    "海。",
    "信写到一半，灯灭了。",
    "山里没有邮局。",
    "钟又停了。",
    "她数到一百。",
)
TWO = rubric("two", dimensions=("quality", "novelty"))


def with_ten(folder: Path) -> Path:
    """The embedded judge with `10` as one token, as likely as its `1`; and one that ends its thinking soon."""
    from safetensors.numpy import load_file, save_file

    embedded.build(folder)
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    vocabulary, merges = told["model"]["vocab"], told["model"]["merges"]
    last = max(vocabulary, key=vocabulary.get)  # the rarest word gives its place up
    ten = vocabulary.pop(last)
    told["model"]["vocab"]["10"] = ten
    told["model"]["merges"] = [pair for pair in merges if "".join(pair) != last] + [["1", "0"]]
    (digits,) = (part["pattern"] for part in told["pre_tokenizer"]["pretokenizers"] if part["type"] == "Split")
    digits["Regex"] = digits["Regex"].replace(r"|\p{N}|", r"|\p{N}{1,3}|")
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    head = weights["lm_head.weight"]
    head[ten] = head[vocabulary["1"]]
    ids = {token["content"]: token["id"] for token in told["added_tokens"]}
    head[ids["</think>"], 0] = head[vocabulary['"'], 0]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class Asked:
    """A judge of one engine, what it drew and how often it probed."""

    def __init__(self, config: JudgeConfig, patch: pytest.MonkeyPatch) -> None:
        self._runner = asyncio.Runner()
        self.drawn: list[Drawn] = []
        self.probes = 0
        original = judge.expected_scores

        async def seen(drawn: Drawn, schema: Any, spelling: Any, ask: Any) -> Any:
            async def counted(probe: Any) -> Any:
                self.probes += 1
                return await ask(probe)

            self.drawn.append(drawn)
            return await original(drawn, schema, spelling, counted)

        patch.setattr(judge, "expected_scores", seen)

        async def begin() -> judge.VllmJudge:
            return judge.VllmJudge(config)

        self.judge = self._runner.run(begin())

    def ask(self, text: str, reasons: Any, **keys: Any) -> tuple[Ask, Reply]:
        schema, budget = TWO.reply_schema(reasons), reply_budget(TWO, reasons)
        prompt = Prompt("你是评委。", (text,), "从 0 到 10 打分，回复 JSON：")
        ask = Ask(key=b"", rubric="two", prompt=prompt, schema=schema, reply_tokens=budget, expected=True, **keys)
        return ask, self._runner.run(self.judge.ask(ask))

    def close(self) -> None:
        self._runner.run(self.judge.close())
        self._runner.close()


@pytest.fixture(scope="module", params=["two tokens", "one token, thinking"])
def setting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Asked, Exact, bool]]:
    thinking = request.param != "two tokens"
    folder = with_ten(tmp_path_factory.mktemp("ten") / "judge") if thinking else embedded.build()
    more: dict[str, Any] = {"thinking": True, "thinking_tokens": 1500} if thinking else {}
    with pytest.MonkeyPatch.context() as patch:
        asked = Asked(JudgeConfig(model=str(folder), preset="embedded", timeout=300, **more), patch)
        yield asked, Exact(folder), thinking
        asked.close()


def test_expected_scores_are_those_of_exact_enumeration(setting: tuple[Asked, Exact, bool]) -> None:
    asked, exact, thinking = setting
    encoder = asked.judge.encoder
    assert len(encoder.plain("10")) == (1 if thinking else 2)
    settled = tens = apart = probed = 0
    for n, text in enumerate(TEXTS):
        # The changed one writes `</think>` into its reasons too, which nobody can tell from an end of thinking.
        for reasons in ("none", "short") if n < 3 and not thinking else ("none",):
            before, asked.probes = len(asked.drawn), 0
            ask, reply = asked.ask(text, reasons)
            outcome = read_reply(reply, TWO)
            if not isinstance(outcome, Scored):
                continue  # an untrained judge may think until its budget is spent
            (drawn,) = asked.drawn[before:]
            assert ("</think>" in reply.text) == thinking
            prompt = encoder.encode(ask.prompt)
            assert reply.prompt_tokens > len(prompt) * asked.probes + len(prompt) - 1
            assert reply.generated_tokens >= len(drawn.ids) + asked.probes
            assert reply.cached_tokens <= (reply.shareable_tokens or 0) < reply.prompt_tokens, (
                "probes are counted on both sides"
            )
            probed += asked.probes
            assert set(reply.expected) == set(outcome.scores) and not reply.expected_missing
            for key, expected in reply.expected.items():
                odds, begun = exact.odds(prompt, drawn.ids, TWO, key)
                # What hangs on `1` is left out where that is at most 0.01 and was not sampled.
                slack = 0.02 + (10 * begun if begun < 0.011 else 0)
                assert expected == pytest.approx(mean(odds), abs=slack), (text, reasons, key, odds)
                settled += 1
                tens += 0.02 < odds.get(10, 0) < 0.98
                apart += abs(mean(odds) - outcome.scores[key]) > 0.1
    print("settled", settled, "tens", tens, "apart", apart, "probed", probed)
    assert settled >= 10 and apart, "scores that a sampled one alone does not tell"
    assert tens and probed, "10 was possible somewhere and not sure, and `1` not always sampled"


def test_a_probe_that_the_engine_refuses_costs_the_expected_score_alone(
    setting: tuple[Asked, Exact, bool], monkeypatch: Any
) -> None:
    asked, _, _ = setting
    probing = asked.judge.probe_parameters

    def too_many(probe: Any) -> Any:
        parameters = probing(probe)
        parameters.logprobs = 1000  # more than vLLM lists
        return parameters

    monkeypatch.setattr(asked.judge, "probe_parameters", too_many)
    causes = set()
    for text in TEXTS:
        asked.probes = 0
        _, reply = asked.ask(text, "none")
        if asked.probes and reply.finish_reason == "stop":
            assert isinstance(read_reply(reply, TWO), Scored)
            causes |= set(reply.expected_missing.values())
    assert causes == {"probe_failed"}
