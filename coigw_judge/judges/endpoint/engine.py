"""A server, or several, as an engine of judges: what a job must know of it before anything is asked."""

from coigw_judge.hashing import fingerprint
from coigw_judge.judges.endpoint.control_tokens import characters
from coigw_judge.judges.endpoint.servers import REQUESTS_PER_SERVER, requests_worth_having
from coigw_judge.judges.endpoint.token_id_form import make_encoder
from coigw_judge.judges.protocol import TURN_TOKENS, Engine, Identity, Judge, Yardstick
from coigw_judge.judges.vllm.arguments import cache_block
from coigw_judge.prompting.tokens import Encoder

FORMAT = 2
"""Counts changes of the request's body; part of the judge's fingerprint."""


class EndpointEngine(Engine):
    """Servers behind `judge.base_url`, none of which this package starts."""

    times_out_itself = True
    needs_stated_context = True
    why_no_expected = (
        "a server's probabilities may be those before its grammar, cut off after a few tokens; "
        "use judge.engine: vllm, or leave `expected` out"
    )

    def identify(self) -> Identity:
        """By what the job declares, not by what an address answers: how many servers, where and how fast is neutral.

        Under `judge.tokenizer` requests are token ids, so tokenizer and template are part of it; its files are read.
        """
        config = self.config
        described = self.declared() | {"extra_body": config.extra_body, "format": FORMAT}
        if config.reply_format != "json_schema":
            described |= {"reply_format": config.reply_format}
        encoder = self.encoder()
        if encoder is not None:
            described |= {"tokenizer": encoder.tokenizer_hash, "frame": encoder.frame_ids}
        return Identity(
            engine="endpoint",
            model=config.model,
            revision=config.revision,
            fingerprint=fingerprint(described),
            meaningless=config.tokenizer == "embedded",
        )

    def encoder(self) -> Encoder | None:
        """That of `judge.tokenizer`; None where the server is sent text. Raises FixJudge."""
        return None if self.config.tokenizer is None else make_encoder(self.config)

    def yardstick(self) -> Yardstick | None:
        """By `judge.context`: tokens where they are known, else characters."""
        if self.config.context is None:
            return None
        encoder = self.encoder()
        if encoder is None:
            return Yardstick(self.config.context, TURN_TOKENS, characters)
        return Yardstick(self.config.context, sum(map(len, encoder.frame_ids)), encoder.count)

    def requests_at_once(self) -> int:
        """`judge.concurrency` at each server, and some that wait for a place."""
        return requests_worth_having(len(self.config.servers), self.config.concurrency or REQUESTS_PER_SERVER)

    def cache_block(self) -> int:
        """That of a vLLM server with this package's settings: only such a server is sent token ids."""
        return cache_block(self.config)

    def gpus_per_replica(self) -> float:
        """None, unless the job wants the place."""
        return self.config.gpus_per_replica or 0.0

    def open(self) -> Judge:
        """Ask the servers who they are."""
        from coigw_judge.judges.endpoint.judge import EndpointJudge  # httpx is worth loading only now

        return EndpointJudge(self.config)
