"""`stemfirst explain`: two requests compared to the byte, and a server asked."""

import json
import uuid

import pytest
from click.testing import CliRunner
from stemfirst import Client, Prompt, request, static
from stemfirst.divergence import diverge, first_difference, runs_of
from stemfirst.explain import explain

TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}


def chat(system: str, question: str = "Where?", **more):
    return {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ],
        **more,
    }


@pytest.fixture
def run(tmp_path):
    def invoke(now, before=None, *options):
        paths = []
        for name, body in (("now.json", now), ("before.json", before)):
            if body is not None:
                path = tmp_path / name
                path.write_text(body if isinstance(body, str) else json.dumps(body), "utf-8")
                paths.append(str(path))
        against = ["--against", paths[1]] if before is not None else []
        result = CliRunner().invoke(explain, [paths[0], *against, *options], standalone_mode=False)
        code = result.return_value if result.exception is None else 2
        return code, result.output or str(result.exception)

    return invoke


def test_the_caret_stands_below_the_first_difference(run):
    policy = "Rules. " * 50
    code, output = run(chat(f"Now: 09:01\n{policy}"), chat(f"Now: 09:00\n{policy}"))
    assert code == 1
    assert "messages.0.content, byte 9: message 0 (system)" in output
    before, after, caret = output.splitlines()[2:5]
    column = caret.index("^")
    assert (before[column], after[column]) == ("0", "1")
    assert before[:column].removeprefix("  before") == after[:column].removeprefix("  after ")


def test_another_question_is_new_and_no_rule_is_blamed(run):
    code, output = run(chat("a" * 200, "who?"), chat("a" * 200, "why?"))
    assert code == 1
    assert "it is new" in output
    assert "SF301" not in output
    code, output = run(chat(f"at 9:01 {'a' * 200}", "q"), chat(f"at 9:00 {'a' * 200}", "q"))
    assert "SF101" in output


def test_a_longer_conversation_has_not_diverged(run):
    before = chat("Be kind.")
    now = {**before, "messages": [*before["messages"], {"role": "assistant", "content": "Here."}]}
    code, output = run(now, before)
    assert code == 0
    assert "begins with all of the other one" in output


def test_segments_of_a_recording_give_the_line_of_source(run):
    def recorded(clock: str):
        head, policy = f"Now: {clock}\n", "Rules. " * 50
        segments = [
            {"id": "s0", "tier": "request", "at": ["messages", 0, "content"], "n": len(head),
             "name": "clock", "origin": {"path": "agent.py", "line": 42}},
            {"id": "s1", "tier": "static", "at": ["messages", 0, "content"], "n": len(policy)},
        ]  # fmt: skip
        return {"request": chat(head + policy), "segments": segments}

    code, output = run(recorded("09:01"), recorded("09:00"))
    assert code == 1
    assert "clock, built at agent.py:42" in output
    assert "356 bytes behind it are the same in both" in output


@pytest.mark.parametrize(
    ("now", "before", "place"),
    [
        (chat("a", tools=[TOOL]), chat("a"), "tools.0"),
        (
            {"model": "claude-x", "system": "b", "messages": []},
            {"model": "claude-x", "system": "a", "messages": []},
            "system, byte 0",
        ),
        ({"input": "cat"}, {"input": "car"}, "input, byte 2"),
        (chat("a", "b"), chat("a", "c"), "messages.1.content, byte 0: message 1 (user)"),
    ],
    ids=["a new tool", "anthropic", "responses", "the question"],
)
def test_each_api_is_read(run, now, before, place):
    code, output = run(now, before)
    assert code == 1
    assert f"part at {place}" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"a": 1}\n{"a": 2}', "one request a line"),
        ("[1]", "expected an object"),
        ('{"a": 1}', "no request"),
        ("[" * 100_000, "nested too deeply"),
        ('{"messages": ["a"]}', "messages[0] is no object"),
    ],
)
def test_what_is_no_request_is_said_so(run, text, message):
    code, output = run(text, chat("a"))
    assert code == 2
    assert message in output


def test_it_wants_something_to_compare_with(run):
    code, output = run(chat("a"))
    assert code == 2
    assert "--against" in output


def test_the_rest_of_the_text_behind_a_clock_is_counted(run):
    rules = "Rule i.\n" * 200
    code, output = run(chat(f"Time 10:01. {rules}", "q"), chat(f"Time 10:00. {rules}", "q"))
    assert code == 1
    assert f"{len('. ' + rules + 'q'):,} bytes behind it are the same in both" in output


def test_redacted_text_is_not_compared_with_what_it_cannot_equal(run, peer):
    plain, redacted = chat("Be kind."), {"request": chat("ghijklmn"), "redacted": "k1"}
    code, output = run(redacted, None, "--server", peer.url)
    assert (code, peer.seen) == (2, [])
    assert "redacted" in output
    for other in (plain, {**redacted, "redacted": "k2"}):
        code, output = run(redacted, other)
        assert code == 2
        assert "the same API key" in output
    assert run(redacted, redacted)[0] == 0


def test_one_of_several_accepted_keys_is_sent(run, peer, monkeypatch):
    monkeypatch.setenv("STEMFIRST_API_KEY", "sk-one sk-two")
    run(chat("a"), None, "--server", peer.url)
    assert {seen.headers["authorization"] for seen in peer.seen} == {"Bearer sk-one"}


@pytest.mark.needs_server
def test_a_server_says_where_it_left_the_cache(run, server):
    policy = f"{uuid.uuid4()} " + "Be kind and brief. " * 60
    rest = "Answer in English. " * 20
    first = chat(f"{policy} Plan: gold. {rest}")
    second = chat(f"{policy} Plan: free. {rest}")
    with Client(base_url=server.base_url, api_key="none") as client:
        client.chat.completions.create(**{**first, "model": "stemfirst-demo"}, max_tokens=1)
    asked = [run(second, None, "--server", server.url) for _ in range(2)]
    assert asked[0] == asked[1]  # asking changed nothing
    code, output = asked[0]
    assert code == 1
    assert "came from the cache" in output
    assert "messages.0.content" in output
    cached, now, caret = output.splitlines()[-3:]
    column = caret.index("^")
    assert "gold" in cached[column - 8 :]
    assert "free" in now[column - 8 :]


def test_a_server_that_is_not_ours_is_not_asked(run, peer):
    code, output = run(chat("a"), None, "--server", peer.url)
    assert code == 2
    assert "no stemfirst server" in output
    assert not peer.posts


def test_a_difference_is_found_in_halves_and_shown_with_odd_characters():
    found = first_difference("é" * 1_000 + "\na", "é" * 1_000 + "\nb")
    assert (found.index, found.byte) == (1_001, 2_001)
    assert found.window().splitlines()[-1].index("^") == len("  before  …") + 32


def test_a_prompt_that_ends_first_has_diverged():
    whole = Prompt(static("a"), request("b")).render()
    short = Prompt(static("a")).render()
    assert diverge(runs_of(short), runs_of(whole)) is None
    assert diverge(runs_of(whole), runs_of(short)) is not None
