"""The wire format: what goes out comes back, and what comes in from outside never raises."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst import Prompt, ledger, request, session, static, tenant
from stemfirst.chain import ChainKey, chain
from stemfirst.savings import Savings
from stemfirst.wire import (
    MAX_LINKS,
    MAX_SEGMENTS,
    Cost,
    Estimate,
    Miss,
    MissPlace,
    PrefixHeld,
    PrefixPut,
    PrefixRef,
    Report,
    SegmentUse,
    Times,
    hint_from_json,
    hint_to_json,
    links_of,
    prefix_from_header,
    prefix_to_header,
    prompt_hint,
    report_from_json,
    report_to_json,
)

KEY = ChainKey.derive("sk-one")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
counts = st.integers(0, 5)
figures = st.floats(-1e6, 1e6)
REPORTS = st.builds(
    Report,
    prompt_tokens=counts,
    cached_tokens=counts,
    computed_tokens=counts,
    time=st.builds(
        Times,
        *[figures] * 5,
        tpot=st.none() | figures,
        prefill_ms_saved=st.none()
        | st.builds(Estimate, figures, figures, figures, counts, st.none() | figures),
        unestimated=st.none() | st.text(max_size=3),
    ),
    missed=st.none()
    | st.builds(
        Miss,
        counts,
        st.sampled_from(["first_seen", "prompt_changed"]),
        st.none()
        | st.builds(
            MissPlace,
            counts,
            st.none() | st.just(("messages", 0, "content")),
            st.none() | counts,
            st.none() | st.just("s0"),
        ),
        unestimated=st.none() | st.text(max_size=3),
    ),
    cost=st.none() | st.builds(Cost, figures, figures, figures, st.text(max_size=3)),
    tiers=st.none() | st.dictionaries(st.text(max_size=3), st.builds(SegmentUse, counts, counts)),
    segments=st.none()
    | st.dictionaries(st.text(max_size=3), st.builds(SegmentUse, counts, counts)),
    source=st.none() | st.dictionaries(st.text(max_size=3), counts, min_size=1),
    notice=st.none() | st.text(max_size=3),
    unpriced=st.none() | st.text(max_size=3),
)


def rendered():
    return Prompt(
        static("You are helpful."),
        tenant("gold"),
        session([{"role": "user", "content": [{"type": "text", "text": "q"}]}]),
        request("Where?"),
        tools=[{"name": "f"}],
    ).render()


def through_json(value):
    return json.loads(json.dumps(value))


@given(REPORTS)
def test_a_report_comes_back_as_it_was(report):
    assert report_from_json(through_json(report_to_json(report))) == report


def test_a_hint_comes_back_as_it_was():
    hint = replace(prompt_hint(rendered(), KEY), report=("tiers",))
    assert hint_from_json(through_json(hint_to_json(hint))) == hint
    sizes = [item.size_bytes for item in hint.segments]
    assert sizes[1] == len("You are helpful.")


def header_of(prompt):
    hint = prompt_hint(prompt, KEY)
    return prefix_to_header(hint, links_of(hint, KEY))


def test_a_header_comes_back_with_the_last_link():
    hint = prefix_from_header(header_of(rendered()))
    assert hint.key_id == KEY.id
    assert hint.links[-1] == chain(rendered().segments, KEY)[-1]


@given(st.lists(st.sampled_from([static, tenant]), min_size=1, max_size=12))
def test_a_header_holds_the_ends_of_tiers_first_and_eight_links_at_most(parts):
    ordered = sorted(parts, key=[static, tenant].index)
    prompt = Prompt(*(make(str(index)) for index, make in enumerate(ordered))).render()
    links = chain(prompt.segments, KEY)
    hint = prefix_from_header(header_of(prompt))
    assert len(hint.links) == min(len(parts), MAX_LINKS)
    assert links[-1] in hint.links
    if static in parts:
        assert links[parts.count(static) - 1] in hint.links
    assert [link for link in links if link in hint.links] == list(hint.links)


def test_the_tier_of_a_segment_is_written_as_its_label():
    assert [item["tier"] for item in hint_to_json(prompt_hint(rendered(), KEY))["segs"]] == [
        "static",
        "static",
        "tenant",
        "session",
        "request",
    ]


# What comes from outside.


@given(anything)
def test_reading_never_raises(value):
    assert report_from_json(value) is None
    assert hint_from_json(value) is None
    assert report_from_json({"v": 1, "time": value}) is None
    assert hint_from_json({"v": 1, "segs": value}) is None


FULL = Report(
    100,
    60,
    40,
    Times(0.0, 1.0, 0.0, 2.0, 3.0, 0.5, Estimate(5.0, 4.0, 6.0, 9, 0.1)),
    Miss(
        40,
        "prompt_changed",
        MissPlace(61, ("messages", 0, "content"), 3, "s1"),
        Estimate(3.0, 2.0, 4.0, 9, 0.1, shadows=7),
        0.01,
    ),
    Cost(0.1, 0.2, 0.1, "GPU hour"),
    {"static": SegmentUse(50, 50)},
    {"s0": SegmentUse(50, 50)},
    {"gpu": 60},
    "noise",
    PrefixHeld("0" * 32, 5_000, 3_600.0),
)


def test_a_report_survives_the_wire():
    assert report_from_json(through_json(report_to_json(FULL))) == FULL


@given(
    st.none() | st.builds(PrefixRef, st.just("0" * 8), st.just("a" * 32), st.integers(0)),
    st.none()
    | st.builds(PrefixPut, st.just("0" * 8), st.just("a" * 32), st.integers(0), st.integers(0)),
)
def test_names_of_prefixes_survive_the_wire(ref, put):
    hint = replace(prompt_hint(rendered(), KEY), ref=ref, put=put)
    assert hint_from_json(through_json(hint_to_json(hint))) == hint


@pytest.mark.parametrize("name", ["ref", "put"])
@given(value=anything)
def test_a_spoilt_name_is_none(name, value):
    field = {**hint_to_json(prompt_hint(rendered(), KEY)), name: value}
    read = hint_from_json(field)
    assert read is not None
    assert getattr(read, name) is None


def leaves(value, path=()):
    """Return the path of every field, nested ones too."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else ()
    for name, inner in items:
        found += leaves(inner, (*path, name))
    return found


@given(st.sampled_from(leaves(through_json(report_to_json(FULL)))), anything)
def test_a_spoilt_report_is_no_report_or_one_that_can_be_shown(path, value):
    spoilt = through_json(report_to_json(FULL))
    inner = spoilt
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    savings = Savings.of({"model": "m", "stemfirst": spoilt}, rendered=rendered())
    assert str(savings)
    book = ledger()
    book.add(savings)
    book.add(Savings.of({"model": "m", "stemfirst": report_to_json(FULL)}))
    assert str(book)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", None], ids=str)
def test_a_time_that_is_no_number_makes_no_report(value):
    spoilt = report_to_json(FULL)
    spoilt["time"] = {**spoilt["time"], "prefill": value}
    assert report_from_json(spoilt) is None


def test_a_cost_that_makes_no_sense_spoils_no_other_field():
    spoilt = report_to_json(FULL)
    spoilt["cost"] = {**spoilt["cost"], "saved": None}
    assert report_from_json(spoilt) == replace(FULL, cost=None)


@given(st.sampled_from(["v", "kid", "alg", "segs", "report"]), anything)
def test_a_spoilt_hint_never_raises(name, value):
    hint_from_json({**hint_to_json(prompt_hint(rendered(), KEY)), name: value})


@given(st.sampled_from(["id", "tier", "at", "n", "h"]), anything)
def test_one_spoilt_segment_spoils_the_hint(name, value):
    field = through_json(hint_to_json(prompt_hint(rendered(), KEY)))
    field["segs"][0][name] = value
    read = hint_from_json(field)
    assert read is None or len(read.segments) == len(field["segs"])


@given(st.text(st.sampled_from("v1;k=c.0af \n"), max_size=40))
def test_a_spoilt_header_never_raises(value):
    assert prefix_from_header(value) is None


@pytest.mark.parametrize("value", [None, "", "v2;k=00000000;c=0000000000000000", "v1"])
def test_a_header_of_another_version_is_no_hint(value):
    assert prefix_from_header(value) is None


def test_a_prompt_of_too_many_segments_is_no_hint():
    field = hint_to_json(prompt_hint(rendered(), KEY))
    field["segs"] = field["segs"][:1] * (MAX_SEGMENTS + 1)
    assert hint_from_json(field) is None


def test_fields_of_a_later_minor_version_are_ignored():
    report = Report(1, 0, 1, Times(0, 0, 0, 0, 0, None, None))
    field = report_to_json(report)
    field["news"] = 1
    field["time"]["news"] = 1
    assert report_from_json(field) == report
