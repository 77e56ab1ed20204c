"""A chat model in a model process writes the next question too: no second copy of it in the service."""

from __future__ import annotations

from dar_search.data import Dialogue
from dar_search.models.process.child import Limits
from dar_search.models.process.remote import RemoteReformulator
from dar_search.models.process.supervisor import ModelProcess
from dar_search.models.reformulators.question_writer import question_writer


def test_the_process_that_reformulates_writes_the_questions() -> None:
    limits = Limits(waiting=8, batch_items=4, batch_s=30.0, start_s=120.0)
    process = ModelProcess("tests.hosted_chat:load", {}, limits)
    try:
        remote = RemoteReformulator(process=process, name="chat:echo")
        writer = question_writer(remote)
        assert writer is not None
        assert writer.write(Dialogue("a dog"), ["a cat"], "") == "Is it a dog or a cat?"
        assert remote.reformulate(Dialogue("a dog")).text == "a dog"
    finally:
        process.close()
