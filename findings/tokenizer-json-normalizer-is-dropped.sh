#!/bin/bash
# transformers 5: half of a tokenizer.json counts.
#
# One would guess: a folder's tokenizer.json is the whole fast tokenizer (normalizer, pre-tokenizer, model,
# post-processor); AutoTokenizer loads it as it is, and tokenizers.Tokenizer.from_file gives the same tokens.
# True (transformers 5.24.0, tokenizers 0.23.x): where tokenizer_config.json names a class that builds its own backend
# (GemmaTokenizer here, that of SigLIP 2's folders), AutoTokenizer takes vocabulary, merges and POST-PROCESSOR from the
# file, but replaces its NORMALIZER by the class's own, without a word. A lower-casing normalizer that was saved into
# the file is gone, while the <eos> that the post-processor adds is there. The same file under tokenizer_class
# PreTrainedTokenizerFast is loaded whole.
#
# Exits 0 while this is so, 1 when it changes, 2 where the packages cannot be installed.
set -u
T=$(mktemp -d) || exit 2
trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install -q transformers==5.24.0 tokenizers==0.23.3 >"$T/pip.log" 2>&1 || {
    tail -3 "$T/pip.log"
    exit 2
}
cd "$T" && HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$T/venv/bin/python" - 2>/dev/null <<'PY'
import json
import sys

import tokenizers
import transformers
from tokenizers import Tokenizer, normalizers, processors

print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"AaBb"]
transformers.GemmaTokenizer(vocab={piece: at for at, piece in enumerate(pieces)}, merges=[]).save_pretrained("folder")
saved = Tokenizer.from_file("folder/tokenizer.json")
saved.normalizer = normalizers.Sequence([normalizers.Lowercase(), saved.normalizer])
saved.post_processor = processors.TemplateProcessing(single="$A <eos>", pair="$A $B <eos>", special_tokens=[("<eos>", 1)])
saved.save("folder/tokenizer.json")

def tokens(kind):
    with open("folder/tokenizer_config.json") as file:
        config = json.load(file)
    with open("folder/tokenizer_config.json", "w") as file:
        json.dump({**config, "tokenizer_class": kind}, file)
    loaded = transformers.AutoTokenizer.from_pretrained("folder")
    return type(loaded).__name__, loaded.convert_ids_to_tokens(loaded("A b").input_ids)

by_file = Tokenizer.from_file("folder/tokenizer.json").encode("A b").tokens
gemma, whole = tokens("GemmaTokenizer"), tokens("PreTrainedTokenizerFast")
print("tokenizer.json itself           ", by_file)
print("AutoTokenizer, as Gemma's class ", *gemma)
print("AutoTokenizer, as no one's class", *whole)
as_found = by_file == ["a", "▁", "b", "<eos>"] and whole[1] == by_file and gemma[1] == ["A", "▁", "b", "<eos>"]
print("as found: the normalizer is dropped, the post-processor kept" if as_found else "CHANGED")
sys.exit(0 if as_found else 1)
PY
