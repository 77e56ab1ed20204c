"""DAR under a deadline: the best answer that the time allows, and what became of each leg.

`rewriting.rewrite` and `retrieval.search` are the method; this runs their parts side by side.

    reformulation ──> text encoded ──> text-only search ──────────────┐ the answer, if the imagination is late
         │                                                            ├──> the answer
         └──────────> imagination ────────────────> search with it ───┘

An imagination that is there at once (a cached one) costs one search, not two. A language model that is not done when
its share of the time is over is replaced by the rules; one imagination that comes late is in the cache for the next
turn. Models and searches run in crews of their own: where one kind of work hangs, its crew fills up, and from then on
answers do without it at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dar_search.answering.answers import Answer, Asked, Imagined, Models, Running, answer_of, query_of, without_pictures
from dar_search.answering.crews import Crew
from dar_search.answering.index_crew import IndexCrew, silent_index
from dar_search.answering.time_limits import limited
from dar_search.data import FloatArray, Imagination, Leg, Reformulation, RewrittenQuery, SearchResult
from dar_search.errors import DarError, ModelBusy, ModelError, ModelFailed, ModelTimeout, StoreError
from dar_search.method.edits import edited, with_pictures, wordless
from dar_search.method.questions import NextQuestion, QuestionOptions, stored_question, survey, written_question
from dar_search.method.retrieval import SearchOptions, search
from dar_search.method.rewriting import check_words, imagine, reformulate, unweighted
from dar_search.ports import ImageIndex, SearchRequest

T = TypeVar("T")
#: Of the deadline: when a reformulation that is not there yet is given up.
WORDS_SHARE = 0.5
#: The longest wait for an imagination before the text-only search begins, seconds: enough for a cached one.
_AT_ONCE = 0.02


class AnytimeSearcher:
    """Answers dialogues on time. Safe for many threads; keeps threads of its own until `close`.

    Args:
        at_once: how many questions it serves side by side; each crew has twice as many threads, so that work that was
            given up may end in its own time without holding up others.
    """

    def __init__(self, models: Models, *, at_once: int = 8) -> None:
        self.models = models
        names = ("reformulation", "encoding", "imagination", "question")
        self._crews = {name: Crew(name, threads=2 * at_once, waiting=2 * at_once) for name in names}
        self._index_crew = IndexCrew(threads=2 * at_once, waiting=2 * at_once)
        # Late imaginations go on, so a queue of them would be stale work before the fresh: here nothing waits.
        self._crews["imagination"] = Crew("imagination", threads=at_once, waiting=0)

    @property
    def queued(self) -> Mapping[str, int]:
        """How much waits in each crew, about."""
        return {name: crew.queued for name, crew in self._crews.items()} | {"search": self._index_crew.queued}

    def close(self) -> None:
        self._index_crew.close()
        for crew in self._crews.values():
            crew.close()

    def ask(self, work: Callable[[], T], asked: Asked) -> T:
        """What `work` says, which asks a store for what was asked, by the deadline and its overtime.

        Raises as `work` does, ModelBusy, and StoreUnavailable where it takes longer.
        """
        return self._index_crew.ask(work, Running(asked).longest())

    def rewrite(self, asked: Asked, index: ImageIndex | None = None) -> RewrittenQuery:
        """The query alone, as good as the deadline allows; with its edits where there is an index to find hits in.

        Raises DialogueError, RequestError, and ModelError where the text cannot be encoded.
        """
        turn = Running(asked)
        if turn.wordless:
            query = wordless(self.models.encoder.provenance.dimension)
        else:
            written, imagining = self._begin(turn)
            text = self._encoded(turn, written, last=True)
            pictures, leg = self._imagined(turn, imagining, turn.left())
            query = query_of(turn, written, text, pictures, leg)
        if index is None or not asked.edits:
            return with_pictures(query, asked.pictures, asked.edit_weights)
        return self._index_crew.ask(lambda: self._edited(turn, query, index), turn.longest())

    def embedded(self, pixels: NDArray[np.uint8], asked: Asked) -> FloatArray:
        """The embedding of a picture that the encoder's `Preparation` made, (height, width, 3), by the deadline and its
        overtime. Raises ModelError."""
        encoder = self.models.encoder
        work = self._crews["encoding"].start(lambda: encoder.encode_prepared(pixels[None])[0])
        try:
            embedding: FloatArray = work.result(Running(asked).longest())
        except TimeoutError:
            work.cancel()
            raise ModelTimeout("The encoder did not answer in time.", "Ask again, or raise deadline_ms.") from None
        return embedding

    def answer(self, asked: Asked, index: ImageIndex) -> Answer:
        """The best answer that the deadline allows.

        Raises DialogueError, RequestError, FilterError and StoreError; ModelError only where the text cannot be
        encoded and there is no keyword leg to answer with.
        """
        answers = list(self._answers(Running(asked), index, patience=None))
        return answers[-1]

    def stream(self, asked: Asked, index: ImageIndex) -> Iterator[Answer]:
        """The text-only answer by the deadline; then, if `final` is not set, the imagined one. Raises as `answer`."""
        yield from self._answers(Running(asked), index, patience=asked.imagined_seconds)

    def question(self, asked: Asked, index: ImageIndex, options: QuestionOptions) -> NextQuestion:
        """The next question, by the deadline: in a language model's words where they come in time, else in stored ones.

        `options.search` says where candidates are found, not `asked.options`. Raises as `answer`, and ModelError
        where the text cannot be encoded.
        """
        began = Running(asked)
        query = self.rewrite(replace(asked, seconds=asked.seconds / 2), index)
        surveyed = self._index_crew.ask(lambda: survey(query, index, options), began.longest())
        surveyed = replace(surveyed, legs={**query.legs, **surveyed.legs})
        writer = self.models.writer
        if writer is None or not asked.outside_models:
            return stored_question(surveyed)
        try:
            work = self._crews["question"].start(lambda: written_question(surveyed, writer))
            return work.result(began.left())
        except TimeoutError:
            leg = Leg("late", began.took_ms(), f"{writer.name} did not answer in time")
        except ModelBusy as error:
            leg = Leg("failed", reason=error.message)
        except Exception as error:  # noqa: BLE001  # as for a reformulator
            leg = Leg("failed", reason=f"{writer.name}: {type(error).__name__}")
        return stored_question(surveyed, leg)

    def _answers(self, turn: Running, index: ImageIndex, patience: float | None) -> Iterator[Answer]:
        """patience: None for one answer by the deadline; else the text's, and seconds to wait for the imagination."""
        if turn.wordless:
            yield self._searched(turn, wordless(self.models.encoder.provenance.dimension), index, final=True)
            return
        written, imagining = self._begin(turn)
        try:
            text = self._encoded(turn, written, last=not turn.asked.options.keyword)
        except ModelError as error:
            yield self._by_keywords(turn, written, imagining, error, index)
            return
        if isinstance(imagining, Leg):
            yield self._searched(turn, query_of(turn, written, text, (), imagining), index, final=True)
            return
        if patience is None and wait([imagining], min(_AT_ONCE, turn.left() / 4)).done:
            pictures, leg = self._imagined(turn, imagining, 0)
            yield self._searched(turn, query_of(turn, written, text, pictures, leg), index, final=True)
            return

        waiting = Leg("late", turn.took_ms(), "it is still being imagined")
        alone = self._searched(turn, query_of(turn, written, text, (), waiting), index, final=False)
        if patience is not None:
            yield alone
        left = turn.left() - 1.5 * self._index_crew.typical if patience is None else patience - turn.took()
        pictures, leg = self._imagined(turn, imagining, left)
        if not pictures:
            yield without_pictures(turn, alone, leg)
            return
        query = query_of(turn, written, text, pictures, leg)
        limit = turn.left() if patience is None else limited(turn.asked.overtime)
        try:
            yield self._searched(turn, query, index, final=True, seconds=limit)
        except (StoreError, ModelBusy) as error:
            # The text's answer is there: better that than an error.
            reason = f"imagined, but the search with it failed: {error.message}"
            yield without_pictures(turn, alone, Leg("late", leg.took_ms, reason))

    def _begin(self, turn: Running) -> tuple[tuple[Reformulation, Leg], Future[Imagined] | Leg]:
        """The text, in time; and the imagination, begun, or why there will be none."""
        asked, models = turn.asked, self.models
        check_words(asked.dialogue)
        written = self._reformulated(turn)
        if asked.without_imagination:
            return written, Leg("failed", reason=asked.without_imagination)
        if asked.schedule.at(asked.dialogue.round).image <= 0:
            return written, unweighted(asked.dialogue)
        if models.imaginer is None or asked.imagination.count < 1:
            return written, Leg("off", reason="there is no imaginer" if models.imaginer is None else "not asked for")
        prompts, dimension = written[0].prompts, models.encoder.provenance.dimension
        try:
            work = self._crews["imagination"].start(
                lambda: imagine(prompts, models.imaginer, asked.imagination, dimension)
            )
        except ModelBusy as error:
            return written, Leg("failed", reason=error.message)
        return written, work

    def _reformulated(self, turn: Running) -> tuple[Reformulation, Leg]:
        asked, models = turn.asked, self.models
        if not asked.outside_models or models.reformulator is models.fallback:
            return reformulate(asked.dialogue, models.fallback)
        try:
            work = self._crews["reformulation"].start(lambda: reformulate(asked.dialogue, models.reformulator))
        except ModelBusy as error:
            return self._instead(turn, "failed", error.message)
        try:
            written, leg = work.result(max(0.0, turn.asked.seconds * WORDS_SHARE - turn.took()))
        except TimeoutError:
            work.cancel()
            return self._instead(turn, "late", f"{models.reformulator.name} did not answer in time")
        except Exception as error:  # noqa: BLE001  # an adapter that breaks its word must not take the answer with it
            return self._instead(turn, "failed", f"{models.reformulator.name}: {type(error).__name__}")
        # The rules write better than the dialogue's own words, which `reformulate` gives where there is nothing else.
        return self._instead(turn, leg.status, leg.reason) if written.reformulator == "none" else (written, leg)

    def _instead(self, turn: Running, status: str, reason: str) -> tuple[Reformulation, Leg]:
        note = f"{self.models.fallback.name} instead of {self.models.reformulator.name}: {reason}"
        written, _ = reformulate(turn.asked.dialogue, self.models.fallback)
        leg = Leg("late" if status == "late" else "failed", turn.took_ms(), note)
        return replace(written, note=note), leg

    def _encoded(self, turn: Running, written: tuple[Reformulation, Leg], *, last: bool) -> FloatArray:
        """The text's embedding. last: nothing else can answer, so it is waited for beyond the deadline."""
        encoder = self.models.encoder
        work = self._crews["encoding"].start(lambda: encoder.encode_texts([written[0].text])[0])
        try:
            text: FloatArray = work.result(turn.longest() if last else turn.left())
        except TimeoutError:
            work.cancel()
            raise ModelFailed("The encoder did not answer in time.", "Ask again, or raise deadline_ms.") from None
        return text

    def _imagined(
        self, turn: Running, imagining: Future[Imagined] | Leg, seconds: float
    ) -> tuple[tuple[Imagination, ...], Leg]:
        if isinstance(imagining, Leg):
            return (), imagining
        began = turn.took_ms()
        try:
            # Not cancelled where it is late: it goes on, and is in the cache for the next turn.
            return imagining.result(max(0.0, seconds))
        except TimeoutError:
            return (), Leg("late", turn.took_ms(), "the imagination was not there in time")
        except DarError as error:
            if not isinstance(error, ModelError):
                raise  # what the caller asked for is wrong
            return (), Leg("failed", turn.took_ms() - began, error.message)
        except Exception as error:  # noqa: BLE001  # as above
            return (), Leg("failed", turn.took_ms() - began, f"the imaginer raised {type(error).__name__}")

    def _edited(self, turn: Running, query: RewrittenQuery, index: ImageIndex) -> RewrittenQuery:
        asked = turn.asked
        query = with_pictures(query, asked.pictures, asked.edit_weights)
        return edited(query, asked.edits, index, weights=asked.edit_weights, cache=self.models.cache)

    def _searched(
        self, turn: Running, query: RewrittenQuery, index: ImageIndex, *, final: bool, seconds: float | None = None
    ) -> Answer:
        """seconds: for the search; None: as long as it takes, up to the deadline and some more.

        Where both legs together take too long, the k-NN leg is asked alone: its answer is better than none.
        """
        options = turn.asked.options

        def run(options: SearchOptions) -> Callable[[], tuple[RewrittenQuery, SearchResult]]:
            def work() -> tuple[RewrittenQuery, SearchResult]:
                began = time.perf_counter()
                changed = self._edited(turn, query, index)
                found = search(changed, index, options)
                self._index_crew.took(time.perf_counter() - began)
                return changed, found

            return work

        limit = turn.longest() if seconds is None else max(0.0, seconds)
        both = self._index_crew.start(run(options), limit)
        hedge = seconds is None and options.keyword and not turn.wordless
        patience = min(limit, max(0.8 * turn.left(), 3 * self._index_crew.typical)) if hedge else limit
        done = wait([both], patience).done
        if not done and hedge:
            waited = turn.took_ms()
            asked = [both]
            with suppress(ModelBusy):  # with no place for another search, this one is waited for
                alone = self._index_crew.start(run(replace(options, keyword=False)), turn.longest())
                asked = [alone] if both.cancel() else [both, alone]
            done = wait(asked, turn.longest(), "FIRST_COMPLETED").done
            if done and both not in done:
                changed, found = done.pop().result()
                legs = {**found.legs, "keyword": Leg("late", waited, "the search by words did not answer in time")}
                return answer_of(turn, query.reformulation, changed, replace(found, legs=legs), final=final)
        if both not in done:
            both.cancel()
            raise silent_index()
        changed, found = both.result()
        return answer_of(turn, query.reformulation, changed, found, final=final)

    def _by_keywords(
        self,
        turn: Running,
        written: tuple[Reformulation, Leg],
        imagining: Future[Imagined] | Leg,
        error: ModelError,
        index: ImageIndex,
    ) -> Answer:
        """Without the text's embedding there is no k-NN leg: the words answer alone. Raises `error` if they may not."""
        options = turn.asked.options
        if not options.keyword:
            raise error
        request = SearchRequest(
            text=written[0].text,
            filter=options.filter,
            size=options.size,
            offset=options.offset,
            depth=options.depth,
            fusion=options.fusion,
            thumbnails=options.thumbnails,
        )
        found = self._index_crew.ask(lambda: index.search(request), turn.longest())
        legs = {
            "reformulation": written[1],
            "imagination": imagining if isinstance(imagining, Leg) else Leg("failed", reason="there is no k-NN leg"),
            **found.legs,
            "knn": Leg("failed", turn.took_ms(), error.message),
        }
        return answer_of(turn, written[0], None, replace(found, legs=legs), final=True)
