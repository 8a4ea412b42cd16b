"""Text, tokens and places: the laws of the front end, on the demo model's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst.chain import ChainKey
from stemfirst.prompt import Prompt, request, session, static, tenant, tool
from stemfirst.wire import PromptHint, prompt_hint
from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.tokens.detokenize import Vocabulary
from stemfirst_server.tokens.encoder import Encoder
from stemfirst_server.tokens.hints import NO_SEGMENTS, count_uses, locate, verified
from stemfirst_server.tokens.placement import place_conversation
from stemfirst_server.tokens.stopping import StopMatcher
from stemfirst_server.tokens.template import ChatTemplate, conversation
from tokenizers import Tokenizer, decoders, models

FOLDER = Path(__file__).parents[2] / "server" / "stemfirst_server" / "demo_model"
KEY = ChainKey.derive("test-key")
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}

texts = st.text(st.sampled_from("ab \n é漢😀<|>"), max_size=40)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    from transformers import AutoTokenizer

    return ChatTemplate(AutoTokenizer.from_pretrained(str(FOLDER)))


TOKENIZER = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@given(st.lists(st.one_of(texts, st.sampled_from(["<|im_start|>", "<|im_end|>", "x" * 90]))))
def test_remembered_runs_change_no_token(parts: list[str]) -> None:
    text = "".join(parts)
    encoder = Encoder(TOKENIZER, most_bytes=4_000)
    cold = encoder.encode(text)
    warm = encoder.encode(text)
    whole = TOKENIZER.encode(text, add_special_tokens=False).ids
    assert cold.token_ids.tolist() == whole == warm.token_ids.tolist()
    assert cold.starts.tolist() == warm.starts.tolist()
    encoder.check()


@given(texts)
def test_starts_cut_the_text_into_its_tokens(text: str) -> None:
    encoded = Encoder(TOKENIZER).encode(text)
    starts = encoded.starts.tolist()
    assert starts == sorted(starts)
    assert all(0 <= start < len(text) for start in starts)
    for index, start in enumerate(starts):
        before = TOKENIZER.decode(encoded.token_ids[:index].tolist(), skip_special_tokens=False)
        assert text.startswith(before.rstrip("�")) or "�" in text
        assert len(before.rstrip("�")) == start or before.endswith("�")


def test_a_warm_prompt_tokenises_its_tail_only(tokenizer: Tokenizer) -> None:
    encoder = Encoder(tokenizer)
    head = "<|im_start|>system\n" + "policy " * 100 + "<|im_end|>"
    encoder.encode(head + "\n<|im_start|>user\n" + "first " * 20)
    misses = encoder.misses
    encoder.encode(head + "\n<|im_start|>user\n" + "second " * 20)
    assert encoder.misses - misses == 1
    assert encoder.hits == 2


def test_a_lone_surrogate_is_read_as_a_replacement_character(tokenizer: Tokenizer) -> None:
    encoder = Encoder(tokenizer)
    assert encoder.encode("a\ud800b").token_ids.tolist() == encoder.encode("a�b").token_ids.tolist()


@given(texts)
def test_pieces_of_text_join_to_the_text_and_never_split_a_character(text: str) -> None:
    vocabulary = Vocabulary(TOKENIZER)
    detokenizer = vocabulary.detokenizer()
    pieces = [detokenizer.feed(token_id) for token_id in TOKENIZER.encode(text).ids]
    assert "".join(pieces) + detokenizer.finish() == text
    assert "�" not in "".join(pieces)


@given(st.lists(st.integers(0, 4095), max_size=30))
def test_noise_is_shown_as_the_tokenizer_would_show_it(token_ids: list[int]) -> None:
    vocabulary = Vocabulary(TOKENIZER)
    detokenizer = vocabulary.detokenizer()
    pieces = [detokenizer.feed(token_id) for token_id in token_ids]
    data = b"".join(vocabulary.bytes_of(i) for i in token_ids if not vocabulary.is_hidden(i))
    assert "".join(pieces) + detokenizer.finish() == data.decode("utf-8", "replace")


def sentencepiece_like() -> Tokenizer:
    """A vocabulary that spells spaces as ▁ and rare characters as bytes."""
    words = ["<unk>", "▁hello", "▁world", "lo", "▁", "!", *(f"<0x{b:02X}>" for b in range(256))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return made


def test_other_tokenizers_keep_spaces_and_whole_characters() -> None:
    made = sentencepiece_like()
    vocabulary = Vocabulary(made)
    assert not vocabulary.is_byte_level
    names = ["▁hello", *(f"<0x{b:02X}>" for b in "😀".encode()), "▁world", "!"]
    token_ids = [made.token_to_id(name) for name in names]
    detokenizer = vocabulary.detokenizer()
    pieces = [detokenizer.feed(token_id) for token_id in token_ids]
    assert pieces == ["hello", "", "", "", "😀", " world", "!"]
    assert detokenizer.finish() == ""


def test_bytes_that_never_become_a_character_do_not_hold_the_stream() -> None:
    made = sentencepiece_like()
    detokenizer = Vocabulary(made).detokenizer()
    bad = made.token_to_id("<0xFF>")
    shown = "".join(detokenizer.feed(bad) for _ in range(20))
    assert len(shown) >= 15
    assert len(shown + detokenizer.finish()) == 20


@given(
    st.lists(st.text("ab", max_size=4), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_text_is_cut_at_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = "".join(matcher.feed(piece) for piece in pieces)
    was_found = matcher.matched is not None
    shown += matcher.finish()
    text = "".join(pieces)
    # The slow obvious way: the shortest beginning of the text that holds a stop string ends it.
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stops)]
    assert was_found is bool(ends)
    if not ends:
        assert shown == text
    else:
        assert text.startswith(shown)
        assert not any(stop in shown for stop in stops)
        assert any(text.startswith(stop, len(shown)) for stop in stops)


def rendered(template: ChatTemplate, body: dict[str, Any]) -> tuple[Any, str, Any]:
    asked = conversation(body["messages"], body.get("tools"))
    text = template.render(asked)
    return asked, text, place_conversation(asked, text, template)


contents = st.text(st.sampled_from("ab \n<|im_end|>system{}"), max_size=12)


@given(contents, contents, contents)
def test_each_place_shows_its_own_string(
    template: ChatTemplate, first: str, second: str, third: str
) -> None:
    body = {
        "messages": [
            {"role": "system", "content": first},
            {"role": "user", "content": [{"type": "text", "text": second}]},
            {"role": "assistant", "content": third},
        ],
        "tools": [TOOL],
    }
    _, text, placement = rendered(template, body)
    strings = {place.path: text[place.start : place.end] for place in placement.places}
    expected = {
        ("messages", 0, "content"): first,
        ("messages", 1, "content", 0, "text"): second,
        ("messages", 2, "content"): third,
        ("tools", 0): json.dumps(TOOL),
    }
    assert strings == {path: string for path, string in expected.items() if string}


class FixedTemplate(ChatTemplate):
    """A template as text, without a tokenizer's files."""

    def __init__(self, source: str) -> None:
        from transformers import PreTrainedTokenizerFast

        super().__init__(PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, chat_template=source))


def test_a_template_that_strips_is_followed() -> None:
    template = FixedTemplate("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}")
    body = {"messages": [{"role": "user", "content": "  é two  "}]}
    _, text, placement = rendered(template, body)
    assert text == "[é two]"
    place = placement.at(3, 4)
    assert place is not None
    assert place.byte_at(3) == len("  é ".encode())


def test_a_template_that_looks_inside_a_string_is_not_guessed_at() -> None:
    template = FixedTemplate("{% for m in messages %}{{ m.content.split('X')[0] }}|{% endfor %}")
    body = {"messages": [{"role": "user", "content": "aXb"}]}
    _, text, placement = rendered(template, body)
    assert text == "a|"
    assert placement.places == ()


def test_a_template_that_prints_arguments_as_json_gets_an_object() -> None:
    source = "{% for m in messages %}{{ m.tool_calls[0].function.arguments | tojson }}{% endfor %}"
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert FixedTemplate(source).render(conversation(messages)) == '{"a": 1}'


def test_a_developer_is_a_system_to_templates_that_know_none() -> None:
    source = (
        "{% for m in messages %}{% if m.role not in ('system', 'user') %}"
        "{{ raise_exception('unknown role') }}{% endif %}{{ m.role }}{% endfor %}"
    )
    messages = [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]
    assert FixedTemplate(source).render(conversation(messages)) == "systemuser"
    with pytest.raises(InvalidRequestError, match="unknown role"):
        FixedTemplate(source).render(conversation([{"role": "tool", "content": "x"}]))


def prompt() -> Prompt:
    return Prompt(
        static("You are the help desk. " * 8, name="policy"),
        tenant("Customer: Zoë 漢字 of Example. ", name="profile"),
        tools=[tool(TOOL)],
    ).then(
        session([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]),
        request("Where is my order 7?", name="question"),
    )


def hinted() -> tuple[dict[str, Any], PromptHint]:
    made = prompt().render()
    return made.openai(), prompt_hint(made, KEY)


def test_every_token_of_every_segment_is_counted_once(template: ChatTemplate) -> None:
    body, hint = hinted()
    _, text, placement = rendered(template, body)
    encoded = Encoder(TOKENIZER).encode(text)
    segments = verified(hint, KEY, body)
    everything = count_uses(encoded, len(encoded.starts), placement, segments)
    nothing = count_uses(encoded, 0, placement, segments)
    assert everything is not None
    assert nothing is not None
    assert set(everything.tiers) == {"static", "tenant", "session", "request"}
    assert len(everything.segments) == len(hint.segments)
    for use in everything.segments.values():
        assert use.cached_tokens == use.prompt_tokens > 0
    assert all(use.cached_tokens == 0 for use in nothing.segments.values())
    counted = sum(use.prompt_tokens for use in everything.segments.values())
    assert counted == sum(use.prompt_tokens for use in everything.tiers.values())
    assert counted < len(encoded.starts)  # the template's own tokens belong to nobody


def test_a_token_is_located_in_its_segment(template: ChatTemplate) -> None:
    body, hint = hinted()
    _, text, placement = rendered(template, body)
    encoded = Encoder(TOKENIZER).encode(text)
    segments = verified(hint, KEY, body)
    system = body["messages"][0]["content"]
    for word, name in (("Zoë", "s2"), ("help desk", "s1"), ("order 7", "s5")):
        character = text.index(word)
        token = next(i for i, s in enumerate(encoded.starts) if s >= character)
        found = locate(token, encoded, len(text), placement, segments)
        assert found.segment == name
        assert found.path is not None
        assert found.byte is not None
        string = system if found.path[1] == 0 else body["messages"][-1]["content"]
        assert string.encode()[found.byte :].decode().startswith(text[encoded.starts[token] :][:3])


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["messages"][0].update(content="something else"),
        lambda body: body["messages"].pop(0),
        lambda body: body["tools"][0]["function"].update(name="other"),
    ],
    ids=["text", "places", "tool"],
)
def test_segments_that_do_not_fit_the_request_are_set_aside(change: Any) -> None:
    body, hint = hinted()
    assert verified(hint, KEY, body) is not NO_SEGMENTS
    change(body)
    assert verified(hint, KEY, body) is NO_SEGMENTS


def test_segments_of_another_key_are_set_aside() -> None:
    body, hint = hinted()
    assert verified(hint, ChainKey.derive("another"), body) is NO_SEGMENTS
    assert verified(None, KEY, body) is NO_SEGMENTS


def test_segments_that_do_not_cover_their_string_are_set_aside() -> None:
    body, hint = hinted()
    without_profile = tuple(s for s in hint.segments if s.id != "s2")
    assert verified(PromptHint(hint.key_id, without_profile), KEY, body) is NO_SEGMENTS
