"""An MCP server over a query service (extra `mcp`): the tools search_pictures and next_question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from dar_search import __version__
from dar_search.client import DarClient
from dar_search.errors import DarError

INSTRUCTIONS = """Finds pictures by a dialogue. Begin with a description; ask the person what next_question suggests;
call search_pictures again with all questions and answers so far. It keeps nothing between calls."""
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
Found = TypeVar("Found")

Description = Annotated[str, Field(min_length=1, max_length=4000, description="What the picture shows.")]
Index = Annotated[str | None, Field(description="Which index; leave out for the usual one.")]


class SaidTurn(BaseModel):
    """A question that was asked about the picture, with the person's answer."""

    question: str = Field("", max_length=4000)
    answer: str = Field("", max_length=4000)


Turns = Annotated[list[SaidTurn], Field(max_length=100, description="Questions and answers so far, in order.")]


class FoundPicture(BaseModel):
    """A picture. source: where it is; score: only comparable within one answer."""

    id: str
    rank: int
    score: float
    source: str
    caption: str
    metadata: dict[str, Any]


class FoundPictures(BaseModel):
    """Pictures, best first. searched_for: what the dialogue became; missing: parts that were not there in time."""

    pictures: list[FoundPicture]
    searched_for: str
    imagined: bool
    missing: dict[str, str]


class SuggestedQuestion(BaseModel):
    """What to ask the person next. answers: what splits the candidates, with the share of each."""

    question: str
    source: str
    answers: dict[str, float]
    candidates: int


def make_server(client: DarClient) -> MCPServer:
    """The server; `run()` speaks over standard input and output."""
    server = MCPServer("dar-search", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING")

    @server.tool(title="Search pictures", annotations=_READS)
    async def search_pictures(
        description: Description,
        turns: Turns = [],  # noqa: B006  # pydantic copies it, and the schema shows it
        index: Index = None,
        size: Annotated[int, Field(ge=1, le=100, description="How many pictures.")] = 10,
        filter: Annotated[
            dict[str, Any] | None,
            Field(
                description='Conditions on metadata: {"city": "Paris"}, {"year": {"gte": 2000}}, '
                '{"taken": {"lt": "2024-03"}}, {"not": {...}}.'
            ),
        ] = None,
    ) -> FoundPictures:
        """Find pictures by what is known of them: a description, and questions with their answers."""
        answer = await _asked(
            lambda: client.search(_dialogue(description, turns), index=index, size=size, filter=filter)
        )
        return FoundPictures(
            pictures=[
                FoundPicture(
                    id=hit.id,
                    rank=hit.rank,
                    score=hit.score,
                    source=hit.source,
                    caption=hit.caption,
                    metadata=dict(hit.metadata),
                )
                for hit in answer.hits
            ],
            searched_for=answer.text,
            imagined=answer.imagined,
            missing=answer.missing,
        )

    @server.tool(title="Next question", annotations=_READS)
    async def next_question(description: Description, turns: Turns = [], index: Index = None) -> SuggestedQuestion:  # noqa: B006  # as above
        """The question to ask the person next: the one whose answer tells the candidates apart best."""
        found = await _asked(lambda: client.question(_dialogue(description, turns), index=index))
        shares = (found.why or {}).get("shares") or {}
        return SuggestedQuestion(
            question=found.text, source=found.source, answers=dict(shares), candidates=found.candidates
        )

    return server


def _dialogue(description: str, turns: list[SaidTurn]) -> dict[str, Any]:
    return {"caption": description, "turns": [turn.model_dump() for turn in turns]}


async def _asked(ask: Callable[[], Found]) -> Found:
    try:
        # In a thread: the server answers pings and cancellations meanwhile.
        return await anyio.to_thread.run_sync(ask)
    except DarError as error:
        raise ToolError(f"{error.code}: {error}") from error
