"""One dialogue after another against one index: what `dar search` and `dar chat` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dar_search.cli.options.shared import CommonOptions, EncoderOptions, RankingOptions, RewritingOptions, settings_from
from dar_search.cli.running.choosing import with_encoder
from dar_search.cli.running.opening import opened_index, opened_store
from dar_search.cli.shown.output import busy
from dar_search.data import Dialogue, FloatArray, RewrittenQuery, SearchResult
from dar_search.filters import Filter, parse_expressions
from dar_search.ingestion.decoding.decoders import decode_files
from dar_search.ingestion.decoding.limits import limits_of
from dar_search.method.edits import EditWeights, with_pictures, wordless
from dar_search.method.retrieval import SearchOptions, search
from dar_search.method.rewriting import ImaginationOptions, rewrite
from dar_search.ports import Encoder, ImageIndex, Imaginer, Reformulator
from dar_search.settings import Settings


@dataclass(frozen=True)
class Rewriter:
    """The models of the settings, and how they are used."""

    settings: Settings
    encoder: Encoder
    reformulator: Reformulator
    imaginer: Imaginer | None

    def rewrite(self, dialogue: Dialogue, pictures: Sequence[Path] = ()) -> RewrittenQuery:
        """pictures: files that count beside the words, or alone where there are none."""
        chosen = self.settings
        brought = self._embedded(pictures)
        if brought and not dialogue.text:
            query = wordless(self.encoder.provenance.dimension)
        else:
            options = ImaginationOptions(chosen.imagine_count, chosen.imagine_seed, chosen.imagine_steps)
            query = rewrite(
                dialogue, self.encoder, self.reformulator, self.imaginer, schedule=chosen.weights, options=options
            )
        weights = EditWeights(chosen.more_like_weight, chosen.not_this_weight, chosen.picture_weight)
        return with_pictures(query, brought, weights)

    def _embedded(self, pictures: Sequence[Path]) -> dict[str, FloatArray]:
        if not pictures:
            return {}
        decoded = decode_files(pictures, self.encoder.preparation, limits_of(self.settings.ingest.decode))
        embeddings = self.encoder.encode_prepared(np.stack([one.pixels for one in decoded]))
        return {one.sha256: embedding for one, embedding in zip(decoded, embeddings, strict=True)}

    def warm_up(self, *, quiet: bool = False) -> None:
        """Load the weights now, where somebody would wait for them later. Raises what the encoder raises."""
        with busy("Loading the models ...", quiet=quiet):
            self.rewrite(Dialogue("a picture"))


@dataclass(frozen=True)
class Searcher:
    """A rewriter and the index that it searches."""

    rewriter: Rewriter
    index: ImageIndex
    filter: Filter = field(default=())
    exact: bool = False

    def options(self, size: int, offset: int = 0) -> SearchOptions:
        settings = self.rewriter.settings
        return search_options(settings, self.filter, size=size, offset=offset, exact=self.exact)

    def search(self, query: RewrittenQuery, options: SearchOptions) -> SearchResult:
        return search(query, self.index, options)


def search_options(settings: Settings, filter: Filter, *, size: int, offset: int, exact: bool) -> SearchOptions:
    """What the settings and the command line ask of a search."""
    return SearchOptions(
        filter=filter,
        size=size,
        offset=offset,
        depth=settings.depth,
        fusion=settings.score_fusion,
        keyword=settings.keyword,
        exact=exact,
    )


@contextmanager
def opened_rewriter(settings: Settings) -> Iterator[Rewriter]:
    """The models that the settings name."""
    from dar_search.bootstrap import warm_models

    with warm_models(settings) as models:
        yield Rewriter(settings, models.encoder, models.reformulator, models.imaginer)


@contextmanager
def opened_searcher(
    index: str,
    common: CommonOptions,
    encoder: EncoderOptions,
    rewriting: RewritingOptions,
    ranking: RankingOptions,
) -> Iterator[Searcher]:
    """Everything that a search needs; what is wrong with the names is found before a model loads."""
    settings = settings_from(common, encoder, rewriting, ranking)
    conditions = parse_expressions(ranking.filter or ())
    with opened_store(settings) as store:
        settings = with_encoder(settings, opened_index(store, index).provenance)
        with opened_rewriter(settings) as rewriter:
            with busy(f"Loading {settings.encoder} ...", quiet=common.json):
                opened = opened_index(store, index, rewriter.encoder.provenance)
            yield Searcher(rewriter, opened, conditions, ranking.exact)
