"""What the user declares about a value holds in every form of a template."""

from collections.abc import Callable

import pytest
from stemfirst.tiers import Tier
from stemfirst_lint.check import Report
from stemfirst_lint.config import Config
from stemfirst_lint.suppress import tier_comments

Check = Callable[..., Report]

RULES = "You must answer politely. Never promise what the given policy does not grant. " * 16
HEAD = "from string import Template\nfrom jinja2 import Template as Jinja\n\n"
SEND = '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
ASK = "def ask(client, NAME):\n"

FORMS = {
    "an f-string": ASK + '    text = f"{NAME} RULES"\n' + SEND,
    "format": 'T = "{NAME} RULES"\n\n' + ASK + "    text = T.format(NAME=NAME)\n" + SEND,
    "format by place": 'T = "{} RULES"\n\n' + ASK + "    text = T.format(NAME)\n" + SEND,
    "a field of another name": 'T = "{NAME} RULES"\n\ndef ask(client, other):\n'
    "    text = T.format(NAME=other)\n" + SEND,
    "a sum": ASK + '    text = NAME + " RULES"\n' + SEND,
    "a joined list": ASK + '    text = "\\n".join([NAME, "RULES"])\n' + SEND,
    "a text that grows": ASK + '    text = ""\n    text += NAME\n    text += "RULES"\n' + SEND,
    "replaced markers": ASK + '    text = "__X__ RULES".replace("__X__", NAME)\n' + SEND,
    "string.Template": ASK + '    text = Template("$NAME RULES").substitute(NAME=NAME)\n' + SEND,
    "Jinja": ASK + '    text = Jinja("{{ NAME }} RULES").render(NAME=NAME)\n' + SEND,
    "a template class": 'ASK = PromptTemplate(template="{NAME} RULES")\n',
    "a template that is filled out of sight": 'ASK_PROMPT = "{NAME} RULES"\n',
    "an item": ASK.replace("NAME", "row") + '    text = f"""{row.NAME} RULES"""\n' + SEND,
}


def source_of(title: str, name: str) -> str:
    return HEAD + FORMS[title].replace("NAME", name).replace("RULES", RULES)


@pytest.mark.parametrize("title", FORMS)
def test_a_value_of_which_nothing_is_known_can_be_declared(check: Check, title: str) -> None:
    assert check(source_of(title, "blob")).findings == ()
    report = check(source_of(title, "blob"), config=Config(tiers={"blob": Tier.REQUEST}))
    assert [finding.code for finding in report.findings] == ["SF301"]


@pytest.mark.parametrize("title", FORMS)
def test_a_value_that_is_reported_can_be_declared_static(check: Check, title: str) -> None:
    assert [f.code for f in check(source_of(title, "question")).findings] == ["SF301"]
    report = check(source_of(title, "question"), config=Config(tiers={"question": Tier.STATIC}))
    assert report.findings == ()


COMMENTED = {
    "a parameter": "def ask(\n    client,\n    question,  # MARK\n):\n"
    f'    text = f"{{question}} RULES"\n{SEND}',
    "an assignment": "def ask(client):\n    question = load()  # MARK\n"
    f'    text = f"{{question}} RULES"\n{SEND}',
    "a loop": "def ask(client):\n    for question in load():  # MARK\n"
    f'        text = f"{{question}} RULES"\n    {SEND}',
    "an assignment's last line": "def ask(client):\n    question = load(\n    )  # MARK\n"
    f'    text = f"{{question}} RULES"\n{SEND}',
    "the line above": "def ask(client):\n  # MARK\n    question = load()\n"
    f'    text = f"{{question}} RULES"\n{SEND}',
    "an attribute": "class A:\n  def __init__(self, question):\n"
    "    self.question = question  # MARK\n  def ask(self, client):\n"
    f'    text = f"{{self.question}} RULES"\n{SEND}',
    "a function": "def load(question):  # MARK\n    return question.upper()\n"
    "def ask(client, question):\n"
    f'    text = f"{{load(question)}} RULES"\n{SEND}',
}


@pytest.mark.parametrize("title", COMMENTED)
def test_a_comment_declares_the_tier_of_what_its_line_binds(check: Check, title: str) -> None:
    source = COMMENTED[title].replace("RULES", RULES)
    assert [f.code for f in check(source.replace("  # MARK", "")).findings] == ["SF301"]
    report = check(source.replace("MARK", "stemfirst: tier[static] one a deployment"))
    assert report.findings == ()


def test_a_comment_can_say_that_a_value_varies(check: Check) -> None:
    source = COMMENTED["an assignment"].replace("question", "blob").replace("RULES", RULES)
    assert check(source).findings == ()
    (finding,) = check(source.replace("MARK", "stemfirst: tier[request]")).findings
    assert finding.evidence[0].text == "`blob` is declared request"
    assert finding.evidence[0].location is not None


def test_only_comments_declare_and_only_tiers_that_exist() -> None:
    text = 'a = "# stemfirst: tier[static]"\nb = 1  # stemfirst: tier[often]\n'
    assert tier_comments(text) == {}


def test_a_module_reads_its_command_line_once(check: Check) -> None:
    source = """
import argparse, openai
parser = argparse.ArgumentParser()
args = parser.parse_args()
def ask(client, history):
    return client.chat.completions.create(messages=[
        {"role": "user", "content": f"Write of {args.topic}. LONG_TEXT"}])
for line in open("q.txt"):
    ask(openai.OpenAI(), line)
"""
    assert check(source).findings == ()
    found = check(source.replace("args.topic", "args.question")).findings
    assert [finding.code for finding in found] == ["SF301"]


def test_a_tier_that_does_not_exist_is_told(check: Check) -> None:
    source = COMMENTED["an assignment"].replace("RULES", RULES)
    found = check(source.replace("MARK", "stemfirst: tier[statik] one a deployment")).findings
    assert sorted(finding.code for finding in found) == ["SF301", "SF902"]
    (told,) = [finding for finding in found if finding.code == "SF902"]
    assert told.message.startswith("`statik` is no tier")
    assert told.location.line == 2
    quiet = Config(ignore=("SF902",))
    (only,) = check(source.replace("MARK", "stemfirst: tier[statik]"), config=quiet).findings
    assert only.code == "SF301"
