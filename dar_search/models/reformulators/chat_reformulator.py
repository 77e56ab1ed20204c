"""A Reformulator that runs a chat model of transformers (Qwen, Llama and others) in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dar_search.data import Dialogue, Reformulation
from dar_search.errors import ModelFailed, SettingsError
from dar_search.models import tokenizing, weights
from dar_search.models.completeness import buffers, require_complete
from dar_search.models.devices import failures_named, resolve_device, resolve_dtype
from dar_search.models.encoders.quiet import quiet_libraries
from dar_search.models.reformulators import instructions

if TYPE_CHECKING:
    import torch

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
IGNORED = ("*/*", "consolidated*")
_LESS = "{ enable_thinking = false }"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to ask.

    Attributes:
        prompts: for the imaginer, how many.
        most_tokens: of the answer, for each prompt, and of what a thinking model thinks before it.
        seconds: the longest that the model may write; what it has not finished then counts as no answer.
        template: what the model's own chat template takes, such as {"enable_thinking": false}.
    """

    prompts: int = 1
    most_tokens: int = 200
    seconds: float = 60.0
    template: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prompts < 1 or self.most_tokens < 1 or self.seconds <= 0:
            raise SettingsError(f"A chat model cannot be asked so: {self}.", "Each value is more than zero.")


class ChatReformulator:
    """Loads its weights at the first dialogue; one dialogue at a time. Raises ModelError."""

    def __init__(
        self,
        source: str,
        *,
        name: str = "",
        device: str = "auto",
        dtype: str = "auto",
        options: ChatOptions | None = None,
    ) -> None:
        """source: a folder's path or a hub name. Raises WeightsMissing at once for a path that is no model folder."""
        local = weights.looks_local(source)
        if local:
            weights.read_config(weights.folder(source, patterns=PATTERNS) / "config.json")
        self._source = source
        self._name = name or f"chat:{Path(source).expanduser().resolve().name if local else source}"
        self._device_name = device
        self._dtype_name = dtype
        self._options = options or ChatOptions()
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def key(self) -> str:
        """See `ports.KeyedReformulator`. Reads the weights' digest; raises WeightsMissing, UnsafeWeights."""
        where = weights.folder(self._source, patterns=PATTERNS, ignore=IGNORED)
        beside = {*where.glob("*.json"), *where.glob("*.jinja"), *tokenizing.files(where)}
        files = sorted({*weights.check(where, model=self._name), *beside})
        options = (self._device_name, self._dtype_name, self._options)
        # Without the name: the same model in a folder of another name writes the same.
        return f"chat {weights.revision(files)} {options} {instructions.identity()}"

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        answer = self.answer(instructions.messages(dialogue, self._options.prompts))
        return instructions.read(answer, reformulator=self._name, prompts=self._options.prompts)

    def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """See `ports.ChatModel`: what the model writes, within the same limits."""
        with self._lock, failures_named(f"Asking {self._name}"):
            answer, limit = self._model.written([dict(message) for message in messages], self._options)
        if limit and instructions.object_in(answer) is None:
            raise ModelFailed(
                f"{self._name} did not answer with a whole JSON object within its {limit}.",
                f"Raise most_tokens or seconds in its options; a thinking model may think less by template: {_LESS}.",
            )
        return answer

    def warm_up(self) -> None:
        """Load now what would otherwise be loaded at the first dialogue."""
        with self._lock:
            _ = self._model

    @cached_property
    def _model(self) -> _ChatModel:
        device = resolve_device(self._device_name)
        with failures_named(f"Loading {self._name}"):
            return _loaded(self._source, self._name, device, resolve_dtype(self._dtype_name, device))


@dataclass(frozen=True, slots=True)
class _ChatModel:
    model: Any
    tokenizer: Any
    device: torch.device

    def answer(self, messages: list[dict[str, str]], options: ChatOptions) -> str:
        """Greedy, so that the same dialogue always has the same reformulation."""
        return self.written(messages, options)[0]

    def written(self, messages: list[dict[str, str]], options: ChatOptions) -> tuple[str, str]:
        """The answer, and the limit that ended it, in words: "" where the model ended it itself."""
        import torch

        tokens = self._tokens(messages, options)
        length = tokens["input_ids"].shape[1]
        room = int(getattr(self.model.config, "max_position_embeddings", 2**31)) - length
        if room < 1:
            raise ModelFailed("The dialogue is longer than the chat model's context.", "Use a model with a longer one.")
        most, began = min(options.most_tokens * (1 + options.prompts), room), time.monotonic()
        with torch.inference_mode(), quiet_libraries():
            written = self.model.generate(
                **tokens,
                do_sample=False,
                max_new_tokens=most,
                max_time=options.seconds,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
            )
        late = time.monotonic() - began >= options.seconds
        limit = f"{most} tokens" if written.shape[1] - length >= most else f"{options.seconds:g} s" if late else ""
        return str(self.tokenizer.decode(written[0, length:], skip_special_tokens=True)), limit

    def _tokens(self, messages: list[dict[str, str]], options: ChatOptions) -> Any:
        from jinja2 import TemplateError

        def templated(chat: list[dict[str, str]]) -> Any:
            return self.tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, return_dict=True, return_tensors="pt", **options.template
            ).to(self.device)

        try:
            return templated(messages)
        except TemplateError:
            # Gemma's and some others' know no system.
            return templated(instructions.without_system(messages))


def _loaded(source: str, name: str, device: torch.device, dtype: torch.dtype) -> _ChatModel:
    weights.require("torch", "transformers")
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    where = weights.folder(source, patterns=PATTERNS, ignore=IGNORED)
    weights.check(where, model=name)
    kind = weights.read_config(where / "config.json").get("model_type")
    with quiet_libraries():
        if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise ModelFailed(f"{name} is a {kind} model, which is no chat model.", "Choose a chat (instruct) model.")
        tokenizer = tokenizing.load(where, model=name)
        if not tokenizer.chat_template:
            raise ModelFailed(
                f"{name} has no chat template.",
                "Choose a chat (instruct) model; where it is one, its chat_template.jinja is missing: fetch it again.",
            )
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            where,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    saved_as = model.config.architectures or ()
    require_complete(report, model=name, kind=type(model).__name__, saved_as=saved_as, buffers=buffers(model))
    tokenizing.require_fit(tokenizer, model.get_input_embeddings().num_embeddings, model=name)
    # Sampling settings that come with a model would only be warned about: the answer is greedy.
    model.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None)
    return _ChatModel(model.to(device).eval().requires_grad_(False), tokenizer, device)
