"""What varies is known by where a value comes from, and what stays by who could change it."""

from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

SEND = 'client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
RECORD = (
    "from dataclasses import dataclass\n\n"
    '@dataclass\nclass Search:\n    topic: str = ""\n    place: str = ""\n\n'
)
HALF = "Answer politely and never promise what the policy does not grant. " * 6

VARIES = {
    "an element inside its loop": (
        "def each(client, things):\n    for thing in things:\n"
        '        text = f"{thing.whole} LONG_TEXT"\n        ' + SEND
    ),
    "what a caller's loop passes": (
        "def tell(client, part):\n    text = f'{part} LONG_TEXT'\n    " + SEND + "\n"
        "def each(client, found):\n    for one in found:\n        tell(client, one)\n"
    ),
    "a record's field, whatever its default is": (
        RECORD + "def ask(client, search: Search):\n"
        "    text = f'{search.topic} LONG_TEXT'\n    " + SEND
    ),
    "what makes a record passes it": (
        RECORD + "def ask(client, search: Search):\n"
        "    text = f'{search.place} LONG_TEXT'\n    " + SEND + "\n"
        "def main(client, question):\n    ask(client, Search(place=question))\n"
    ),
    "a field of an f-string that `format` fills": (
        'TOOL = "search"\nASK_PROMPT = f"You have {TOOL}. {{question}} LONG_TEXT"\n\n'
        "def ask(client, question):\n"
        "    text = ASK_PROMPT.format(question=question)\n    " + SEND
    ),
    "a module's dict that a function fills": (
        "file_contents = {}\n\n"
        "def load(path):\n    file_contents[path] = open(path).read()\n\n"
        "def ask(client):\n    text = 'Files: ' + str(file_contents) + ' LONG_TEXT'\n    " + SEND
    ),
    "an object's state that a model's answer changes": (
        "class Solver:\n    def __init__(self):\n        self.insight = None\n\n"
        "    def think(self, code):\n        self.insight = ask_llm(code)\n\n"
        "    def solve(self, client):\n"
        "        text = f'{self.insight} LONG_TEXT'\n        " + SEND
    ),
    "the task that an object is made for": (
        "class Player(Base):\n    def play(self, client):\n"
        "        text = f'{self.task_prompt} LONG_TEXT'\n        " + SEND
    ),
    "the subject of a request": (
        "def ask(client, company_name):\n    text = f'{company_name} LONG_TEXT'\n    " + SEND
    ),
    "the end of a value's own text and the text behind it": (
        f'HEAD = "{{question}} {HALF}"\nREST = "{HALF}"\n\n'
        "def ask(client, question):\n"
        "    text = HEAD.format(question=question) + REST\n    " + SEND
    ),
    "messages as pairs": (
        "def ask(llm, question):\n"
        "    return llm.invoke([('system', f'{question} LONG_TEXT'), ('human', 'Now.')])\n"
    ),
    "pairs in a template of the project's own": (
        "ASK = Protocol(template=[('system', 'Help.'), ('user', '{content} LONG_TEXT')])\n\n"
        "def ask(client):\n    return client.chat.completions.create(messages=ASK.made())\n"
    ),
    "fields in a sum that a call fills": (
        'RULES = "LONG_TEXT"\n\ndef ask(client, question):\n'
        '    text = ("Asked: {question} " + RULES).format(question=question)\n    ' + SEND
    ),
    "a judge's template": (
        'GRADER_TEMPLATE = "Judge whether it is right. {question} Your judgement: LONG_TEXT"'
        "\n\ndef ask(judge, question):\n"
        "    return judge(GRADER_TEMPLATE.format(question=question))\n"
    ),
    "a prompt in Chinese": (
        "def ask(client, question):\n"
        "    find_prompt = f'问题：{question}。"
        + "请根据规则回答，必须输出格式正确，不要解释，注意示例。" * 12
        + "'\n    return find(find_prompt)\n"
    ),
    "a prompt that begins as SQL would": (
        'FIELDS_PROMPT = "Select fields. Query: {query} You must do it. LONG_TEXT"\n\n'
        "def ask(find, query):\n    return find(FIELDS_PROMPT.format(query=query))\n"
    ),
}


@pytest.mark.parametrize("source", VARIES.values(), ids=VARIES.keys())
def test_data_is_known_by_its_source(source: str, check: Check) -> None:
    found = check(source).findings
    assert [finding.code for finding in found] == ["SF301"]
    assert found[0].evidence


STAYS = {
    "what a loop looked for and left": (
        "def one(client, things):\n    for thing in things:\n        if thing.fits:\n"
        "            break\n    text = f'{thing.whole} LONG_TEXT'\n    " + SEND
    ),
    "all elements together": (
        "def every(client, things):\n    whole = ''\n    for thing in things:\n"
        "        whole += f'{thing.whole}; '\n    text = 'All: ' + whole + ' LONG_TEXT'\n    "
        + SEND
    ),
    "a list of all elements": (
        "def every(client, things):\n    lines = []\n    for thing in things:\n"
        "        lines.append(thing.whole)\n"
        "    text = f'{lines} LONG_TEXT'\n    " + SEND
    ),
    "what a function found in a loop": (
        "def find(things):\n    for thing in things:\n        if thing.fits:\n"
        "            return thing\n\n"
        "def one(client, things):\n    text = f'{find(things)} LONG_TEXT'\n    " + SEND
    ),
    "one of several agents": (
        "def each(client, agents):\n    for agent in agents:\n"
        "        text = f'{agent.whole} LONG_TEXT'\n        " + SEND
    ),
    "a record of settings": (
        RECORD.replace("Search", "SearchConfig") + "def ask(client, search: SearchConfig):\n"
        "    text = f'{search.place} LONG_TEXT'\n    " + SEND
    ),
    "a record that is made with constants alone": (
        RECORD + "def ask(client, search: Search):\n"
        "    text = f'{search.topic} LONG_TEXT'\n    " + SEND + "\n"
        "def main(client):\n    ask(client, Search(topic='tea'))\n"
    ),
    "a register that functions fill": (
        "TOOLS = {}\n\ndef register(tool):\n    TOOLS[tool.name] = tool.text\n\n"
        "def ask(client):\n    text = 'Tools: ' + str(TOOLS) + ' LONG_TEXT'\n    " + SEND
    ),
    "a constant that is named for a subject": (
        "import sys\n\nCOMPANY_NAME = sys.argv[1]\n\n"
        "def ask(client):\n    text = f'{COMPANY_NAME} LONG_TEXT'\n    " + SEND
    ),
    "what is allowed in a setup": (
        "def ask(client, allowed_nodes):\n    text = f'{allowed_nodes} LONG_TEXT'\n    " + SEND
    ),
    "a setting of a service": (
        "def ask(client, app_config):\n    text = f'{app_config.context} LONG_TEXT'\n    " + SEND
    ),
}


@pytest.mark.parametrize("source", STAYS.values(), ids=STAYS.keys())
def test_what_cannot_be_shown_to_vary_stays_silent(source: str, check: Check) -> None:
    assert check(source).findings == ()


def test_a_day_does_not_hide_a_counter(check: Check) -> None:
    found = check(
        "from datetime import date\n\n"
        "def run(client, turns):\n    for cycle in range(10):\n"
        '        system = f"{date.today()} Cycle {cycle}. LONG_TEXT"\n'
        "        client.messages.create(system=system, messages=turns)\n"
    ).findings
    assert "SF105" in {finding.code for finding in found}
