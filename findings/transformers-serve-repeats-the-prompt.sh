#!/bin/bash
# One would guess: an OpenAI-compatible server answers with what the model wrote, so the first JSON object in the content
# is the model's. True: `transformers serve` chooses how to take an answer apart by the configuration's model_type alone.
# A checkpoint of type qwen2 whose own chat template is not ChatML (the DeepSeek-R1 distillations are such) gets the WHOLE
# PROMPT in front of its answer in `content`, system message and all; the same answer under model_type llama does not.
# So whoever shows an example object in the instruction finds it in the "answer", and must not take it for one.
#
# This calls the function with which that server makes `content` out of the model's tokens, with a tokenizer made here:
# no weights are needed. Exits non-zero if the two types are treated alike, or the prompt is left out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 jinja2==3.1.6 fastapi==0.165.0 openai==3.57.0 uvicorn==0.54.0
"$folder/venv/bin/python" - <<'PY'
import sys
from types import SimpleNamespace

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.cli.serving.utils import parse_assistant_message

letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
bytes_alone = Tokenizer(models.BPE(vocab=letters, merges=[]))
bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
bytes_alone.decoder = decoders.ByteLevel()
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bytes_alone)
tokenizer.chat_template = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}{% else %}"
    "<｜User｜>{{ message.content }}{% endif %}{% endfor %}<｜Assistant｜>"
)
chat = [{"role": "system", "content": 'Answer as {"text": "..."}. '}, {"role": "user", "content": "What is red?"}]
prompt = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False))["input_ids"]
written = '{"text": "a rose"}'
contents = {}
for kind in ("llama", "qwen2"):
    model = SimpleNamespace(config=SimpleNamespace(model_type=kind))
    answer = tokenizer(written)["input_ids"]
    contents[kind], *_ = parse_assistant_message(tokenizer, model, answer, prompt, cleaned_content=written)
print("transformers", transformers.__version__)
for kind, content in contents.items():
    print(f"model_type {kind}: the model wrote {written!r}, content is {content!r}")
sys.exit(0 if contents["llama"] == written and contents["qwen2"].endswith("<｜Assistant｜>" + written) else 1)
PY
