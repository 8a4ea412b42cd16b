"""Values and prompts are found where the code does not spell them out, and settings stay silent."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import Config

Check = Callable[..., Report]

SEND = 'client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
RULES = "You must answer politely. Never promise what the given policy does not grant. " * 16

VARIES = {
    "one sample that a caller's loop gives, written beside each of many names": (
        'def ask(client, sample, names):\n    text = ""\n    for i, name in enumerate(names):\n'
        f'        text += f"{{i}}. {{name}}: {{sample}}"\n    text += "RULES"\n    {SEND}\n'
        "def work(client, names, samples):\n    for sample in samples:\n"
        "        ask(client, sample, names)\n"
    ),
    "data that a loop writes with its numbers": (
        'def ask(client, docs):\n    text = ""\n    for i, doc in enumerate(docs):\n'
        f'        text += f"[{{i}}] {{doc}}"\n    text += "RULES"\n    {SEND}'
    ),
    "a value that the next round of a loop sees": (
        'def work(client, llm):\n    last = ""\n    for step in steps():\n'
        '        text = f"{last} RULES"\n'
        f"        last = {SEND}"
    ),
    "an element of something unknown that is named for data": (
        "def work(client):\n    for question in load():\n"
        f'        text = f"{{question}} RULES"\n        {SEND}'
    ),
    "one caller of two": (
        f'def ask(client, x):\n    text = f"{{x}} RULES"\n    {SEND}\n'
        "def one(client, question):\n    ask(client, question)\n\n"
        "def other(client):\n    ask(client, compute())\n"
    ),
    "what a model answered": (
        "def work(client, llm):\n    found = llm.invoke(make())\n"
        f'    text = f"{{found.content}} RULES"\n    {SEND}'
    ),
    "what a call made of data by its name": (
        "def ask(client, question):\n    shown = tool.format_it(question)\n"
        f'    text = f"{{shown}} RULES"\n    {SEND}'
    ),
    "what is read from a file, whatever reads it": (
        "def ask(client, state):\n    specs_content = state.format_specs()\n"
        f'    text = f"{{specs_content}} RULES"\n    {SEND}'
    ),
    "data that is called so": (
        f'def ask(client, market_data):\n    text = f"{{market_data}} RULES"\n    {SEND}'
    ),
    "the prompt of a function that sends it": (
        f'def a_generate_findings(client, prompt: str):\n    text = prompt + " RULES"\n    {SEND}'
    ),
    "a part of a sum that `.format` fills": (
        "def ask(client, goal, x):\n"
        '    text = f"About {x}: "\n'
        f'    text += "Reach {{goal}}. RULES".format(goal=goal)\n    {SEND}'
    ),
    "a part of a tuple that a function returns": (
        "def both(question):\n    return f'{question} RULES', 'x'\n\n"
        f"def ask(client, question):\n    text, other = both(question)\n    {SEND}"
    ),
    "an attribute that a method keeps": (
        "class Asker:\n    def __init__(self, client, question):\n"
        "        self.client, self.question = client, question\n"
        "        self.question = question\n\n"
        f'    def ask(self, client):\n        text = f"{{self.question}} RULES"\n        {SEND}'
    ),
    "a template that is filled out of sight": 'ASK_PROMPT = """{question}\nRULES"""\n',
    "a template of a dict of prompts": 'PROMPTS = {"ask": """{question}\nRULES"""}\n',
    "a Jinja template that is filled out of sight": (
        'ASK_PROMPT = """{{ question }}\n{% if x %}more{% endif %}RULES"""\n'
    ),
    "messages that a function makes": (
        'def made(question):\n    return [{"role": "user", "content": f"{question} RULES"}]\n\n'
        "def ask(client, question):\n"
        "    client.chat.completions.create(messages=made(question))\n"
    ),
    "a message appended to a list of known messages": (
        "def ask(llm, question):\n"
        '    messages = [{"role": "system", "content": "Be terse."}]\n'
        '    messages.append({"role": "user", "content": f"{question} RULES"})\n'
        "    return llm(messages)\n"
    ),
    "a method of a class of prompts": (
        "class PromptFamily:\n    @staticmethod\n    def curate(question):\n"
        '        return f"{question} RULES"\n'
    ),
}

IDIOMS = {
    "pydantic-ai": (
        'agent = Agent("m")\n\n@agent.system_prompt\ndef add(question: str) -> str:\n'
        '    return f"Asked: {question}. RULES"\n'
    ),
    "CrewAI": (
        "def build(topic, writer):\n"
        '    return Task(description=f"Research {topic}. RULES", agent=writer)\n'
    ),
    "AutoGen": (
        'def run(a, b, question):\n    a.initiate_chat(b, message=f"Q: {question}. RULES")\n'
    ),
    "smolagents": 'def go(agent, question):\n    agent.run(f"Q: {question}. RULES")\n',
    "Gemini": (
        'def go(model, transcript):\n    model.generate_content([f"{transcript}. RULES"])\n'
    ),
    "a wrapper of one's own": (
        'def go(self, answer):\n    text = f"{answer} RULES"\n    return self._complete(text)\n'
    ),
    "a message made by dict()": (
        "def go(client, question):\n    client.chat.completions.create(\n"
        '        messages=[dict(role="user", content=f"{question} RULES")])\n'
    ),
    "a text that a function makes of what is named otherwise": (
        'def text_of(question):\n    return f"{question} RULES"\n\n'
        "def go(llm, q):\n    return llm.invoke(text_of(q))\n"
    ),
}


@pytest.mark.parametrize("title", IDIOMS)
def test_idioms_of_libraries_are_read(check: Check, title: str) -> None:
    report = check(IDIOMS[title].replace("RULES", RULES))
    assert [finding.code for finding in report.findings] == ["SF301"]


CHAT = "from langchain_core.prompts import *\n\nASK = ChatPromptTemplate.from_messages([\n"

STAYS = {
    "a context of which the annotation spells all": (
        'def ask(client, context: Literal["shop", "club"]):\n'
        f'    text = f"{{context}} RULES"\n    {SEND}'
    ),
    "the numbers of what a loop writes": (
        'def ask(client, tools):\n    text = ""\n    for i, tool in enumerate(tools):\n'
        f'        text += f"{{i}}. {{tool.description}}"\n    text += "RULES"\n    {SEND}'
    ),
    "the system message that is taken out of a history": (
        'def ask(client, messages):\n    if messages[0]["role"] == "system":\n'
        '        system = messages.pop(0)["content"]\n'
        "    return client.messages.create(system=system, messages=messages)\n"
    ),
    "a file that is written": (
        "def save(question, path):\n"
        '    prompt = f"You are a judge. Question: {question} RULES"\n'
        "    with open(path, 'w') as file:\n        file.write(prompt)\n"
    ),
    "a template behind the place of a conversation": (
        CHAT
        + '    ("system", "Be terse."), MessagesPlaceholder("chat_history"),\n'
        + '    HumanMessagePromptTemplate.from_template("{question} RULES")])\n'
    ),
    "a turn of a chat template behind a placeholder": (
        CHAT
        + '    ("system", "Be terse."), ("placeholder", "{messages}"),\n'
        + '    ("human", "{question} RULES")])\n'
    ),
    "a text of what stays for long": (
        "def ask(client, rules_context, personality_context):\n"
        f'    text = f"{{rules_context}} {{personality_context}} RULES"\n    {SEND}'
    ),
    "data of what stays for a user": (
        f'def ask(client, location_data):\n    text = f"{{location_data}} RULES"\n    {SEND}'
    ),
    "the prompt that an object is made with": (
        "class Agent:\n    def __init__(self, client, prompt):\n"
        f'        text = f"{{prompt}} RULES"\n        {SEND}'
    ),
    "a private function that nobody calls": (
        f'def _ask(client, question):\n    text = f"{{question}} RULES"\n    {SEND}'
    ),
    "a private method that is called by one that nobody calls": (
        "class Judge:\n    def _first(self, client, question):\n"
        "        return self._second(client, question)\n\n"
        "    def _second(self, client, question):\n"
        f'        text = f"{{question}} RULES"\n        {SEND}'
    ),
    "a value that each round binds anew": (
        "def work(client):\n    for step in steps():\n"
        '        last = "a"\n        text = f"{last} RULES"\n'
        f"        last = {SEND}"
    ),
    "a turn that is sent with the conversation so far": (
        "def ask(agent, question, turns):\n"
        '    prompt = f"{question} RULES"\n'
        "    return agent.run(prompt, messages=turns)\n"
    ),
    "a turn that is sent with a list that a loop fills": (
        "def turns_of(log):\n    found = []\n    for turn in log:\n"
        '        found.append({"role": "user", "content": turn.text})\n    return found\n\n'
        "def ask(agent, question, log):\n"
        '    prompt = f"{question} RULES"\n'
        "    return agent.run(task=prompt, messages=turns_of(log))\n"
    ),
    "the address of a service": (
        f'def ask(client, api_url):\n    text = f"{{api_url}} RULES"\n    {SEND}'
    ),
    "a language that was detected in the question": (
        "def ask(client, llm, question):\n    language = llm.invoke(question)\n"
        f'    text = f"{{language}} RULES"\n    {SEND}'
    ),
    "a purpose that was set for a conversation": (
        "def ask(client, conversation_purpose):\n"
        f'    text = f"{{conversation_purpose}} RULES"\n    {SEND}'
    ),
    "the other part of a tuple that holds a clock": (
        "import time\n\ndef timed():\n    made = build()\n    return made, time.time()\n\n"
        f"def ask(client):\n    made, taken = timed()\n    text = f'{{made}} RULES'\n    {SEND}"
    ),
    "a template whose fields say nothing": 'ASK_PROMPT = """{fence}\nRULES"""\n',
    "a page of HTML among prompts": 'PAGE_PROMPT = """<html>{question}\nRULES</html>"""\n',
}


UNREAD = {
    "nobody reads it": ("prompts.USED", "", ["USED"]),
    "a module reads it": ("prompts.USED, prompts.SPARE", "", ["USED", "SPARE"]),
    "it is read by its name in quotes": ("prompts.USED", '__all__ = ["SPARE"]', ["USED", "SPARE"]),
}


@pytest.mark.parametrize("title", UNREAD)
def test_a_template_that_nobody_reads_is_not_reported(title: str, tmp_path: Path) -> None:
    reads, more, found = UNREAD[title]
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "prompts.py").write_text(
        f'USED = PromptTemplate.from_template("{{question}} {RULES}")\n'
        f'SPARE = PromptTemplate.from_template("{{question}} {RULES}")\n{more}\n'
    )
    (package / "chat.py").write_text(f"from package import prompts\n\nSENT = [{reads}]\n")
    lines = {"USED": 1, "SPARE": 2}
    report = check_paths((str(package),), Config())
    assert [f.location.line for f in report.findings] == [lines[name] for name in found]
    alone = check_paths((str(package / "prompts.py"),), Config())
    assert len(alone.findings) == 2  # who reads them is out of sight


ALONE = {
    "a constant for other modules": ("SPARE_PROMPT", "", 1),
    "a private one": ("_SPARE_PROMPT", "", 0),
    "a private one that is read": ("_SPARE_PROMPT", "print(_SPARE_PROMPT)\n", 1),
    "one of a module that logs": (
        "SPARE_PROMPT",
        "import logging\n\nLOG = logging.getLogger(__name__)\n",
        1,
    ),
    "one of a script": ("SPARE_PROMPT", 'if __name__ == "__main__":\n    main()\n', 0),
}


@pytest.mark.parametrize("title", ALONE)
def test_what_only_its_module_can_read_is_read_there(check: Check, title: str) -> None:
    name, more, found = ALONE[title]
    assert len(check(f'{name} = """{{question}} {RULES}"""\n{more}').findings) == found


ABOVE = {
    "it stands behind a conversation": ("Read the conversation above and answer.", 0),
    "it holds the conversation itself": ("{history}\n\nRead the conversation above.", 1),
    "it speaks of another thing above": ("Read the document above and answer.", 1),
}


@pytest.mark.parametrize("title", ABOVE)
def test_a_text_that_speaks_of_turns_above_it_stands_behind_them(check: Check, title: str) -> None:
    lead, found = ABOVE[title]
    source = f'CLOSING_PROMPT = """{lead}\nQuestion: {{question}}\n{RULES}"""\n'
    assert len(check(source).findings) == found


def test_a_method_that_only_others_of_its_name_are_called_for_is_idle(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    ask = f'    def final_words(self, client, question):\n        text = f"{{question}} {RULES}"\n'
    classes = {
        "first": "    def go(self, client, question):\n"
        "        return self.final_words(client, question)\n",
        "second": "    def go(self, client, question):\n        return question\n",
    }
    (package / "base.py").write_text("class Base:\n    pass\n")
    for name, go in classes.items():
        (package / f"{name}.py").write_text(
            f"from package.base import Base\n\nclass {name.title()}(Base):\n{go}{ask}        {SEND}"
        )
    (package / "run.py").write_text(
        "import package.first, package.second\n\n"
        "package.first.First().go(client, question)\npackage.second.Second().go(client, prompt)\n"
    )
    paths = [f.location.path for f in check_paths((str(package),), Config()).findings]
    assert paths == [str(package / "first.py")]


def test_the_addresses_of_an_interface_have_no_fields(check: Check) -> None:
    told = "- Search: /molecule/search.json?q={query}\\n- By name: /molecule/{question}.json\\n"
    assert not check(f'API_PROMPT = """{told}{RULES}"""\n').findings
    assert check(f'API_PROMPT = """{told}{{question}} {RULES}"""\n').findings


def test_what_a_list_held_before_it_was_made_anew_is_not_sent(check: Check) -> None:
    source = (
        "def ask(client, history, question):\n"
        '    messages = [{"role": "system", "content": "Be terse."}]\n'
        "    messages += history\n"
        "    if not question:\n        return None\n"
        f'    text = f"{{question}} {RULES}"\n'
        '    messages = [{"role": "user", "content": text}]\n'
        "    return client.chat.completions.create(messages=messages)\n"
    )
    assert [finding.code for finding in check(source).findings] == ["SF301"]


def test_a_function_that_nobody_names_makes_no_prompt(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "template.py").write_text(
        "class JudgeTemplate:\n"
        f'    def used(question):\n        return f"{{question}} {RULES}"\n\n'
        f'    def spare(question):\n        return f"{{question}} {RULES}"\n'
    )
    (package / "chat.py").write_text(
        "from package.template import JudgeTemplate\n\nPROMPT = JudgeTemplate.used\n"
    )
    report = check_paths((str(package),), Config())
    assert [finding.location.line for finding in report.findings] == [3]


@pytest.mark.parametrize("title", VARIES)
def test_what_varies_is_found(check: Check, title: str) -> None:
    report = check(VARIES[title].replace("RULES", RULES))
    assert [finding.code for finding in report.findings] == ["SF301"]


@pytest.mark.parametrize("title", STAYS)
def test_what_stays_is_silent(check: Check, title: str) -> None:
    report = check(STAYS[title].replace("RULES", RULES))
    assert report.findings == ()
    assert report.failures == ()


def test_a_parameter_named_for_the_time_is_a_clock(check: Check) -> None:
    report = check(
        f'def ask(client, current_time):\n    text = f"{{current_time}} {RULES}"\n    {SEND}'
    )
    assert [finding.code for finding in report.findings] == ["SF101"]


CHATS = {
    "its own text": ('    ("system", "Be terse."), ("human", "{question} RULES")])\n', "SF301"),
    "the conversation": (
        '    ("system", "Be terse. {context}"), MessagesPlaceholder("history"), "{question}"])\n',
        "SF107",
    ),
    "text of a later message": (
        '    SystemMessagePromptTemplate.from_template("Known: {context}"), ("human", "RULES")])\n',
        "SF301",
    ),
}


@pytest.mark.parametrize("title", CHATS)
def test_a_chat_template_is_read_as_one_request(check: Check, title: str) -> None:
    text, code = CHATS[title]
    report = check(CHAT + text.replace("RULES", RULES))
    assert [finding.code for finding in report.findings] == [code]


def test_the_evidence_names_each_step_with_its_place(check: Check) -> None:
    report = check(
        clock="from datetime import datetime\n\ndef stamp():\n    return datetime.now()\n",
        words="from clock import stamp\n\ndef head():\n    when = stamp()\n    return f'{when}'\n",
        app=(
            "from words import head\n\n"
            f'def make(prefix):\n    lead = prefix\n    return f"{{lead}} {RULES}"\n\n'
            f"def ask(client):\n    top = head()\n    text = make(top)\n    {SEND}"
        ),
    )
    (finding,) = report.findings
    places = [
        (e.location.path.rpartition("/")[2], e.location.line)
        for e in finding.evidence
        if e.location
    ]
    assert places == [
        ("clock.py", 4),
        ("words.py", 4),
        ("words.py", 4),
        ("app.py", 8),
        ("app.py", 8),
        ("app.py", 9),
        ("app.py", 4),
    ]
    assert len(places) == len(finding.evidence)


def test_a_prompt_that_a_loop_sends_says_so(check: Check) -> None:
    source = (
        "def ask(client, documents):\n    for document in documents:\n"
        f'        text = f"{{document}} {RULES}"\n        {SEND}'
    )
    found = check(source).findings[0]
    told = found.evidence[-1]
    assert told.text == "it is sent in a loop, and each round reads it again"
    assert told.location is not None
    assert told.location.line == 4
    report = check(source.replace("for document in documents", "if document := documents"))
    assert all("loop" not in step.text for step in report.findings[0].evidence)


@pytest.mark.parametrize(
    ("loop", "rounds"),
    [
        ("for _ in range(3)", 3),
        ("for step in STEPS", 2),
        ("for step in ('a', 'b', 'c', 'd')", 4),
        ("for step in STEPS:\n      for _ in range(2, 5)", 6),
        ("for step in load()", None),
        ("for step in STEPS:\n      while question", None),
        ("for step in STEPS:\n        if step: break\n        if True", None),
    ],
)
def test_a_loop_of_known_length_multiplies_the_loss(
    loop: str, rounds: int | None, check: Check
) -> None:
    source = (
        f"STEPS = ['plan', 'write']\n\ndef ask(client, question):\n    {loop}:\n"
        f'            text = f"{{question}} {RULES}"\n            {SEND.strip()}\n'
    )
    found = check(source).findings[0]
    told = found.evidence[-1].text
    if rounds is None:
        assert told == "it is sent in a loop, and each round reads it again"
    else:
        tokens = f"{found.forfeited_tokens * rounds:,}"
        assert told.startswith(f"it is sent in a loop of {rounds} rounds")
        assert tokens in told


def test_each_caller_of_a_helper_has_a_prompt_of_its_own(check: Check) -> None:
    callers = "".join(
        f'def ask_{number}(client):\n    say(client, f"{{datetime.now()}} LONG_TEXT {number}")\n\n'
        for number in range(20)
    )
    report = check(
        "from datetime import datetime\n\n"
        "def say(client, text):\n"
        '    client.chat.completions.create(messages=[{"role": "system", "content": text}])\n\n'
        + callers
    )
    assert len(report.findings) == 20
