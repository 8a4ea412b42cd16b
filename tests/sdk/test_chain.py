"""The chain: links name prefixes, digests name segments, and neither knows where it was built."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst import Prompt, hole, request, session, static, tenant, tool
from stemfirst.chain import ChainKey, canonical_bytes, chain, chain_of, digest_of, segment_digest

KEY = ChainKey.derive("sk-one")
OTHER = ChainKey.derive("sk-two")
texts = st.text(st.sampled_from("ab\n🙂"), max_size=4)
lists = st.lists(texts, min_size=1, max_size=6)


def rendered(parts, *, value="v", tools=()):
    return Prompt(*map(static, parts), request(hole("x")), tools=tools).render(x=value)


@given(lists, st.integers(0, 7))
def test_the_links_of_a_prefix_are_a_prefix_of_the_links(parts, length):
    segments = rendered(parts).segments
    assert chain(segments[:length], KEY) == chain(segments, KEY)[:length]


@given(lists, lists)
def test_links_agree_exactly_as_far_as_the_texts_do(one, two):
    first, second = rendered(one).segments, rendered(two).segments
    pairs = list(zip(chain(first, KEY), chain(second, KEY), strict=False))
    agree = True
    for (left, right), a, b in zip(pairs, first, second, strict=False):
        agree = agree and (a.at, a.text) == (b.at, b.text)
        assert (left == right) == agree


@given(lists, texts)
def test_remembered_digests_are_those_of_the_bytes(parts, value):
    for _ in range(2):
        for segment in rendered(parts, value=value).segments:
            expected = segment_digest(canonical_bytes(segment.text, segment.at), KEY)
            assert digest_of(segment, KEY) == expected


@given(lists)
def test_a_server_computes_the_same_from_what_it_parsed(parts):
    sent = rendered(parts, tools=[tool({"name": "f", "parameters": {"b": 1.0, "a": "é"}})])
    body = json.loads(json.dumps(sent.openai()))
    position: dict[tuple, int] = {}
    digests = []
    for segment in sent.segments:
        value = body
        for step in segment.at:
            value = value[step]
        text = value if isinstance(value, str) else json.dumps(value)
        start = position.get(segment.at, 0)
        piece = text if segment.is_tool else text[start : start + len(segment.text)]
        position[segment.at] = start + len(segment.text)
        digests.append((segment.at, segment_digest(canonical_bytes(piece, segment.at), KEY)))
    assert chain_of(digests, KEY) == chain(sent.segments, KEY)


@given(lists)
def test_another_key_gives_other_names(parts):
    segments = rendered(parts).segments
    assert not set(chain(segments, KEY)) & set(chain(segments, OTHER))
    assert {digest_of(item, KEY) for item in segments}.isdisjoint(
        digest_of(item, OTHER) for item in segments
    )


def test_a_separator_changes_the_digest_although_the_source_is_the_same():
    part = static("same")
    first, second = Prompt(part, part).render().segments
    assert (first.text, second.text) == ("same", "\n\nsame")
    assert digest_of(first, KEY) != digest_of(second, KEY)


def test_the_same_text_at_another_place_is_another_link():
    in_system = Prompt(static("a")).render().segments
    in_user = Prompt(session([{"role": "user", "content": "b"}])).render().segments
    there = Prompt(static("x"), session([{"role": "user", "content": "b"}])).render().segments
    assert digest_of(in_user[0], KEY) == digest_of(there[1], KEY)
    assert chain(in_user, KEY)[0] != chain(there, KEY)[1] != chain(in_system, KEY)[0]


def test_the_tier_and_the_place_in_the_source_change_no_name():
    one = Prompt(static("a"), tenant("b")).render().segments
    two = Prompt(static("a"), static("b")).render().segments
    assert chain(one, KEY) == chain(two, KEY)


def test_the_order_of_a_tools_keys_changes_no_name():
    one = Prompt(static("a"), tools=[{"name": "f", "description": "d"}]).render().segments
    two = Prompt(static("a"), tools=[{"description": "d", "name": "f"}]).render().segments
    assert chain(one, KEY) == chain(two, KEY)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**80), 1e300, "\ud800"], ids=str)
def test_a_tool_may_hold_what_canonical_json_excludes(value):
    def links(key_order):
        shape = {name: {"name": "f", "limit": value}[name] for name in key_order}
        return chain(Prompt(static("a"), tools=[shape]).render().segments, KEY)

    assert links(["name", "limit"]) == links(["limit", "name"])


def test_names_are_the_same_in_every_process_and_release():
    segments = Prompt(static("You are helpful."), request("Where?"), tools=[{"name": "f"}]).render()
    assert ChainKey.derive("sk-one").id == KEY.id == "18349d18"
    assert chain(segments.segments, KEY) == (
        "0646bfd1b78c03b6",
        "981c213973544d45",
        "b07e45849ef4e255",
    )


def test_a_key_does_not_show_its_secrets():
    assert str(KEY.seed) not in repr(KEY)
    assert KEY.digest_key.hex() not in repr(KEY)
    assert repr(KEY.digest_key) not in repr(KEY)
