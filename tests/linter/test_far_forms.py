"""Prompts are found however far their text lies from the call, and whatever carries them there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report, check_paths
from stemfirst_lint.config import Config

Check = Callable[..., Report]

RULES = (
    "Use only the material below. Each answer cites the sentence that supports it, and an answer "
    "which the material does not hold is said to be missing. The result is JSON. "
) * 5
TEXT = f"Question: {{question}}\n\n{RULES}"
SEND = '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
ASK = "def ask(client, question):\n"

FORMS = {
    "two fillings, one behind the other": (
        f'QA = """{{{{style}}}} {TEXT}"""\n\n'
        "def ask(client, question, style):\n"
        "    text = QA.format(question=question).format(style=style)\n" + SEND
    ),
    "a text that grows before it is filled": (
        'def ask(client, question):\n    text = "Question: {question}"\n'
        f'    text += """{RULES}"""\n'
        "    text = text.format(question=question)\n" + SEND
    ),
    "markers replaced one by one": (
        f'QA = """Q: <QUESTION>\nDocs: <DOCS>\n{RULES}"""\n\n'
        "def ask(client, question, docs):\n"
        '    text = QA.replace("<QUESTION>", question)\n'
        '    text = text.replace("<DOCS>", docs)\n' + SEND
    ),
    "a lambda": f'make = lambda question: f"""{TEXT}"""\n\n{ASK}    text = make(question)\n{SEND}',
    "a name for the method": (
        f'fill = """{TEXT}""".format\n\n{ASK}    text = fill(question=question)\n{SEND}'
    ),
    "a part of the method": (
        f'from functools import partial\n\nQA = """{{lang}} {TEXT}"""\n'
        f'fill = partial(QA.format, lang="en")\n\n{ASK}    text = fill(question=question)\n{SEND}'
    ),
    "a class of string templates": (
        "import string\n\nclass Filled(string.Template):\n    idpattern = '[a-z]+'\n\n"
        f'QA = Filled("""{TEXT.replace("{question}", "$question")}""")\n\n'
        f"{ASK}    text = QA.substitute(question=question)\n{SEND}"
    ),
    "an enum's member": (
        f'import enum\n\nclass Texts(enum.Enum):\n    QA = """{TEXT}"""\n\n'
        f"{ASK}    text = Texts.QA.value.format(question=question)\n{SEND}"
    ),
    "an element of a list": (
        f'TEXTS = ["""{TEXT}"""]\n\ndef ask(client, question, at):\n'
        f"    text = TEXTS[at].format(question=question)\n{SEND}"
    ),
    "a dict in a dict that is passed on": (
        f'TEXTS = {{"plan": {{"user": """{TEXT}"""}}}}\n\n'
        "class Planner:\n    def __init__(self, texts):\n        self.texts = texts\n\n"
        "    def ask(self, client, question):\n"
        f'        text = self.texts["user"].format(question=question)\n    {SEND}\n'
        'planner = Planner(TEXTS["plan"])\n'
    ),
    "hundreds of parts": (
        f'{ASK}    parts = [f"Question: {{question}}"]\n'
        + '    parts.append("One rule of many: write plain words.")\n' * 300
        + f'    text = "\\n".join(parts)\n{SEND}'
    ),
    "a function that chooses": (
        f'A = """{TEXT}"""\nB = """{TEXT}"""\n\ndef pick(kind):\n    return A if kind else B\n\n'
        "def ask(client, question, kind):\n"
        f"    text = pick(kind).format(question=question)\n{SEND}"
    ),
    "a marker that is replaced far away": (
        f'TEXTS = dict(system="""Question: {{{{question}}}} {RULES}""")\n\n'
        "def texts():\n    return TEXTS\n\n"
        "def ask(client, question):\n"
        '    text = texts()["system"].replace("{{question}}", question)\n'
        + SEND
        + '\nPROMPT = TEXTS["system"]\n'
        f'CHAT = [{{"role": "system", "content": """Question: {{{{question}}}} {RULES}"""}}]\n'
    ),
    "a lasting template of an object": (
        "class Classifier:\n    def __init__(self):\n"
        f'        self.prompt_template = """History: {{{{HISTORY}}}}\n{RULES}"""\n'
    ),
    "a body with settings": (
        'import requests\n\ndef ask(question):\n    payload = {"model": "m", "temperature": 0,\n'
        f'               "prompt": f"""{TEXT}"""}}\n    return requests.post("url", json=payload)\n'
    ),
    "a body as text": (
        f'import json\n\ndef ask(client, question):\n    text = f"""{TEXT}"""\n'
        '    body = json.dumps({"prompt": text, "max_gen_len": 9})\n'
        '    return client.invoke_model(body=body, modelId="m")\n'
    ),
    "contents": (
        "def ask(client, question):\n"
        f'    return client.models.generate_content(model="m", contents=f"""{TEXT}""")\n'
    ),
    "parts of contents": (
        "def ask(client, types, question, image):\n    return client.models.generate_content(\n"
        f'        model="m", contents=[types.Part.from_text(text=f"""{TEXT}"""), image])\n'
    ),
    "prompts in a list": (
        "def run(llm, questions):\n"
        f'    prompts = [f"""{TEXT}""" for question in questions]\n'
        "    return llm.generate(prompts)\n"
    ),
    "a pipeline": (
        'from transformers import pipeline\n\npipe = pipeline("text-generation")\n\n'
        f'def ask(question):\n    return pipe(f"""{TEXT}""")\n'
    ),
    "a tokenizer": (
        f'def ask(tokenizer, model, question):\n    text = f"""{TEXT}"""\n'
        '    ids = tokenizer(text, return_tensors="pt")\n    return model.generate(**ids)\n'
    ),
    "an instruction that a session's state fills": (
        "from google.adk.agents import LlmAgent\n\n"
        f'agent = LlmAgent(name="a", instruction="""{TEXT}""")\n'
    ),
    "a row of a data set of prompts": (
        f'def row(question):\n    return {{"prompt": f"""{TEXT}"""}}\n\n'
        'rows = list(map(row, "ab"))\n'
    ),
}


@pytest.mark.parametrize("source", FORMS.values(), ids=FORMS.keys())
def test_a_prompt_is_found_in_each_form(source: str, check: Check) -> None:
    assert {finding.code for finding in check(source).findings} == {"SF301"}


def test_a_property_is_read_like_a_value(check: Check) -> None:
    source = (
        "class Surfer:\n    @property\n    def opening(self):\n"
        f'        return f"""Task: {{self.question}} {RULES}"""\n\n'
        "    def go(self, client):\n        text = self.opening\n    " + SEND
    )
    (site,) = check(source).sites
    assert site.template.location.line == 4


HARMLESS = {
    "a text behind an image": (
        "def ask(client, types, question, image):\n    return client.models.generate_content(\n"
        f'        model="m", contents=[image, types.Part.from_text(text=f"""{TEXT}""")])\n'
    ),
    "a body of something else": (
        "def save(client, question):\n"
        f'    return client.post(json={{"system": f"""{TEXT}""", "color": "red"}})\n'
    ),
    "a marker that nothing replaces": (
        f'CHAT = [{{"role": "system", "content": """Question: {{{{question}}}} {RULES}"""}}]\n'
    ),
    "an instruction of another library": (
        f'from other import Agent\n\nagent = Agent(name="a", instruction="""{TEXT}""")\n'
    ),
    "a second filling in which nothing varies": (
        f'QA = """{{{{style}}}} {TEXT}"""\n\n'
        'def ask(client):\n    text = QA.format(question="Why?").format(style="short")\n' + SEND
    ),
}


@pytest.mark.parametrize("source", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_not_sent_first_or_does_not_vary_is_left_alone(source: str, check: Check) -> None:
    assert check(source).findings == ()


def test_a_name_in_a_loop_that_is_filled_again_ends(check: Check) -> None:
    source = (
        f'QA = """Question: <QUESTION> {RULES}"""\n\n'
        "def ask(client, question, pairs):\n    text = QA\n"
        "    for key, value in pairs:\n        text = text.replace(key, value)\n"
        '    text = text.replace("<QUESTION>", question)\n' + SEND
    )
    assert [finding.code for finding in check(source).findings] == ["SF301"]


FILES = {
    "a key that the loader is given": (
        "import os, yaml\n\ndef load(name, key):\n"
        '    with open(os.path.join(os.path.dirname(__file__), "prompts", name + ".yaml")) as f:\n'
        "        return yaml.safe_load(f)[key]\n\n"
        f'{ASK}    text = load("qa", "user").format(question=question)\n{SEND}',
        "prompts/qa.yaml",
        f"user: {json.dumps(TEXT)}\n",
    ),
    "a manager of files": (
        "import os\n\nclass PromptManager:\n    def get(self, name):\n"
        '        with open(os.path.join("prompts", f"{name}.txt")) as f:\n'
        "            return f.read()\n\nmanager = PromptManager()\n\n"
        f'{ASK}    text = manager.get("qa").format(question=question)\n{SEND}',
        "prompts/qa.txt",
        TEXT,
    ),
    "the folder of Jinja's loader": (
        "from jinja2 import Environment, FileSystemLoader\n\n"
        'env = Environment(loader=FileSystemLoader("tpl"))\n\n'
        f'{ASK}    text = env.get_template("qa.j2").render(question=question)\n{SEND}',
        "tpl/qa.j2",
        TEXT.replace("{question}", "{{ question }}"),
    ),
}


@pytest.mark.parametrize(("source", "name", "text"), FILES.values(), ids=FILES.keys())
def test_a_file_is_found_through_what_loads_it(
    source: str, name: str, text: str, check: Check, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)
    (finding,) = check(source).findings
    assert finding.template is not None
    assert finding.template.location.path.endswith(name)


def test_constants_that_no_module_imports_are_sent_by_nobody(check: Check, tmp_path: Path) -> None:
    texts = f'PROMPT = """Question: {{question}} Answer the question. {RULES}"""\n'
    app = (
        f"from texts.used import PROMPT\n\n{ASK}    text = PROMPT.format(question=question)\n{SEND}"
    )
    found = check(app, texts__used=texts, texts__old=texts).findings
    assert [finding.template.location.path for finding in found if finding.template] == [
        str(tmp_path / "texts" / "used.py")
    ]
    alone = check_paths((str(tmp_path / "texts" / "old.py"),), Config(root=str(tmp_path)))
    assert len(alone.findings) == 1  # who imports it was not asked for


SENT = (
    "ask_gpt(text)", "client.responses.create(model='m', input=text)", "get_llm_output('m', text)",
    "Runner.run(agent, text)", "agent.print_response(text, stream=True)", "llm.batch([text])",
    "llm_client.generate_json(text)", "chain.invoke({'input': text})",
    "conv.append_message(conv.roles[0], text)",
    "client.messages.create(system=[{'type': 'text', 'text': text}], messages=[])",
    "agent.on_messages([TextMessage(content=text, source='user')], None)",
)  # fmt: skip


@pytest.mark.parametrize("call", SENT)
def test_what_is_called_like_a_model_is_sent_its_arguments(call: str, check: Check) -> None:
    source = "def ask(client, agent, llm, question):\n"
    source += f'    text = f"""{TEXT}"""\n    return {call}\n'
    assert [finding.code for finding in check(source).findings] == ["SF301"]


@pytest.mark.parametrize("call", ["log.info(text)", "mail.send_mail(text)", "open_file(text)"])
def test_other_calls_are_sent_no_prompt(call: str, check: Check) -> None:
    source = f'def ask(log, mail, question):\n    text = f"""{TEXT}"""\n    return {call}\n'
    assert check(source).sites == ()


def test_a_date_that_is_put_into_a_chats_system_message_later_is_told(check: Check) -> None:
    source = (
        "from datetime import date\n\n"
        'register(Conversation(name="m", system_message_vision='
        f'"""Today is {{{{currentDate}}}}. {RULES}"""))\n\n'
        'def ask(client, conversation):\n    now = date.today().strftime("%d %B %Y")\n'
        '    text = conversation.system().replace("{{currentDate}}", now)\n' + SEND
    )
    assert [finding.code for finding in check(source).findings] == ["SF102"]
