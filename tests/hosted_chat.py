"""A chat model for a model process: it says back what it was asked, as its question."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from dar_search.data import Dialogue, Reformulation
from dar_search.models.process.hosted import reformulating
from dar_search.models.process.worker import Run


class Echo:
    name = "chat:echo"

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        return Reformulation(dialogue.text, (dialogue.text,), self.name)

    def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        asked = json.loads(messages[-1]["content"])
        return json.dumps({"text": f"Is it {asked['caption']} or {asked['groups'][0]}?"})


def load() -> Mapping[str, Run]:
    return reformulating(Echo())
