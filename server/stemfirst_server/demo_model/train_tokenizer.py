"""Train the demo tokenizer and write its files beside this script.

Run it as `python -m stemfirst_server.demo_model.train_tokenizer`; the outcome is committed, so
this is needed only when the corpus or the special tokens change. A byte-level BPE of 4,096
tokens: any text goes in, and the same text comes out.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from stemfirst_server.demo_model.corpus import documents

VOCAB_SIZE = 4096
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
MARKER_TOKENS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<think>", "</think>")

# Words with one leading space, numbers by three digits, runs of punctuation, line ends.
# Source: the split that the Llama 3 tokenizer publishes in its tokenizer.json (April 2024).
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train() -> Tokenizer:
    """Return the tokenizer, trained anew; the same files give the same tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(MARKER_TOKENS),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents(), trainer)
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in MARKER_TOKENS])
    assert tokenizer.get_vocab_size() == VOCAB_SIZE, "the corpus has too few distinct words"
    return tokenizer


def main() -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`."""
    folder = Path(__file__).parent
    train().save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "bos_token": None,
        "model_max_length": 32768,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
