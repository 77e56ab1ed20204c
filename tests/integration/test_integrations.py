"""LangChain and MCP over the real app: the retriever in this process, the MCP server as its own, over stdio."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from mcp import ClientSession, StdioServerParameters, stdio_client

from dar_search.client import DarClient
from dar_search.data import Dialogue, Turn
from dar_search.errors import DialogueError, IndexNotFound
from dar_search.integrations.langchain import DarRetriever, dialogue_from_messages
from tests.query_service import CAPTIONS, Service, query_settings
from tests.query_service_http import served

KEY = "a-key-of-the-tests-0123456789"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = query_settings({"keys": {"tests": KEY}}, served_indices=("photos",))
    with served(Service(settings)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[DarClient]:
    with DarClient(url, key=KEY, index="photos") as client:
        yield client


def test_a_retriever_brings_documents_by_rank(client: DarClient) -> None:
    retriever = DarRetriever(client=client, size=2, options={"filter": {"season": "winter"}})
    documents = retriever.invoke("a house\nwhat season? winter")
    assert [document.metadata["rank"] for document in documents] == [1, 2]
    best = documents[0]
    assert best.page_content == "a winter house"
    assert best.id == best.metadata["id"] == "p5"
    assert best.metadata["metadata"] == {"season": "winter", "year": 2005.0}
    assert best.metadata["source"] == "file:///5.jpg"
    assert best.metadata["missing_legs"] == {}


def test_a_retriever_works_in_a_chain_and_asynchronously(client: DarClient) -> None:
    chain = DarRetriever(client=client, size=1) | (lambda documents: documents[0].page_content)
    assert chain.invoke("a red house near a lake") == CAPTIONS[0]
    documents = anyio.run(DarRetriever(client=client, size=1).ainvoke, "a red house near a lake")
    assert documents[0].page_content == CAPTIONS[0]


def test_a_retrievers_errors_are_the_services(client: DarClient) -> None:
    with pytest.raises(IndexNotFound):
        DarRetriever(client=client, index="elsewhere").invoke("a house")


def test_messages_become_a_dialogue() -> None:
    messages = [
        SystemMessage("be brief"),
        AIMessage("What are you looking for?"),
        HumanMessage("a red house"),
        AIMessage("Where is\nit?"),
        HumanMessage([{"type": "text", "text": "near a lake"}]),
        HumanMessage("in winter"),
    ]
    turns = (Turn("Where is it?", "near a lake"), Turn("", "in winter"))
    assert dialogue_from_messages(messages) == Dialogue("a red house", turns)
    with pytest.raises(DialogueError):
        dialogue_from_messages(messages[:2])


def spoken(url: str, key: str, calls: list[tuple[str, dict[str, Any]]]) -> tuple[Any, list[Any]]:
    """What the real `dar mcp` process answers over stdio: (the tools, a result for each call)."""

    async def speak() -> tuple[Any, list[Any]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DAR_")}
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "dar_search", "mcp", "--url", url, "--index", "photos"],
            env=environment | {"DAR_CLIENT__KEY": key},
        )
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            tools = await session.list_tools()
            return tools, [await session.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(speak)


def test_the_mcp_process_offers_both_tools_and_answers_over_stdio(url: str) -> None:
    said = {"description": "a house", "turns": [{"question": "where?", "answer": "near a lake"}]}
    tools, (found, question, filtered, elsewhere, wrong) = spoken(
        url,
        KEY,
        [
            ("search_pictures", {**said, "size": 2}),
            ("next_question", {"description": "a house"}),
            ("search_pictures", {"description": "a house", "filter": {"season": "winter"}}),
            ("search_pictures", {**said, "index": "elsewhere"}),
            ("search_pictures", {"turns": []}),
        ],
    )
    assert {tool.name for tool in tools.tools} == {"search_pictures", "next_question"}
    assert all(tool.description and tool.annotations.read_only_hint for tool in tools.tools)
    assert not found.is_error
    pictures = found.structured_content["pictures"]
    assert [picture["rank"] for picture in pictures] == [1, 2]
    assert pictures[0]["caption"] == CAPTIONS[0]
    assert found.structured_content["searched_for"] == "a house where? near a lake"
    assert question.structured_content["question"].endswith("?")
    assert question.structured_content["answers"]
    assert {one["metadata"]["season"] for one in filtered.structured_content["pictures"]} == {"winter"}
    assert elsewhere.is_error
    assert "index_not_found" in elsewhere.content[0].text
    assert wrong.is_error


def test_a_key_that_is_wrong_is_a_tools_error_and_not_the_processes_end(url: str) -> None:
    _, results = spoken(url, "another-key-0123456789", [("next_question", {"description": "a house"})] * 2)
    assert [result.is_error for result in results] == [True, True]
    assert "unauthenticated" in results[0].content[0].text
    assert KEY not in results[0].content[0].text
