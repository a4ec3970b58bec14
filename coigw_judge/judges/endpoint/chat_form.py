"""Requests to /chat/completions, and the replies of any server that calls itself compatible.

The server renders the chat template, so what looks like a control token in a record's text is broken up
(control_tokens.py) and the reply carries a flag where that changed anything. `read` makes nothing of what it does not
find: an answer that is no completion is None, for the caller to treat as the server's fault.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.endpoint import control_tokens
from coigw_judge.judges.presets import sampling
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request's body, the tokens that it may cost, and what must be said of it in the fact.

    `sent_tokens` is the exact length of the prompt where it is known; `refused` is the reply to one that is not sent.
    """

    body: Mapping[str, Any]
    tokens: int
    flags: tuple[str, ...] = ()
    sent_tokens: int | None = None
    refused: Reply | None = None


class Chat:
    """Messages; the server has template and tokenizer."""

    path = "/chat/completions"

    def __init__(self, config: JudgeConfig) -> None:
        self._config = config

    def tokens(self, text: str) -> int:
        """A character as a token: more than Chinese takes, and all that can be said without a tokenizer."""
        return control_tokens.characters(text)

    def request(self, ask: Ask) -> Request:
        """The request for an ask."""
        plain = "\n\n".join(ask.prompt.fields)
        fields = control_tokens.neutralised(plain)
        drawn = sampling(self._config, ask.attempt, ask.temperature)
        if self._config.sampling.top_k is None:
            drawn.pop("top_k", None)  # not OpenAI's; only where the job asks for it
        budget = reply_budget(self._config, ask)
        body = {
            "messages": [
                {"role": "system", "content": ask.prompt.system},
                {"role": "user", "content": f"{fields}\n\n{ask.prompt.task}"},
            ],
            "max_tokens": budget,
            "seed": ask.seed,
            **self._response_format(ask),
            **drawn,
        }
        return Request(
            body=finished(self._config, body),
            tokens=len(ask.prompt.system) + len(fields) + len(ask.prompt.task) + budget,
            flags=() if fields == plain else (control_tokens.FLAG,),
        )

    def _response_format(self, ask: Ask) -> dict[str, Any]:
        match self._config.reply_format:
            case "json_schema":
                schema = {"name": ask.rubric, "schema": dict(ask.schema), "strict": True}
                return {"response_format": {"type": "json_schema", "json_schema": schema}}
            case "json_object":
                return {"response_format": {"type": "json_object"}}
            case "none":
                return {}

    def trifle(self) -> dict[str, Any]:
        """The body of the least request that a server in order answers."""
        return finished(self._config, {"messages": [{"role": "user", "content": "1"}], "max_tokens": 1})


def reply_budget(config: JudgeConfig, ask: Ask) -> int:
    """Tokens that the reply may take, thinking included."""
    return ask.reply_tokens + (config.thinking_tokens if config.thinking else 0)


def finished(config: JudgeConfig, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the model and the job's own keys; a null leaves a key out."""
    whole = {"model": config.model, **body, **config.extra_body}
    return {key: value for key, value in whole.items() if value is not None}


def read(content: bytes, content_type: str) -> Reply | None:
    """The reply in a response's body, streamed or whole; None where it holds no completion."""
    try:
        body = _joined(content) if content_type.startswith("text/event-stream") else json.loads(content)
    except (ValueError, RecursionError):
        return None
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None
    if "text" in choice:
        message: dict[str, Any] = {"content": choice["text"]}
    elif isinstance(choice.get("message"), dict):
        message = choice["message"]
    else:
        return None
    reason = choice.get("finish_reason")
    reply = replace(
        _counted(body.get("usage")),
        text=_text(message.get("content")),
        finish_reason=reason if isinstance(reason, str) else None,
    )
    return _explained(reply, message)


def _explained(reply: Reply, message: Mapping[str, Any]) -> Reply:
    """With a cause where the server says why there is no reply."""
    refusal = message.get("refusal")
    if refusal:
        return replace(reply, cause="refused", detail=str(refusal)[:300])
    if reply.finish_reason == "content_filter":
        return replace(reply, cause="refused", detail="the server's content filter stopped the reply")
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if not reply.text.strip() and thoughts and reply.finish_reason != "length":
        detail = "all of the reply stands in reasoning_content: the server's reasoning parser and judge.thinking differ"
        return replace(reply, text=_text(thoughts), cause="empty", detail=detail)
    return reply


def _text(content: object) -> str:
    """A message's text; some servers give it in parts."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _counted(usage: object) -> Reply:
    """The token counts, as far as a server gives them."""
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("prompt_cache_hit_tokens")
    return Reply(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        cached_tokens=_count(cached),
        generated_tokens=_count(usage.get("completion_tokens")),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _joined(content: bytes) -> dict[str, Any]:
    """A streamed completion as if it had come whole, for servers that know no other way. Raises ValueError."""
    texts: list[str] = []
    found: dict[str, Any] = {}
    reason = None
    for event in _events(content):
        if not isinstance(event, dict):
            raise ValueError("an event that is no object")
        if isinstance(event.get("usage"), dict):
            found["usage"] = event["usage"]
        for choice in event.get("choices") or []:
            part = choice.get("delta") or {"content": choice.get("text")}
            texts.append(_text(part.get("content")))
            reason = choice.get("finish_reason") or reason
    if reason is None:
        raise ValueError("the stream ends before its end")
    return found | {"choices": [{"message": {"content": "".join(texts)}, "finish_reason": reason}]}


def _events(content: bytes) -> Iterable[Any]:
    for line in content.decode("utf-8", "replace").splitlines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)
