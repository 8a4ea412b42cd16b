"""A text is followed to where it is sent: behind a conversation order cannot matter."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import Config

Check = Callable[..., Report]

RULES = "You must answer politely. Never promise what the given policy does not grant. " * 16

PROMPT = f'ASK_PROMPT = """Result: {{observation}}\\n{RULES}"""\n'
FILLED = "ASK_PROMPT.format(observation=observation)"

BEHIND = {
    "a wrapper's parameter that is pushed to a memory": (
        "class Agent:\n"
        "    def plan(self, text):\n        self.memory.push('user', text)\n"
        "        return self.go()\n"
        f"    def ask(self, observation):\n        return self.plan({FILLED})\n"
    ),
    "an attribute that becomes a turn": (
        "class Agent:\n"
        f"    def look(self, observation):\n        self.next_prompt = {FILLED}\n"
        "    def think(self):\n"
        "        turn = dict(role='user', content=self.next_prompt)\n"
        "        self.messages += [turn]\n"
    ),
    "a class's field that is filled behind what the model said": (
        "class Agent:\n    template: str = ASK_PROMPT\n"
        "    def note(self, steps):\n        thoughts = []\n"
        "        for action, observation in steps:\n"
        "            thoughts.append(AIMessage(content=action.response_text))\n"
        "            text = self.template.format(observation=observation)\n"
        "            thoughts.append(HumanMessage(content=text))\n        return thoughts\n"
    ),
    "a call that keeps the history itself": (
        "def ask(llm, observation):\n"
        f"    return llm.go({FILLED}, params=Params(use_history=True))\n"
    ),
    "a turn that a wrapper sends with what the last round got back": (
        "def send(client, prompt, msg_history=None):\n"
        "    if msg_history is None:\n        msg_history = []\n"
        '    sent = msg_history + [{"role": "user", "content": prompt}]\n'
        "    return client.chat.completions.create(messages=sent), sent\n\n"
        "def work(client, observation):\n    msg_history = []\n"
        "    for round in range(5):\n"
        f"        text, msg_history = send(client, prompt={FILLED}, msg_history=msg_history)\n"
    ),
    "a turn of a thread that was there before": (
        f"def ask(thread, observation):\n    thread.add_user({FILLED})\n    return thread\n"
    ),
    "a turn of a chat that an object keeps": (
        "class Agent:\n"
        f"    def ask(self, observation):\n        return self.chat.send_message({FILLED})\n"
    ),
    "a message of a thread that was there before": (
        "def ask(client, thread_id, observation):\n"
        "    client.beta.threads.messages.create(\n"
        f'        thread_id=thread_id, role="user", content={FILLED})\n'
    ),
    "text that another text embeds behind the question": (
        "def ask(llm, question, observation):\n"
        f"    rules = {FILLED}\n"
        '    return llm.go(f"Question: {question}\\n{rules}")\n'
    ),
    "text behind an image": (
        "def ask(client, image, observation):\n"
        f"    text = {FILLED}\n"
        '    parts = [{"type": "image_url", "image_url": image}, {"type": "text", "text": text}]\n'
        '    return client.chat(messages=[{"role": "user", "content": parts}])\n'
    ),
    "a part of a text that is built behind the conversation": (
        "def ask(builder, session, observation):\n"
        "    builder.add_interaction_history(session)\n"
        f"    builder.add_section({FILLED})\n    return builder.build()\n"
    ),
    "what a function returns that a model calls": (
        f"def look(observation):\n    return {FILLED}\n\n"
        "helper = Agent(name='helper', tools=[look])\n"
    ),
    "what a decorated function returns that a model calls": (
        f"@agent.tool\ndef look(observation):\n    return {FILLED}\n"
    ),
    "a method of one class of several whose result becomes a turn": (
        "class Short:\n    def closing_instructions(self, observation):\n        return 'Stop.'\n\n"
        "class Long:\n    def closing_instructions(self, observation):\n"
        f"        return {FILLED}\n\n"
        "def close(kind, message_history, observation):\n"
        "    text = kind().closing_instructions(observation)\n"
        '    message_history.append({"role": "user", "content": text})\n'
    ),
    "a message behind one that differs in every request": (
        "def ask(client, question, observation):\n"
        "    return client.chat.completions.create(messages=[\n"
        '        {"role": "system", "content": f"It is about {question}."},\n'
        f'        {{"role": "user", "content": {FILLED}}}])\n'
    ),
}

FIRST = {
    "a wrapper that sends what it is given": (
        "class Agent:\n"
        "    def plan(self, text):\n        return self.llm.generate(text)\n"
        f"    def ask(self, observation):\n        return self.plan({FILLED})\n"
    ),
    "the first turn of a chat": (
        "def ask(model, observation):\n    chat = model.start_chat()\n"
        f"    return chat.send_message({FILLED})\n"
    ),
    "the first message of a thread": (
        "def ask(client, observation):\n    thread = client.beta.threads.create()\n"
        "    client.beta.threads.messages.create(\n"
        f'        thread_id=thread.id, role="user", content={FILLED})\n'
    ),
    "a memory that is emptied before": (
        "class Agent:\n"
        "    def ask(self, observation):\n        self.memory.clear()\n"
        f"        self.memory.push('user', {FILLED})\n        return self.go()\n"
    ),
    "text that another text embeds in front": (
        "def ask(llm, question, observation):\n"
        f"    rules = {FILLED}\n"
        '    return llm.go(f"{rules}\\nQuestion: {question}")\n'
    ),
    "the first turn, sent by a wrapper that may be given a history": (
        "def send(client, prompt, msg_history=None):\n"
        "    if msg_history is None:\n        msg_history = []\n"
        '    sent = msg_history + [{"role": "user", "content": prompt}]\n'
        "    return client.chat.completions.create(messages=sent), sent\n\n"
        f"def work(client, observation):\n    return send(client, prompt={FILLED})\n"
    ),
    "a part of a text that is built in front of the conversation": (
        "def ask(llm, builder, session, observation):\n"
        f"    builder.add_section(llm.generate({FILLED}))\n"
        "    builder.add_interaction_history(session)\n"
    ),
    "one wrapper of two that another caller gives a history": (
        "def send(llm, system, text):\n"
        '    return llm.chat([{"role": "system", "content": system},\n'
        '                     {"role": "user", "content": text}])\n\n'
        f'def ask(llm, observation):\n    return send(llm, "Be terse.", {FILLED})\n\n'
        "def other(llm, question):\n    return send(llm, question, 'Now.')\n"
    ),
}


@pytest.mark.parametrize("title", BEHIND)
def test_what_is_sent_behind_what_varies_is_not_reported(check: Check, title: str) -> None:
    found = check(PROMPT + "\n" + BEHIND[title]).findings
    assert not [f for f in found if f.template is not None and f.template.location.line == 1]


@pytest.mark.parametrize("title", FIRST)
def test_what_is_sent_first_is_reported(check: Check, title: str) -> None:
    codes = {finding.code for finding in check(PROMPT + "\n" + FIRST[title]).findings}
    assert "SF301" in codes


USES = {
    "a function that runs reads it": (
        "from package.texts import ASK_PROMPT\n\n"
        f"def ask(observation):\n    return {FILLED}\n\nask(input())\n",
        1,
    ),
    "only a method reads it that nothing calls": (
        "from package.texts import ASK_PROMPT\n\nclass Agent:\n"
        "    def go(self):\n        return 1\n"
        f"    def spare(self, observation):\n        return {FILLED}\n",
        0,
    ),
    "a record holds it whose field only such a method reads": (
        "from package.texts import ASK_PROMPT\n\nclass Texts:\n    asking: str\n\n"
        "TEXTS = Texts(asking=ASK_PROMPT)\n\nclass Agent:\n"
        "    def go(self):\n        return 1\n"
        "    def spare(self, observation):\n"
        "        return TEXTS.asking.format(observation=observation)\n",
        0,
    ),
    "a record holds it whose field is read": (
        "from package.texts import ASK_PROMPT\n\nclass Texts:\n    asking: str\n\n"
        "TEXTS = Texts(asking=ASK_PROMPT)\n\n"
        "def ask(observation):\n"
        "    return TEXTS.asking.format(observation=observation)\n\nask(input())\n",
        1,
    ),
    "a constant is made of it that nothing reads": (
        "from package.texts import ASK_PROMPT\n\nOTHER_PROMPT = PromptTemplate(ASK_PROMPT)\n",
        0,
    ),
}


@pytest.mark.parametrize("title", USES)
def test_a_text_that_only_idle_code_reads_is_not_reported(tmp_path: Path, title: str) -> None:
    source, found = USES[title]
    package = tmp_path / "package"
    package.mkdir()
    (package / "texts.py").write_text(PROMPT)
    (package / "agent.py").write_text(source)
    (package / "chat.py").write_text("import package.agent  # prompts\n")
    assert len(check_paths((str(package),), Config()).findings) == found


SCRIPTS = {"nothing calls it": ("main(input())", 0), "the script calls it": ("ask(input())", 1)}


@pytest.mark.parametrize("title", SCRIPTS)
def test_a_function_of_a_script_is_called_there_or_nowhere(check: Check, title: str) -> None:
    call, found = SCRIPTS[title]
    source = (
        f"{PROMPT}\ndef ask(observation):\n    return llm.generate({FILLED})\n\n"
        f"def main(text):\n    return text\n\nif __name__ == '__main__':\n    {call}\n"
    )
    assert len(check(source).findings) == found


def test_a_file_without_prompts_may_call_what_reads_a_text(tmp_path: Path) -> None:
    source, _ = USES["only a method reads it that nothing calls"]
    package = tmp_path / "package"
    package.mkdir()
    (package / "texts.py").write_text(PROMPT)
    (package / "agent.py").write_text(source)
    (package / "chat.py").write_text("import package.agent  # prompts\n")
    (package / "start.py").write_text(
        "import package.agent\n\npackage.agent.Agent().spare(input())\n"
    )
    assert len(check_paths((str(package),), Config()).findings) == 1


def test_an_item_of_a_dict_that_nobody_asks_for_is_not_reported(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    items = "".join(
        f'PROMPTS["{key}"] = """Result: {{observation}}\\n{RULES}"""\n\n' for key in ("ask", "old")
    )
    (package / "texts.py").write_text("PROMPTS = {}\n\n" + items)
    (package / "agent.py").write_text(
        "from package.texts import PROMPTS\n\n"
        'def ask(observation):\n    return PROMPTS["ask"].format(observation=observation)\n\n'
        "ask(input())\n"
    )
    lines = [f.location.line for f in check_paths((str(package),), Config()).findings]
    assert lines == [3]


def test_a_date_in_a_text_that_is_made_at_import_is_frozen(check: Check) -> None:
    send = (
        'client.chat.completions.create(messages=[{"role": "system", "content": text}, *messages],'
        " tools=tools)\n"
    )
    made = f'f"It is {{date.today()}}. {RULES}"'
    frozen = f"TEXT = {made}\n\ndef ask(client, messages, tools):\n    text = TEXT\n    {send}"
    fresh = f"def ask(client, messages, tools):\n    text = {made}\n    {send}"
    assert not check("from datetime import date\n\n" + frozen).findings
    assert [f.code for f in check("from datetime import date\n\n" + fresh).findings] == ["SF102"]
