"""A LangChain retriever over a query service (extra `langchain`).

retriever = DarRetriever(client=DarClient(index="photos"), size=5)
documents = retriever.invoke("a red balloon\\nwhere is it? at the beach")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from dar_search.client import DarClient
from dar_search.data import Dialogue, Turn
from dar_search.errors import DialogueError


class DarRetriever(BaseRetriever):
    """Pictures as documents: the caption is the content; id, rank, score, source and legs are in the metadata.

    The query is a dialogue as plain text: a caption line, then a line "question? answer" for each turn. A history of
    messages becomes one by `dialogue_from_messages`, which `retrieve` takes. Raises what `DarClient.search` raises.

    Attributes:
        client: of the service.
        index: asked instead of the client's own.
        size: how many pictures.
        options: of `DarClient.search`, such as {"filter": {"city": "Paris"}, "deadline_ms": 500}.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    client: DarClient
    index: str | None = None
    size: int = 10
    options: dict[str, Any] = Field(default_factory=dict)

    def retrieve(self, dialogue: Dialogue | Sequence[str]) -> list[Document]:
        """Pictures for a dialogue that is no plain text."""
        answer = self.client.search(dialogue, **{"index": self.index, "size": self.size, **self.options})
        return [
            Document(
                page_content=hit.caption,
                id=hit.id,
                metadata={
                    "id": hit.id,
                    "rank": hit.rank,
                    "score": hit.score,
                    "source": hit.source,
                    "metadata": {
                        name: list(value) if isinstance(value, tuple) else value for name, value in hit.metadata.items()
                    },
                    "imagined": answer.imagined,
                    "missing_legs": answer.missing,
                    "request_id": answer.request_id,
                },
            )
            for hit in answer.hits
        ]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return self.retrieve(query)


def dialogue_from_messages(messages: Sequence[BaseMessage]) -> Dialogue:
    """A chat's messages: the first that the person wrote is the caption; what they wrote after is a turn's answer, to
    the assistant's last words before it. Other messages are left out. Raises DialogueError where they wrote nothing."""
    caption, question, turns = "", "", []
    for message in messages:
        text = " ".join(message.text.split())
        if isinstance(message, AIMessage):
            question = text
        elif isinstance(message, HumanMessage) and text:
            if caption:
                turns.append(Turn(question, text))
            else:
                caption = text
            question = ""
    if not caption:
        raise DialogueError("The messages hold nothing that a person wrote.", "Begin with a HumanMessage.")
    return Dialogue(caption, tuple(turns))
