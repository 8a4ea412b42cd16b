"""A text that is put together once, at import or when an object is made, keeps what it read."""

from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

HEAD = """\
import uuid
from datetime import datetime
from langchain_core.prompts import PromptTemplate
from pydantic_ai import Agent

"""
SEND = (
    "return client.chat.completions.create(messages=[\n"
    '            {"role": "system", "content": SYSTEM}, *history])\n'
)
ASK = "\ndef ask(client, history):\n    " + SEND.replace("SYSTEM", "PROMPT")
METHOD = "    def ask(self, client, history):\n        " + SEND.replace("SYSTEM", "self.prompt")

ONCE = {
    "an f-string at import": 'PROMPT = f"Since {datetime.now()}. LONG_TEXT"\n' + ASK,
    "a sum at import": 'PROMPT = f"Since {datetime.now()}. " + "LONG_TEXT"\n' + ASK,
    "a random id at import": 'PROMPT = f"Run {uuid.uuid4()}. LONG_TEXT"\n' + ASK,
    "a builder that is called at import": (
        'def build():\n    return f"Since {datetime.now()}. LONG_TEXT"\n\nPROMPT = build()\n' + ASK
    ),
    "an f-string in a class": (
        'class Bot:\n    prompt = f"Since {datetime.now()}. LONG_TEXT"\n' + METHOD
    ),
    "an f-string when an object is made": (
        "class Bot:\n    def __init__(self):\n"
        '        self.prompt = f"Since {datetime.now()}. LONG_TEXT"\n' + METHOD
    ),
    "a method that only `__init__` calls": (
        "class Bot:\n    def __init__(self):\n        self.prompt = self._build()\n"
        '    def _build(self):\n        return f"Since {datetime.now()}. LONG_TEXT"\n' + METHOD
    ),
    "an agent of the module": (
        'agent = Agent("m", system_prompt=f"Since {datetime.now()}. LONG_TEXT")\n'
        "def ask(question):\n    return agent.run_sync(question)\n"
    ),
    "a default": (
        "def ask(client, history, now=datetime.now()):\n"
        '    prompt = f"Since {now}. LONG_TEXT"\n    ' + SEND.replace("SYSTEM", "prompt")
    ),
    "a property that is cached": (
        "from functools import cached_property\nclass Bot:\n    @cached_property\n"
        "    def since(self):\n        return datetime.now()\n"
        + METHOD.replace("self.prompt", 'f"Since {self.since}. LONG_TEXT"')
    ),
    "a template's variable at import": (
        'prompt = PromptTemplate(template="Since {time}. LONG_TEXT {q}", input_variables=["q"],\n'
        '    partial_variables={"time": datetime.now().isoformat()})\n'
    ),
}

AGAIN = {
    "a loop of a script": (
        "import openai\nclient = openai.OpenAI()\nfor question in open('q.txt'):\n"
        '    prompt = f"Since {datetime.now()}. LONG_TEXT"\n'
        '    client.chat.completions.create(messages=[{"role": "system", "content": prompt},\n'
        '        {"role": "user", "content": question}])\n'
    ),
    "a builder that a request calls, too": (
        'def build():\n    return f"Since {datetime.now()}. LONG_TEXT"\n\nPROMPT = build()\n'
        "\ndef ask(client, history):\n    " + SEND.replace("SYSTEM", "build()")
    ),
    "a method that a request calls, too": (
        "class Bot:\n    def __init__(self):\n        self.first = self._build()\n"
        '    def _build(self):\n        return f"Since {datetime.now()}. LONG_TEXT"\n'
        + METHOD.replace("self.prompt", "self._build()")
    ),
    "an object that is made for a question": (
        "class Job:\n    def __init__(self, question):\n        self.question = question\n"
        '        self.prompt = f"Since {datetime.now()}. LONG_TEXT"\n' + METHOD
    ),
    "a default that says nothing": (
        "def ask(client, history, now=None):\n"
        '    prompt = f"Since {now}. LONG_TEXT"\n    ' + SEND.replace("SYSTEM", "prompt")
    ),
    "a property": (
        "class Bot:\n    @property\n"
        "    def since(self):\n        return datetime.now()\n"
        + METHOD.replace("self.prompt", 'f"Since {self.since}. LONG_TEXT"')
    ),
    "a function that fills a template's variable": (
        'prompt = PromptTemplate(template="Since {time}. LONG_TEXT {q}", input_variables=["q"],\n'
        '    partial_variables={"time": datetime.now})\n'
    ),
}


@pytest.mark.parametrize("source", ONCE.values(), ids=ONCE)
def test_a_clock_in_a_text_that_is_made_once_is_no_clock(source: str, check: Check) -> None:
    report = check(HEAD + source)
    assert len(report.sites) == 1
    assert report.findings == ()


@pytest.mark.parametrize("source", AGAIN.values(), ids=AGAIN)
def test_a_clock_in_a_text_that_is_made_again_is_found(source: str, check: Check) -> None:
    assert "SF101" in {finding.code for finding in check(HEAD + source).findings}


LOOP = """
def chat(client, tools):
    messages = [{"role": "system", "content": f"Be kind. It is {datetime.now()}."}]
    while True:
        messages.append({"role": "user", "content": input()})
        answer = client.chat.completions.create(messages=messages)
        messages.append({"role": "assistant", "content": answer.choices[0].message.content})
"""
IN_THE_LOOP = LOOP.replace("messages=messages", "messages=[NEW, *messages]").replace(
    "NEW", '{"role": "system", "content": f"It is {datetime.now()}."}'
)
FROM_ELSEWHERE = LOOP.replace("tools)", "tools, turns)").replace(
    "    while", "    messages += turns\n    while"
)


def test_what_a_loop_adds_loses_nothing_by_a_text_that_is_made_before_it(check: Check) -> None:
    assert check(HEAD + LOOP).findings == ()
    assert [finding.code for finding in check(HEAD + IN_THE_LOOP).findings] == ["SF101"]
    assert [finding.code for finding in check(HEAD + FROM_ELSEWHERE).findings] == ["SF101"]


def test_no_round_is_said_to_read_a_text_again_that_was_made_before_the_loop(check: Check) -> None:
    source = LOOP.replace("messages=messages", "messages=messages, tools=tools")
    (finding,) = check(HEAD + source).findings
    assert "conversation" not in finding.message
    assert not any("round" in step.text for step in finding.evidence)
    (finding,) = check(HEAD + IN_THE_LOOP).findings
    assert any("round" in step.text for step in finding.evidence)
