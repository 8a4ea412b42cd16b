"""What a new process knows of the prompts that others sent: digests in a folder, and no text."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stemfirst import Client, Prompt, hole, ledger, request, session, static, tenant
from stemfirst.chain import ChainKey
from stemfirst.divergence import diverge, runs_of
from stemfirst.earlier import LONG_BYTES, LONG_STEP_BYTES, STEP_BYTES, Earlier
from stemfirst.memory import MEMORY_VARIABLE, MOST_PROMPTS, Memory
from stemfirst.wire import MissPlace

KEY = ChainKey.derive("sk-test")
POLICY = "You are the agent of a shop. " + "Be kind and brief. " * 60

AGENT = """
import sys
from stemfirst import Client, Prompt, ledger, request, static

url, run, now, folder = sys.argv[1:]
with Client(base_url=url, api_key="sk-test", max_retries=0) as client:
    prompt = Prompt(
        static(f"{run} is the shop. It is {now}. " + "Be kind. " * 99, name="policy"),
        request("Where?"),
    )
    with ledger("shop", memory=folder or None) as book:
        answer = client.ask(prompt, max_tokens=1)
    print(answer.savings.explain())
    print([item.cause for item in book.misses()])
"""


def kept(prompt: Prompt, **values: object) -> Earlier:
    made = Earlier.of(prompt.render(values), KEY, process=1, at_s=2.0)
    assert Earlier.of_bytes(made.as_bytes()) == made
    return made


def parted(before: Prompt, after: Prompt, place: MissPlace | None = None):
    return kept(before).parted(after.render(), KEY, place)


@pytest.mark.needs_server
@pytest.mark.parametrize("by", ["ledger", "environment"])
def test_the_first_miss_of_a_new_process_is_explained_against_the_last_ones_prompt(
    server, tmp_path, by
):
    agent, folder, run = tmp_path / "agent.py", tmp_path / "memory", uuid.uuid4().hex
    agent.write_text(AGENT)
    environment = {**os.environ, MEMORY_VARIABLE: str(folder) if by == "environment" else ""}

    def process(now: str) -> str:
        given = str(folder) if by == "ledger" else ""
        return subprocess.run(
            [sys.executable, str(agent), server.base_url, run, now, given],
            capture_output=True, text=True, check=True, cwd=tmp_path, env=environment,
        ).stdout  # fmt: skip

    assert "process" not in process("14:30:59")
    told = process("14:31:07")
    assert 'because `agent.py:8` puts "14:31:07" before the rest of policy (SF101' in told
    assert "SF101 clock-in-prefix at agent.py:8" in told
    assert "Compared with what process" in told
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    for word in ("is the shop", "Be kind", "14:3", run, "Where"):
        assert word not in file.read_text()


def test_processes_that_write_at_once_never_see_half_of_a_prompt(tmp_path):
    code = f"""
from stemfirst import Prompt, request, static
from stemfirst.memory import Memory
from stemfirst.earlier import Earlier
memory, seen = Memory({str(tmp_path)!r}), set()
for number in range(40):
    size = 50 + 997 * number % 3000
    found = memory.exchange(Prompt(static("x" * size, name="p"), request("q")).render(), "sk")
    if found is not None:
        earlier = Earlier.of_bytes(found.data)
        assert earlier is not None, found.data
        seen.add(earlier.process)
print(len(seen))
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    counts = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert max(counts) >= 1
    assert [name.endswith(".json") for name in os.listdir(tmp_path)] == [True]


texts = st.text(alphabet="ab1: é", max_size=60)
prompts = st.tuples(texts, texts, st.lists(texts, max_size=3), texts)


def built(parts) -> Prompt:
    policy, plan, turns, question = parts
    history = [{"role": "user", "content": turn} for turn in turns]
    return Prompt(static(policy), tenant(plan), session(history), request(question))


@settings(max_examples=150, deadline=None)
@given(prompts, prompts, st.booleans())
def test_digests_place_a_difference_where_the_texts_have_it(one, other, has_same_policy):
    before, after = built(one), built((one[0], *other[1:]) if has_same_policy else other)
    found = kept(before).parted(after.render(), KEY, None)
    truth = diverge(runs_of(before.render()), runs_of(after.render()))
    if truth is None:
        assert found is None
    elif found is not None:
        assert found.at == truth.at
        assert found.byte <= truth.byte <= found.byte + STEP_BYTES


def test_a_long_text_is_placed_by_longer_steps_and_the_servers_word():
    sizes = (LONG_BYTES, 2 * LONG_BYTES + 5)
    for size in sizes:
        head = ("kind words " * size)[: size - 20]
        made = [Prompt(static(head + f" at {now} " + POLICY)) for now in ("9:00:01", "9:00:02")]
        found = parted(*made)
        assert 0 <= len(head) + 10 - found.byte < LONG_STEP_BYTES
        byte = len(head) + 9
        exact = parted(*made, MissPlace(0, found.at, byte))
        assert (exact.byte, exact.why.rule.code, exact.why.now) == (byte, "SF101", "9:00:02")


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("at 09:00:01", "at 09:00:02", "SF101"),
        ("on 2026-11-23", "on 2026-11-24", "SF102"),
        ("id 0b9a8c7d-1e2f-4a3b-8c4d-5e6f7a8b9c0d", "id 6f1c1f5e-0c43-4c1c-9d8e-0d6f6f7a1b2c",
         "SF103"),
        ("for ada@example.org", "for bob@example.org", "SF104"),
        ("tags: red, blue", "tags: blue, red", "SF201"),
        ("plan gold", "plan free", "SF301"),
    ],
)  # fmt: skip
def test_the_rule_is_told_from_the_newer_text(before, after, code):
    made = [Prompt(static(text + ". " + POLICY, name="policy")) for text in (before, after)]
    found = parted(*made)
    assert found.why.rule.code == code
    assert found.why.was == ""
    assert found.why.behind == "the rest of policy"


def test_tools_are_told_apart_by_their_names():
    def tool(name, text="x"):
        return {"name": name, "description": text, "parameters": {"type": "object"}}

    one, two = tool("one"), tool("two")
    swapped = [Prompt(request("q"), tools=tools) for tools in ([one, two], [two, one])]
    assert (parted(*swapped).why.rule.code, parted(*swapped).why.was) == ("SF203", "one")
    changed = [Prompt(request("q"), tools=[tool("one", text)]) for text in "ab"]
    assert parted(*changed).why.rule.code == "SF108"


def test_a_hole_is_named_and_a_prompt_that_goes_on_has_not_parted():
    prompt = Prompt(static(hole("now"), name="clock"), static(POLICY, name="policy"))
    found = kept(prompt, now="9:00").parted(prompt.render(now="9:01"), KEY, None)
    assert found.why.clause("`agent.py:42`") == "`agent.py:42` puts `{now}` before policy"
    longer = prompt.then(request("And now?"))
    assert kept(prompt, now="9:00").parted(longer.render(now="9:00"), KEY, None) is None
    assert kept(prompt, now="9:00").parted(prompt.render(now="9:00"), KEY, None) is None


def test_a_place_that_the_server_does_not_mean_is_not_told():
    made = [Prompt(static(f"It is {now}. " + POLICY)) for now in ("9:00", "9:01")]
    at = parted(*made).at
    assert parted(*made, MissPlace(0, at, 5)) is not None
    assert parted(*made, MissPlace(0, at, 900)) is None
    assert parted(*made, MissPlace(0, ("messages", 7, "content"), 5)) is None


def test_another_api_key_finds_nothing(tmp_path):
    rendered = Prompt(static(POLICY, name="policy")).render()
    memory = Memory(tmp_path)
    assert memory.exchange(rendered, "sk-one") is None
    assert memory.exchange(rendered, "sk-two") is None
    assert memory.exchange(rendered, "sk-one") is not None


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"v":9}', b'{"v":1,"process":1,"at":1,"segments":[{}]}', b"\xff"]
)
def test_a_damaged_file_explains_nothing_and_is_replaced(tmp_path, damage):
    rendered, memory = Prompt(static(POLICY, name="policy")).render(), Memory(tmp_path)
    memory.exchange(rendered, "sk")
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert memory.exchange(rendered, "sk").parted(rendered, None) is None
    assert json.loads(file.read_bytes())["v"] == 1


def test_the_oldest_prompts_go(tmp_path):
    for number in range(MOST_PROMPTS):
        (tmp_path / f"{number}.json").write_text("{}")
        os.utime(tmp_path / f"{number}.json", (number, number))
    Memory(tmp_path).exchange(Prompt(static(POLICY, name="policy")).render(), "sk")
    left = set(os.listdir(tmp_path))
    assert len(left) == MOST_PROMPTS
    assert "0.json" not in left
    assert "1.json" in left


def test_a_folder_that_cannot_be_made_is_an_error_for_who_named_it_and_no_calls(
    peer, tmp_path, monkeypatch, caplog
):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OSError, match="file"):
        ledger("shop", memory=file / "memory")
    monkeypatch.setenv(MEMORY_VARIABLE, str(file / "memory"))
    with caplog.at_level(logging.WARNING), Client(base_url=peer.url, api_key="sk") as client:
        for _ in range(2):
            assert client.ask(Prompt(static(POLICY, name="p"), request("q")), model="m").text
    assert sum(MEMORY_VARIABLE in line for line in caplog.messages) == 1
