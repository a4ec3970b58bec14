"""The scripted judge, but its answers also follow from the wording of the question, as a real one's do."""

from dataclasses import replace

from scripted_judge import ScriptedJudge

from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask


class WordingJudge(ScriptedJudge):
    async def ask(self, ask: Ask) -> Reply:
        told = replace(ask.prompt, fields=(*ask.prompt.fields, ask.prompt.task))
        return await super().ask(replace(ask, prompt=told))
