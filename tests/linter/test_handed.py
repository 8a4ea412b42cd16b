"""Data reaches a prompt by pools, data sets, routes, tools and pages, and is known by the way."""

from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

PROMPT = 'PROMPT = "Item: {value}. LONG_TEXT"\n\n\n'

FOUND = {
    "a pool maps a function over data": (
        "def one(client, d):\n    client.complete(PROMPT.format(value=d['Open Field']))\n\n"
        "def main(pool, data):\n    pool.map(partial(one, client), data)\n",
        "`one` gets another `d` in each round",
    ),
    "a data set maps a lambda over its rows": (
        "def main(client, ds):\n"
        "    return ds.map(lambda x: client.complete(PROMPT.format(value=x['blob'])))\n",
        "gets another `x` in each round",
    ),
    "a thread pool submits an element of a loop": (
        "def one(client, d):\n    client.complete(PROMPT.format(value=d['blob']))\n\n"
        "def main(pool, client, found):\n"
        "    for thing in found:\n        pool.submit(one, client, thing)\n",
        "`thing` is another one in each round of a loop",
    ),
    "a thread is made for a typed text": (
        "def one(client, d):\n    client.complete(PROMPT.format(value=d))\n\n"
        "def main(client):\n    Thread(target=one, args=(client, input('? '))).start()\n",
        "`input()` asks a person",
    ),
    "tasks are made in a comprehension": (
        "async def one(client, d):\n    await client.complete(PROMPT.format(value=d['blob']))\n\n"
        "async def main(client, found):\n"
        "    await gather(*[one(client, thing) for thing in found])\n",
        "`thing` is another one in each round of a loop",
    ),
    "prompts are made in a comprehension": (
        "def main(client, found):\n"
        "    return [client.complete(PROMPT.format(value=x['blob'])) for x in found]\n",
        "`x` is another one in each round of a loop",
    ),
    "a script's loop calls a model": (
        "for thing in load():\n    client.complete(PROMPT.format(value=thing['blob']))\n",
        "`thing` is another one in each round of a loop",
    ),
    "an example under a guard passes data": (
        "def one(client, d):\n    client.complete(PROMPT.format(value=d))\n\n"
        'if __name__ == "__main__":\n    one(None, input("? "))\n',
        "`input()` asks a person",
    ),
    "a route's parameter": (
        "@app.post('/ask')\nasync def ask(client, spec: str):\n"
        "    client.complete(PROMPT.format(value=spec))\n",
        "`spec` is a parameter of `ask`, which answers a request",
    ),
    "a tool's parameter": (
        "@mcp.tool()\ndef forecast(indicator: str):\n"
        "    client.complete(PROMPT.format(value=indicator))\n",
        "which a model calls as a tool",
    ),
    "a tool of a class": (
        "class Forecast(BaseTool):\n    def _run(self, indicator: str):\n"
        "        client.complete(PROMPT.format(value=indicator))\n",
        "which a model calls as a tool",
    ),
    "a page's field": (
        "import streamlit as st\n\ndef page(client):\n"
        "    spec = st.text_input('What?')\n    client.complete(PROMPT.format(value=spec))\n",
        "`text_input()` asks a person",
    ),
    "a field of a request's body": (
        "from pydantic import BaseModel\n\nclass ChatRequest(BaseModel):\n    blob: str\n\n"
        "def ask(client, request: ChatRequest):\n"
        "    client.complete(PROMPT.format(value=request.blob))\n",
        "the name of `ChatRequest`, of which `blob` is a part,",
    ),
    "what an object was made for": (
        "class Job:\n    def __init__(self, blob):\n        self.blob = blob\n\n"
        "    def run(self, client):\n        client.complete(PROMPT.format(value=self.blob))\n\n"
        "def main(client, found):\n    for thing in found:\n        Job(thing).run(client)\n",
        "`blob` is passed here",
    ),
    "a list that grows in the loop": (
        "def main(client):\n    seen = load()\n    while True:\n"
        "        answer = client.complete(PROMPT.format(value=seen))\n"
        "        seen.append(answer)\n",
        "`seen` grows in each round of a loop",
    ),
}

SILENT = {
    "a pool maps over constants": "def one(client, d):\n"
    "    client.complete(PROMPT.format(value=d))\n\n"
    "def main(pool, client):\n    pool.map(one, [client], ['a', 'b'])\n",
    "a pool maps over settings": "def one(tool):\n"
    "    client.complete(PROMPT.format(value=tool))\n\n"
    "def main(pool, found):\n    pool.map(one, found)\n",
    "a route's session": "@app.post('/ask')\nasync def ask(db: Session, language: str):\n"
    "    client.complete(PROMPT.format(value=f'{db.blob} {language}'))\n",
    "a property that is called get": "@property\ndef get(spec: str):\n"
    "    client.complete(PROMPT.format(value=spec))\n",
    "a chosen language": "import streamlit as st\n\ndef page(client):\n"
    "    language = st.selectbox('Language', load())\n"
    "    client.complete(PROMPT.format(value=language))\n",
    "a number of a request's body": "from pydantic import BaseModel\n\n"
    "class ChatRequest(BaseModel):\n    blob: int\n\n"
    "def ask(client, request: ChatRequest):\n"
    "    client.complete(PROMPT.format(value=request.blob))\n",
    "a script's loop that makes constants": "TEXTS = {}\nfor thing in load():\n"
    "    TEXTS[thing] = PROMPT.format(value=thing)\nclient.complete(TEXTS['a'])\n",
    "an object's setting": "class Job:\n    def __init__(self, style):\n"
    "        self.style = style\n\n"
    "    def run(self, client):\n        client.complete(PROMPT.format(value=self.style))\n\n"
    "def main(client, found):\n    for thing in found:\n        Job(thing).run(client)\n",
    "a list that grew before": "def main(client):\n    seen = []\n    for name in load():\n"
    "        seen.append(name)\n    client.complete(PROMPT.format(value=seen))\n",
}


@pytest.mark.parametrize(("source", "evidence"), FOUND.values(), ids=FOUND)
def test_what_is_handed_on_is_data(source: str, evidence: str, check: Check) -> None:
    (finding,) = check(PROMPT + source).findings
    assert any(evidence in step.text for step in finding.evidence), finding.evidence


@pytest.mark.parametrize("source", SILENT.values(), ids=SILENT)
def test_what_stays_is_left_alone(source: str, check: Check) -> None:
    assert not check(PROMPT + source).findings


PASSED = {
    "a keyword": ("chain.run(blob=thing)", 1),
    "a dict": ('chain.invoke({"blob": thing})', 1),
    "another name": ("chain.run(other=thing)", 0),
    "a constant": ('chain.run(blob="the same")', 0),
}


@pytest.mark.parametrize(("call", "finds"), PASSED.values(), ids=PASSED)
def test_a_field_is_what_calls_pass_by_its_name(call: str, finds: int, check: Check) -> None:
    report = check(
        texts=(
            "ASK_PROMPT = 'Item: {blob}. You are given an item. Answer in JSON only. LONG_TEXT'\n"
        ),
        app="import texts\n\n\ndef main(make, found):\n    chain = make(texts.ASK_PROMPT)\n"
        f"    for thing in found:\n        {call}\n",
    )
    assert len(report.findings) == finds
    for finding in report.findings:
        assert finding.evidence[-1].text == "`blob` is passed by this name"


def test_a_helper_s_system_message_is_not_data_by_its_name(check: Check) -> None:
    report = check(
        "def send(client, prompt, system_message='Be kind.'):\n"
        "    return client.create(messages=[\n"
        "        {'role': 'system', 'content': system_message},\n"
        "        {'role': 'user', 'content': prompt}])\n\n"
        "def review(client, source_text, target_lang):\n"
        "    told = f'You translate into {target_lang}.'\n"
        "    send(client, f'Text: {source_text}. LONG_TEXT', told)\n"
    )
    assert [finding.code for finding in report.findings] == ["SF301"]


def test_rows_of_a_file_that_the_command_line_names_are_data(check: Check) -> None:
    report = check(
        f"{PROMPT}args = argparse.ArgumentParser().parse_args()\n\n"
        "def load(path):\n    return [json.loads(line) for line in open(path)]\n\n"
        "def judge(client, question):\n    client.complete(PROMPT.format(value=question))\n\n"
        "def main(client):\n    for row in load(args.file):\n        judge(client, row['x'])\n"
    )
    assert [finding.code for finding in report.findings] == ["SF301"]
