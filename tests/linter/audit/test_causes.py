"""Why two prompts part: each cause on the two texts that show it, and what is no cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from audit_recordings import POLICY, chat, record, write
from hypothesis import given
from hypothesis import strategies as st
from stemfirst_lint.audit.auditor import Auditor
from stemfirst_lint.audit.divergence import common_length, printable
from stemfirst_lint.audit.records import Place
from stemfirst_lint.audit.report import is_rare
from stemfirst_lint.audit.run import audit_files
from stemfirst_lint.audit.shapes import request_of
from stemfirst_lint.audit.tallies import CauseSum
from stemfirst_lint.audit.text import text_lines

TURNS = (
    "I would like to know the price of the Firn tent.", "The Firn tent costs 389 euros today.",
    "And is it in stock in the shop in Leipzig?", "Yes, there are fourteen in stock in Leipzig.",
    "Can it be sent to Sweden before Friday noon?", "Express takes two to three working days.",
    "Then please send it to Malmo by express mail.", "I have handed that over to a colleague.",
    "When will the colleague write to me about it?", "By four o'clock this afternoon, latest.",
)  # fmt: skip
LONG = tuple(f"{turn} {'So it is, and so it stays. ' * 12}" for turn in TURNS)


def tool(name: str, description: str = "Look something up.", **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}}
    function = {"name": name, "description": description, "parameters": parameters, **more}
    return {"type": "function", "function": function}


def lost(*requests: dict[str, Any], session: str | None = None) -> list[CauseSum]:
    auditor = Auditor()
    for line, request in enumerate(requests, 1):
        more = {"session": session} if session else {}
        text = json.dumps(record(request, line, **more)).encode()
        auditor.add(request_of(text, Place("rec.jsonl", line)))
    return [one for template in auditor.templates.values() for one in template.by_loss]


def local(system: str, *turns: str, **more: Any) -> dict[str, Any]:
    return chat(system, *(turns or ("Hello there, who are you?",)), model="my-llama", **more)


@pytest.mark.parametrize(
    ("was", "now", "name", "label"),
    [
        ("Now: 2026-11-23T09:00:01", "Now: 2026-11-23T09:00:09", "clock-in-prefix", "Now:"),
        ("It is 9:00 AM.", "It is 9:07 AM.", "clock-in-prefix", "It is"),
        ("ts=1795424400", "ts=1795424460", "clock-in-prefix", "ts="),
        ("Today is November 23, 2026.", "Today is November 24, 2026.", "date-in-prefix",
         "Today is November"),
        ("Date: 2026-11-23", "Date: 2026-11-24", "date-in-prefix", "Date:"),
        ("Weekday: Monday", "Weekday: Friday", "date-in-prefix", "Weekday:"),
        ("Run: 3f1c8a52-9d1e-4a53-8a3d-0f8f2b7c1d22", "Run: 7a1c8a52-1d1e-4a53-8a3d-0f8f2b7c1d29",
         "nonce-in-prefix", "Run:"),
        ("x-header: cch=9f3ab27c11", "x-header: cch=0b2d91fe77", "nonce-in-prefix",
         "x-header: cch="),
        ("Customer: Marta Lindqvist", "Customer: Jonas Vogt", "identity-in-prefix", "Customer:"),
        ("Write to ana@shop.example.", "Write to bo@shop.example.", "identity-in-prefix",
         "Write to"),
        ("User id: 4471", "User id: 9902", "identity-in-prefix", "User id:"),
        ("Turn 3 of 9", "Turn 4 of 9", "counter-in-prefix", "Turn"),
        ("Tokens left: 9,112", "Tokens left: 8,034", "counter-in-prefix", "Tokens left:"),
        ("Working directory: /home/ana/app", "Working directory: /home/bo/lib",
         "environment-in-prefix", "Working directory:"),
        ("Branch: main", "Branch: fix-zip", "environment-in-prefix", "Branch:"),
        ("Use: alpha, beta, gamma", "Use: beta, gamma, alpha", "set-order", "Use:"),
        ("- alpha\n- beta\n- gamma", "- gamma\n- alpha\n- beta", "set-order", None),
        ("## Articles\n- Parcels abroad stop for fifteen days.",
         "## Articles\n- Express costs more than that.", "retrieval-in-prefix", None),
        ("Mood: grumpy", "Mood: cheerful", "hole-before-static", "Mood:"),
    ],
)  # fmt: skip
def test_what_varies_in_system_text_is_named(
    was: str, now: str, name: str, label: str | None
) -> None:
    head = "You are the agent of a shop.\n"
    [one] = lost(local(f"{head}{was}\n\n{POLICY}"), local(f"{head}{now}\n\n{POLICY}"))
    assert one.cause.name == name
    assert one.at == "messages[0].content"
    assert label is None or one.label == label
    assert one.example is not None
    assert one.example.window is not None
    window = one.example.window
    assert window.was[: window.caret] == window.now[: window.caret]
    assert window.was[window.caret] != window.now[window.caret]


@pytest.mark.parametrize(
    ("was", "now", "name"),
    [
        ([tool("a"), tool("b")], [tool("b"), tool("a")], "tool-order"),
        ([tool("a"), tool("b")], [tool("b")], "tool-order"),
        ([tool("a", "1 file open")], [tool("a", "2 files open")], "varying-tool-schema"),
        ([tool("a", strict=True)], [{"function": {"strict": True, **tool("a")["function"]},
                                     "type": "function"}], "json-order"),
    ],
    ids=["order", "one gone", "live description", "key order"],
)  # fmt: skip
def test_what_varies_in_tools_is_named(was: list[Any], now: list[Any], name: str) -> None:
    # A hosted model renders its tools first.
    requests = [
        chat(POLICY, "Hi", model="deepseek-flash", tools=[*tools, tool("z")])
        for tools in (was, now)
    ]
    [one] = lost(*requests)
    assert one.cause.name == name
    assert one.at.startswith("tools[")


def test_a_window_that_slides_is_named() -> None:
    whole = local(POLICY, *LONG[:7])
    cut = local(POLICY, *LONG[:9])
    del cut["messages"][1:3]
    [one] = lost(whole, cut)
    assert one.cause.name == "sliding-window"
    assert one.at == "messages[n].content"
    assert one.lost_tokens > 300


def test_a_window_is_named_where_every_request_has_a_session_of_its_own() -> None:
    auditor = Auditor()
    for line, turns in enumerate((LONG[:7], LONG[2:9]), 1):
        text = json.dumps(record(local(POLICY, *turns), line, trace_id=f"trace-{line}")).encode()
        auditor.add(request_of(text, Place("rec.jsonl", line)))
    assert [one.cause.name for one in auditor.templates[0].by_loss] == ["sliding-window"]


def test_a_message_that_was_rewritten_is_named() -> None:
    edited = local(POLICY, *LONG[:9])
    edited["messages"][3]["content"] = "[elided to save room]"
    [one] = lost(local(POLICY, *LONG[:7]), edited)
    assert one.cause.name == "history-edit"


def test_a_message_that_was_not_kept_is_named() -> None:
    reminded = local(POLICY, *LONG[:7])
    reminded["messages"].insert(3, {"role": "user", "content": "Reminder: answer in Swedish."})
    [one] = lost(reminded, local(POLICY, *LONG[:9]))
    assert one.cause.name == "unpersisted-reminder"


def test_ids_made_anew_are_named() -> None:
    def request(identifier: str, *more: str) -> dict[str, Any]:
        made = local(POLICY, LONG[0])
        call = {"id": identifier, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        made["messages"].append({"role": "assistant", "tool_calls": [call]})
        made["messages"].append(
            {"role": "tool", "tool_call_id": identifier, "content": LONG[1] + LONG[2]}
        )
        made["messages"] += [{"role": "user", "content": text} for text in more]
        return made

    [one] = lost(request("call_1"), request("call_2", LONG[3]), session="one")
    assert one.cause.name == "regenerated-ids"


def test_a_setting_that_toggles_in_a_conversation_is_named() -> None:
    first = chat(POLICY, LONG[0], model="gpt-4o", reasoning_effort="low")
    second = chat(POLICY, *LONG[:3], model="gpt-4o", reasoning_effort="high")
    [one] = lost(first, second)
    assert (one.cause.name, one.at) == ("toggled-setting", "reasoning_effort")
    assert one.example is not None
    assert one.example.window is not None
    assert (one.example.window.was, one.example.window.now) == ('"low"', '"high"')


@pytest.mark.parametrize(
    "requests",
    [
        [local(POLICY, *LONG[:n]) for n in (1, 3, 5, 7)],
        [local(POLICY, turn) for turn in LONG],
        [local(POLICY, *LONG[:3]), local(POLICY, LONG[0], LONG[1], "Something else, please.")],
        [local(f"{POLICY}\nNow: 09:00:0{n}", turn) for n, turn in enumerate(LONG[:5])],
        [local(f"You are {who}.") for who in ("a poet", "a judge", "a cook")],
        [local("", f"Sum up: {turn}") for turn in LONG],
    ],
    ids=["a growing history", "new conversations", "an edited last turn", "a clock at the end",
         "short prompts", "no system text"],
)  # fmt: skip
def test_what_is_as_it_should_be_has_no_cause(requests: list[dict[str, Any]]) -> None:
    assert lost(*requests) == []


def test_lines_that_come_and_go_are_not_stable_text() -> None:
    articles = [
        " ".join(f"Article {name} knows about {name}{i}." for i in range(40))
        for name in "abcdefghijklmno"
    ]
    pairs = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 10), (13, 12), (14, 13)]
    requests = [local(f"{POLICY}\n\n## Articles\n{articles[i]}\n{articles[j]}") for i, j in pairs]
    assert lost(*requests) == []


def test_a_template_that_was_changed_once_is_shown_and_is_no_fault(tmp_path: Path) -> None:
    versions = [f"You are an agent.\n{'Be kind.' if n < 40 else 'Be brief.'}\n{POLICY}"
                for n in range(80)]  # fmt: skip
    path = write(tmp_path / "a.jsonl", [record(local(text)) for text in versions])
    report = audit_files((str(path),))
    [(template, one)] = report.causes
    assert one.requests == 1
    assert is_rare(template, one)
    assert not report.has_faults
    assert "seen once" in "\n".join(text_lines(report))


def test_a_tools_answer_that_two_conversations_share_is_no_loss() -> None:
    def conversation(question: str) -> dict[str, Any]:
        made = local(POLICY, question)
        made["messages"].append({"role": "tool", "tool_call_id": "c", "content": "".join(LONG)})
        return made

    assert lost(conversation(LONG[0]), conversation(LONG[2])) == []


def test_the_segment_and_its_line_come_from_the_recording() -> None:
    def request(clock: str) -> dict[str, Any]:
        body = local(f"Be brief.\n{clock}\n{POLICY}")
        at = ["messages", 0, "content"]
        return {
            **record(body),
            "segments": [
                {"id": "s0", "tier": "static", "at": at, "n": 10, "name": "style"},
                {"id": "s1", "tier": "volatile", "at": at, "n": len(clock) + 1, "name": "clock",
                 "origin": {"path": "agent.py", "line": 31}},
                {"id": "s2", "tier": "static", "at": at, "n": len(POLICY.encode())},
            ],
        }  # fmt: skip

    auditor = Auditor()
    for line, clock in enumerate(("09:00:01", "09:00:44"), 1):
        auditor.add(request_of(json.dumps(request(clock)).encode(), Place("rec.jsonl", line)))
    [one] = auditor.templates[0].by_loss
    assert one.segment == "clock"
    assert str(one.origin) == "agent.py:31"


@given(st.text("ab", max_size=9), st.text("ab", max_size=9))
def test_the_common_length_is_that_of_the_slow_way(first: str, second: str) -> None:
    slow = 0
    while slow < min(len(first), len(second)) and first[slow] == second[slow]:
        slow += 1
    assert common_length(first, second) == slow


@given(st.text())
def test_printable_text_keeps_its_length_and_holds_no_control(text: str) -> None:
    safe = printable(text)
    assert len(safe) == len(text)
    assert not set(safe) & set("\x00\x1b\x07\x9b\u202e\u2066\n\r\t")
    safe.encode()
