"""Remembered runs change no token, whatever kind of tokenizer a model brings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst_server.tokens.cuts import find_cuts
from stemfirst_server.tokens.detokenize import Vocabulary
from stemfirst_server.tokens.encoder import Encoder
from tokenizers import (
    AddedToken,
    NormalizedString,
    PreTokenizedString,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CORPUS = ["the cat sat on a mat", "über Straßen, 漢字 and 😀", "a  b\n\nc ... 123 [x] (y)"] * 4
CUTS = ["<|a|>", "<|a|>b", "[INST]", "<s>"]
WORDS = [*CUTS, "<t>", "MASK", "W", "low", "cat ", " sat", "ß", "😀", "\n", " ", "  ", "a", "é", "̸",
         "[x]", "[X]", "|>", "<|"]  # fmt: skip


def byte_level() -> Tokenizer:
    """GPT's kind: bytes, merged."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    return made


def prefixed_bytes() -> Tokenizer:
    """RoBERTa's kind: a space is put before the text."""
    made = byte_level()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return made


def sentence_bpe(scheme: str) -> Tokenizer:
    """Llama 2's kind: words marked with an underscore, the first one too or not."""
    made = Tokenizer(models.BPE(unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, special_tokens=["?"]))
    return made


def prepended() -> Tokenizer:
    """Llama 2's older kind: a normaliser writes the mark."""
    made = Tokenizer(models.BPE(unk_token="?"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, special_tokens=["?"]))
    return made


def word_piece() -> Tokenizer:
    """BERT's kind: lower case, no accents."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"])
    )
    return made


def unigram() -> Tokenizer:
    """T5's kind, with Unicode made canonical first."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=100, special_tokens=["?"], unk_token="?")
    )
    return made


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": byte_level,
    "byte-level with a space before": prefixed_bytes,
    "sentence, first word marked": lambda: sentence_bpe("first"),
    "sentence, always marked": lambda: sentence_bpe("always"),
    "sentence, never marked": lambda: sentence_bpe("never"),
    "prepended": prepended,
    "word pieces": word_piece,
    "unigram": unigram,
}

AWKWARD = (
    [],
    [AddedToken("<t>", normalized=False)],
    [AddedToken("<|a|>b<s", normalized=False), AddedToken("a<|a", normalized=False)],
    [AddedToken("MASK", lstrip=True, rstrip=True, normalized=False, special=True)],
    [AddedToken("W", single_word=True, normalized=False), AddedToken("low", single_word=True)],
    [AddedToken("[X]", normalized=True, special=True), AddedToken("  ", normalized=False)],
)
BUILT = {
    f"{family}, {index}": (make, added)
    for family, make in FAMILIES.items()
    for index, added in enumerate(AWKWARD)
}


@cache
def _trained(make: Callable[[], Tokenizer]) -> str:
    return make().to_str()


def built(name: str) -> Tokenizer:
    make, added = BUILT[name]
    tokenizer = Tokenizer.from_str(_trained(make))
    tokenizer.add_special_tokens([AddedToken(cut, normalized=False) for cut in CUTS])
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])
    return tokenizer


@pytest.mark.parametrize("name", BUILT)
def test_remembered_runs_are_the_tokens_of_the_whole_text(name: str) -> None:
    tokenizer = built(name)
    encoder = Encoder(tokenizer, most_bytes=20_000)  # small, so that runs are forgotten too

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.sampled_from(WORDS), max_size=14))
    def law(words: list[str]) -> None:
        text = "".join(words)
        whole = tokenizer.encode(text, add_special_tokens=False).ids
        for encoded in (encoder.encode(text), encoder.encode(text)):
            assert encoded.token_ids.tolist() == whole
            starts = encoded.starts.tolist()
            assert starts == sorted(starts)
            assert all(0 <= start < len(text) for start in starts)
        encoder.check()

    law()


@pytest.mark.parametrize("family", [name for name in FAMILIES if "space before" not in name])
def test_every_family_is_split_at_its_control_tokens(family: str) -> None:
    encoder = Encoder(built(f"{family}, 0"))
    assert encoder.is_split
    head = "<|a|>" + "the cat sat on a mat " * 40
    encoder.encode(head + "<s>one")
    before = encoder.misses
    encoder.encode(head + "<s>two")
    assert encoder.misses - before == 1


class Shouting:
    """A pre-tokenizer of somebody's own, which splits by what stands before."""

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        seen = 0

        def split(_: int, part: NormalizedString) -> list[NormalizedString]:
            nonlocal seen
            seen += 1
            return [part] if seen == 1 else part.split(" ", "isolated")

        text.split(split)


def test_a_tokenizer_whose_runs_depend_on_what_stands_before_remembers_whole_texts() -> None:
    tokenizer = built("byte-level, 0")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.PreTokenizer.custom(Shouting()), tokenizer.pre_tokenizer]
    )
    encoder = Encoder(tokenizer)
    assert not encoder.is_split
    text = "<|a|>" + "the cat sat " * 9 + "<s>" + "the cat sat " * 9
    assert encoder.encode(text).token_ids.tolist() == tokenizer.encode(text).ids
    assert encoder.encode(text) is encoder.encode(text)


def test_a_limit_in_the_tokenizers_file_cuts_no_prompt() -> None:
    tokenizer = built("byte-level, 0")
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    assert len(Encoder(tokenizer).encode("the cat sat on a mat").token_ids) > 3
    assert len(Encoder(tokenizer).encode("a").token_ids) == 1


def test_plain_prompts_get_the_tokenizers_own_first_token_each_time() -> None:
    tokenizer = built("byte-level, 0")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    encoder = Encoder(tokenizer)
    for _ in range(2):
        plain = encoder.encode("the cat", add_special_tokens=True).token_ids.tolist()
        bare = encoder.encode("the cat").token_ids.tolist()
        assert plain == [tokenizer.token_to_id("<s>"), *bare]


def test_a_run_of_one_tenant_is_never_found_by_another() -> None:
    encoder = Encoder(built("byte-level, 0"))
    encoder.encode("the cat sat", namespace="a")
    encoder.encode("the cat sat", namespace="b")
    assert (encoder.hits, encoder.misses) == (0, 2)


@given(st.lists(st.sampled_from(WORDS), max_size=6).map("".join))
@settings(deadline=None)
def test_text_comes_back_as_the_tokens_that_wrote_it(text: str) -> None:
    tokenizer = built("byte-level, 0")
    encoder = Encoder(tokenizer)
    vocabulary = Vocabulary(tokenizer)
    prompt = tokenizer.encode("hi<|a|>answer: ").ids
    # One token a byte: no tokenizer would spell it so.
    spelled = [
        token
        for byte in text.encode()
        for token in range(tokenizer.get_vocab_size())
        if vocabulary.bytes_of(token) == bytes([byte])
    ]
    encoder.remember_written(np.array(prompt, np.int32), spelled, vocabulary.bytes_of, "n")
    encoder.check()
    whole = f"hi<|a|>answer: {text}<|a|>"
    found = encoder.encode(whole, namespace="n")
    plain = Encoder(tokenizer).encode(whole)
    # What holds a control token in its text would be split there, and is tokenised anew.
    cuts = find_cuts(tokenizer)
    assert cuts is not None
    is_text = len(list(cuts.split("answer: " + text))) == 1 and "<|" not in text
    if is_text:
        assert found.token_ids.tolist() == [*prompt, *spelled, plain.token_ids[-1]]
        tail = "answer: " + text
        starts = [index for index, part in enumerate(tail) for _ in part.encode()]
        begin = len("hi<|a|>")
        expected = [begin + index for index in starts[len("answer: ") :]]
        assert found.starts.tolist()[-len(expected) - 1 : -1] == expected or not expected
    else:
        assert vocabulary.decode(found.token_ids.tolist()) == vocabulary.decode(
            plain.token_ids.tolist()
        )
    assert encoder.encode(whole).token_ids.tolist() == plain.token_ids.tolist()
