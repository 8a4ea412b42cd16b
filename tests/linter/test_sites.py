"""Text that is sent to a model is found however it gets there, and other text is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

SEND = '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'

SENT = {
    "a dict in the call": (
        "def ask(client, question):\n"
        "    client.chat.completions.create(messages=[\n"
        '        {"role": "user", "content": f"{question} LONG_TEXT"}])\n'
    ),
    "a text part": (
        "def ask(client, question):\n"
        '    client.chat.completions.create(messages=[{"role": "user", "content": [\n'
        '        {"type": "text", "text": f"{question} LONG_TEXT"}]}])\n'
    ),
    "through two names": (
        "def ask(client, question):\n"
        '    text = f"{question} LONG_TEXT"\n    body = text.strip()\n'
        '    message = {"role": "user", "content": body}\n'
        "    messages = [message]\n"
        "    client.chat.completions.create(messages=messages)\n"
    ),
    "a function of the project": (
        "def build(question):\n"
        '    return f"{question} LONG_TEXT"\n\n'
        "def ask(client, question):\n    text = build(question)\n" + SEND
    ),
    "a wrapper's parameter": (
        "def send(client, text):\n" + SEND + "\n"
        'def ask(client, question):\n    send(client, f"{question} LONG_TEXT")\n'
    ),
    "a method's template in a class attribute": (
        "class Judge:\n"
        '    template = "{question} LONG_TEXT"\n\n'
        "    def ask(self, client, question):\n"
        "        text = self.template.format(question=question)\n"
        '        client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    ),
    "a sum": ('def ask(client, question):\n    text = question + "\\n" + "LONG_TEXT"\n' + SEND),
    "a prompt that grows": (
        "def ask(client, question, flag):\n"
        '    text = f"{question}\\n"\n'
        "    if flag:\n"
        '        text += "LONG_TEXT"\n' + SEND
    ),
    "one of two variants": (
        "def ask(client, question, flag):\n"
        '    text = f"{question} LONG_TEXT" if flag else "short"\n' + SEND
    ),
    "dedent": (
        "import textwrap\n\n"
        "def ask(client, question):\n"
        '    text = textwrap.dedent(f"""{question}\n    LONG_TEXT""")\n' + SEND
    ),
    "system=": (
        "def ask(client, question):\n"
        '    client.messages.create(system=f"{question} LONG_TEXT", messages=[])\n'
    ),
    "instructions=": (
        'def ask(client, question):\n    Agent(instructions=f"{question} LONG_TEXT")\n'
    ),
    "a message class": (
        "def ask(llm, question):\n"
        '    llm.invoke([SystemMessage(content=f"{question} LONG_TEXT")])\n'
    ),
    "a message class with a role": (
        "def ask(llm, question):\n"
        '    llm.chat([ChatMessage(role=MessageRole.USER, content=f"{question} LONG_TEXT")])\n'
    ),
    "a weak call with the shape of a prompt": (
        "def ask(llm, question):\n"
        '    llm.complete(f"Question: {question} You are a judge. LONG_TEXT")\n'
    ),
    "a name and the shape, without a sink": (
        'JUDGE_PROMPT = "Question: {question} You are a judge. LONG_TEXT"\n\n'
        "def build(question):\n    return JUDGE_PROMPT.format(question=question)\n"
    ),
    "a template class": (
        'QA = PromptTemplate(template="{question} LONG_TEXT", input_variables=["question"])\n'
    ),
    "messages of a template class": (
        'QA = ChatPromptTemplate.from_messages([("system", "{question} LONG_TEXT")])\n'
    ),
}


@pytest.mark.parametrize("source", SENT.values(), ids=SENT.keys())
def test_a_prompt_is_found(source: str, check: Check) -> None:
    report = check(source)
    assert [finding.code for finding in report.findings] == ["SF301"]


NOT_SENT = {
    "a log line": 'def note(log, question):\n    log.info(f"{question} LONG_TEXT")\n',
    "SQL": (
        "def find(db, query):\n"
        '    system = f"SELECT {query} FROM t WHERE LONG_TEXT"\n    db.execute(system=system)\n'
    ),
    "HTML named template": (
        'def page(text):\n    template = f"<html>{text} LONG_TEXT"\n    return template\n'
    ),
    "a prompt for a person": ('def ask(question):\n    return input(f"{question} LONG_TEXT")\n'),
    "a name alone": 'def f(query):\n    prompt = f"{query} lorem ipsum dolor " * 99\n',
    "the shape alone": 'def f(question):\n    x = f"{question} You are a judge. LONG_TEXT"\n',
    "a constant": (
        'def ask(client, text):\n    client.messages.create(system="LONG_TEXT {x}", messages=[])\n'
    ),
}


@pytest.mark.parametrize("source", NOT_SENT.values(), ids=NOT_SENT.keys())
def test_other_text_is_left_alone(source: str, check: Check) -> None:
    assert check(source).findings == ()


HISTORIES = {
    "spread first": "messages=[*history, {M}]",
    "added": "messages=history + [{M}]",
    "unknown list": "messages=[load(), {M}]",
}


@pytest.mark.parametrize("argument", HISTORIES.values(), ids=HISTORIES.keys())
def test_order_cannot_matter_behind_a_history(argument: str, check: Check) -> None:
    message = '{"role": "user", "content": f"{question} LONG_TEXT"}'
    call = argument.replace("{M}", message)
    report = check(f"def ask(client, history, question):\n    client.create({call})\n")
    assert len(report.sites) == 1
    assert report.findings == ()


def test_appending_to_a_list_that_was_there_is_behind_a_history(check: Check) -> None:
    source = (
        "class Agent:\n"
        "    def ask(self, client, question):\n"
        '        self.messages.append({"role": "user", "content": f"{question} LONG_TEXT"})\n'
        "        client.chat.completions.create(messages=self.messages)\n"
    )
    assert check(source).findings == ()


def test_appending_to_a_fresh_list_is_not(check: Check) -> None:
    source = (
        "def ask(client, question):\n"
        "    messages = []\n"
        '    messages.append({"role": "user", "content": f"{question} LONG_TEXT"})\n'
        "    client.chat.completions.create(messages=messages)\n"
    )
    assert [f.code for f in check(source).findings] == ["SF301"]


def test_a_template_in_another_module_is_found_where_it_lives(check: Check) -> None:
    report = check(
        app__prompts='"""Prompts."""\n\nQA = "{question} LONG_TEXT"\n',
        app____init__="",
        app__ask=(
            "from .prompts import QA as TEMPLATE\n\n"
            "def ask(client, question):\n"
            "    text = TEMPLATE.format(question=question)\n" + SEND
        ),
    )
    (finding,) = report.findings
    assert finding.location.path.endswith("prompts.py")
    assert (finding.location.line, finding.location.column) == (3, 7)
    assert finding.template is not None
    assert [call.path.endswith("ask.py") for call in finding.template.calls] == [True]


def test_templates_of_one_name_are_told_apart(check: Check) -> None:
    report = check(
        a='PROMPT = "{question} LONG_TEXT"\n',
        b='PROMPT = "LONG_TEXT {question}"\n',
        app=(
            "import b\nfrom a import PROMPT\n\n"
            "def one(client, question):\n    text = PROMPT.format(question=question)\n"
            + SEND
            + "def two(client, question):\n    text = b.PROMPT.format(question=question)\n"
            + SEND
        ),
    )
    assert [f.location.path.rpartition("/")[2] for f in report.findings] == ["a.py"]
    assert len(report.sites) == 2


def test_two_calls_of_one_template_are_one_site(check: Check) -> None:
    source = (
        'T = "{question} LONG_TEXT"\n\n'
        "def one(client, question):\n    text = T.format(question=question)\n"
        + SEND
        + "def two(client):\n    text = T.format(question='what?')\n"
        + SEND
    )
    (site,) = check(source).sites
    assert len(site.template.calls) == 2
    assert not site.template.is_shared
    (site,) = check(source + "print(T)\n").sites
    assert site.template.is_shared


ASK_PROMPT = 'ASK_PROMPT = "{question} LONG_TEXT"\n'
FILLED = "def ask(client, question):\n    text = NAME.format(question=question)\n" + SEND


def test_a_star_import_brings_constants_also_when_they_are_handed_on(check: Check) -> None:
    report = check(
        texts=ASK_PROMPT,
        handed_on="from texts import *\nfrom app import *\n",
        app="from handed_on import *\n\n" + FILLED.replace("NAME", "ASK_PROMPT"),
        b="import handed_on\n\n" + FILLED.replace("NAME", "handed_on.ASK_PROMPT"),
    )
    (site,) = report.sites
    assert site.template.location.path.endswith("texts.py")
    assert len(site.template.calls) == 2


def test_constants_of_one_name_in_other_modules_are_other_texts(check: Check) -> None:
    report = check(
        a=ASK_PROMPT + FILLED.replace("NAME", "ASK_PROMPT"),
        b=ASK_PROMPT + FILLED.replace("NAME", "ASK_PROMPT"),
        c=f"class C:\n    {ASK_PROMPT}" + FILLED.replace("NAME", "C.ASK_PROMPT"),
    )
    assert [site.template.is_shared for site in report.sites] == [False, False, False]


@pytest.mark.parametrize(
    "reader",
    [
        "from texts import ASK_PROMPT\nprint(ASK_PROMPT[:9], 'prompt')\n",
        "import texts\nprint(texts.ASK_PROMPT[:9], 'prompt')\n",
        "from texts import *\nprint(ASK_PROMPT[:9], 'prompt')\n",
        "from handed_on import OTHER\nprint(OTHER[:9], 'prompt')\n",
        "class C:\n    ASK_PROMPT = ''\n\nimport texts\nprint(texts.ASK_PROMPT[:9], 'prompt')\n",
    ],
)
def test_a_second_reader_counts_under_any_name(reader: str, check: Check) -> None:
    report = check(
        texts=ASK_PROMPT,
        app="from texts import ASK_PROMPT as P\n\n" + FILLED.replace("NAME", "P"),
        handed_on="from texts import ASK_PROMPT as OTHER\n",
        reader=reader,
    )
    (site,) = report.sites
    assert site.template.is_shared


@pytest.mark.parametrize(
    ("use", "is_shared"),
    [
        ("head, _, rest = text.partition('\\n')", True),
        ("text = text.replace('Rules', 'RULES')", True),
        ("key = text[:9]", True),
        ("lines = text.splitlines()", True),
        ("print(text[:80])", False),
        ("words = len(text.split())", False),
        ("text = text.strip()", False),
    ],
)
@pytest.mark.parametrize("made", ['f"{question} LONG_TEXT"', '"{q} LONG_TEXT".format(q=question)'])
def test_rendered_text_that_is_cut_has_another_reader(
    made: str, use: str, is_shared: bool, check: Check
) -> None:
    source = f"def ask(client, question):\n    text = {made}\n    {use}\n"
    (site,) = check(source + SEND).sites
    assert site.template.is_shared is is_shared


def test_what_follows_a_system_message_is_known(check: Check) -> None:
    source = (
        'def tool(name):\n    return {"type": "function", "function": {"name": name}}\n\n'
        'TOOLS = [tool("search"), tool("buy")]\n\n'
        "def ask(client, history, user_name):\n"
        "    client.chat.completions.create(tools=TOOLS, messages=[\n"
        '        {"role": "system", "content": f"For {user_name}."},\n'
        '        {"role": "user", "content": f"Rules: LONG_TEXT {user_name}"}, *history])\n'
    )
    system, user = check(source).sites
    assert system.role == "system"
    assert system.following.has_history
    assert system.following.tools is not None
    assert '"name": "buy"' in system.following.tools
    assert "Rules: " in system.following.texts[0]
    assert user.index == 1
    assert not user.follows_history
    assert replace(user.following, has_history=True) == user.following
