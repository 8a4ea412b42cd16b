"""Prompts are read however they are put together, and from wherever their text lies."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report
from stemfirst_lint.model import Form, Text

Check = Callable[..., Report]

SEND = '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
RULES = "Answer politely and never promise what the policy does not grant. " * 16
ASK = "def ask(client, question):\n"

FORMS = {
    "an item of a dict of prompts": (
        'PROMPTS = {"qa": "{question} LONG_TEXT", "other": "no field"}\n\n'
        + ASK
        + '    text = PROMPTS["qa"].format(question=question)\n'
        + SEND
    ),
    "an item that is put in later": (
        'PROMPTS = {}\nPROMPTS["qa"] = "{question} LONG_TEXT"\n\n'
        + ASK
        + '    text = PROMPTS["qa"].format(question=question)\n'
        + SEND
    ),
    "an item by a key that varies": (
        'PROMPTS = {"en": "{question} LONG_TEXT", "de": "no field"}\n\n'
        "def ask(client, question, lang):\n"
        "    text = PROMPTS.get(lang).format(question=question)\n" + SEND
    ),
    "a default argument": (
        "def ask(client, question, template='{question} LONG_TEXT'):\n"
        "    text = template.format(question=question)\n" + SEND
    ),
    "an attribute that falls back to a constant": (
        'QA = "{question} LONG_TEXT"\n\n'
        "class Asker:\n"
        "    def __init__(self, template=None):\n        self.template = template or QA\n\n"
        "    def ask(self, client, question):\n"
        "        text = self.template.format(question=question)\n    " + SEND
    ),
    "a pydantic field": (
        "from pydantic import BaseModel, Field\n\n"
        "class Asker(BaseModel):\n"
        '    template: str = Field(default="{question} LONG_TEXT", description="asks")\n\n'
        "    def ask(self, client, question):\n"
        "        text = self.template.format(question=question)\n    " + SEND
    ),
    "a subclass's constant": (
        "class Base:\n"
        "    def ask(self, client, question):\n"
        "        text = self.template.format(question=question)\n    "
        + SEND
        + '\nclass Judge(Base):\n    template = "{question} LONG_TEXT"\n'
    ),
    "format_map": (
        'QA = "{question} LONG_TEXT"\n\n'
        + ASK
        + '    text = QA.format_map({"question": question})\n'
        + SEND
    ),
    "values behind two stars": (
        'QA = "{question} LONG_TEXT"\n\n'
        + ASK
        + '    values = {"question": question}\n    text = QA.format(**values)\n'
        + SEND
    ),
    "values that cannot be seen": (
        'QA = "{question} LONG_TEXT"\n\n'
        "def ask(client, values):\n    text = QA.format(**values)\n" + SEND
    ),
    "string.Template": (
        'from string import Template\n\nQA = Template("$question costs $$5. LONG_TEXT")\n\n'
        + ASK
        + "    text = QA.substitute(question=question)\n"
        + SEND
    ),
    "per cent": (
        'QA = "%s costs 100%%. LONG_TEXT"\n\n' + ASK + "    text = QA % question\n" + SEND
    ),
    "per cent with a tuple": (ASK + '    text = "%d. %s LONG_TEXT" % (1, question)\n' + SEND),
    "per cent with names": (
        'QA = "%(question)s LONG_TEXT"\n\n'
        + ASK
        + '    values = {"question": question}\n    text = QA % values\n'
        + SEND
    ),
    "markers that are replaced": (
        'QA = "__QUESTION__ LONG_TEXT __END__"\n\n'
        + ASK
        + '    text = QA.replace("__QUESTION__", question).replace("__END__", ".")\n'
        + SEND
    ),
    "a list that grows and is joined": (
        "def ask(client, question, flag):\n"
        '    parts = [f"Question: {question}"]\n'
        '    if flag:\n        parts.append("LONG_TEXT")\n'
        '    text = "\\n".join(parts)\n' + SEND
    ),
    "a list that drops what is empty": (
        "def ask(client, question, hint):\n"
        '    parts = [question, "LONG_TEXT", hint]\n'
        '    text = "\\n".join([p for p in parts if p])\n' + SEND
    ),
    "Jinja in the source": (
        "from jinja2 import Template\n\n"
        'QA = Template("{% if style %}Be {{ style }}.{% endif %}{{ question }} LONG_TEXT")\n\n'
        + ASK
        + '    text = QA.render(question=question, style="terse")\n'
        + SEND
    ),
    "a Jinja loop over data": (
        "from jinja2 import Environment\n\n"
        'QA = Environment().from_string("{% for d in documents %}- {{ d }}{% endfor %} LONG_TEXT")'
        "\n\ndef ask(client, documents):\n"
        "    text = QA.render(documents=documents)\n" + SEND
    ),
    "a Jinja template class": 'QA = PromptBuilder(template="{{ question }} LONG_TEXT")\n',
    "a template class of another syntax": (
        'QA = PromptTemplate.from_template("{{ question }} LONG_TEXT", template_format="jinja2")\n'
    ),
    "a variable whose name says what it holds": (
        'def ask(client, load):\n    question = load()\n    text = f"{question} LONG_TEXT"\n' + SEND
    ),
    "an item whose key says what it is": (
        "def ask(client, row):\n    text = f\"{row['question']} LONG_TEXT\"\n" + SEND
    ),
}


@pytest.mark.parametrize("source", FORMS.values(), ids=FORMS.keys())
def test_a_prompt_is_read_in_each_form(source: str, check: Check) -> None:
    assert [finding.code for finding in check(source).findings] == ["SF301"]


HARMLESS = {
    "a loop's text counts as one hole": (
        "def ask(client, question, documents):\n"
        "    parts = [question]\n"
        '    for d in documents:\n        parts.append(f"LONG_TEXT {d}")\n'
        '    text = "\\n".join(parts)\n' + SEND
    ),
    "the other branch's text is not sent": (
        "def ask(client, question, flag):\n"
        '    if flag:\n        parts = [question]\n    else:\n        parts = ["LONG_TEXT"]\n'
        '    text = "\\n".join(parts)\n' + SEND
    ),
    "a partial value that is constant": (
        'QA = PromptTemplate.from_template("{question} LONG_TEXT").partial(question="What?")\n'
    ),
    "another item of the dict": (
        'PROMPTS = {"qa": "{question} LONG_TEXT", "ok": "LONG_TEXT {question}"}\n\n'
        + ASK
        + '    text = PROMPTS["ok"].format(question=question)\n'
        + SEND
    ),
    "a macro": (
        "from jinja2 import Template\n\n"
        'QA = Template("{% macro f() %}{{ question }}{% endmacro %} LONG_TEXT {{ question }}")\n\n'
        + ASK
        + "    text = QA.render(question=question)\n"
        + SEND
    ),
    "an object's own state": (
        "class Asker:\n"
        "    def ask(self, client):\n"
        '        text = f"{self.question} LONG_TEXT"\n    ' + SEND
    ),
    "a setting beside the data": (
        'def ask(client, context):\n    text = f"{context.language} LONG_TEXT"\n' + SEND
    ),
}


@pytest.mark.parametrize("source", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_not_sent_or_does_not_vary_is_left_alone(source: str, check: Check) -> None:
    assert check(source).findings == ()


def test_a_joined_list_keeps_its_separators_and_its_order(check: Check) -> None:
    source = (
        ASK
        + '    parts = ["b"]\n    parts.insert(0, "a")\n    parts += ["c", question]\n'
        + '    text = "--".join(parts)\n'
        + SEND
    )
    (site,) = check(source).sites
    assert site.template.form is Form.JOIN
    texts = [piece.text for piece in site.template.pieces if isinstance(piece, Text)]
    assert "".join(texts) == "a--b--c--"


READS = {
    "open": 'open("prompts/qa.txt").read()',
    "with a path": '(Path(__file__).parent / "prompts" / "qa.txt").read_text()',
    "a loader of the project": 'load_prompt("qa")',
    "resources": 'files("prompts").joinpath("qa.txt").read_text()',
    "through a constant folder": '(FOLDER / "qa.txt").read_text()',
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_a_text_file_that_is_read_is_checked_where_it_lies(
    read: str, check: Check, tmp_path: Path
) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "qa.txt").write_text(f"Rules first.\n{{question}}\n{RULES}")
    source = (
        "from importlib.resources import files\nfrom pathlib import Path\n\n"
        'FOLDER = Path(__file__).parent / "prompts"\n\n'
        "def load_prompt(name):\n"
        '    return (Path(__file__).parent / "prompts" / f"{name}.txt").read_text()\n\n'
        + ASK
        + f"    text = {read}.format(question=question)\n"
        + SEND
    )
    (finding,) = check(source).findings
    assert finding.location.path.endswith("qa.txt")
    assert (finding.location.line, finding.location.column) == (2, 1)


def test_a_jinja_file_is_found_by_its_name(check: Check, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "qa.j2").write_text("{# asks #}{{ question }}\n" + RULES)
    source = (
        "def ask(client, env, question):\n"
        '    text = env.get_template("qa.j2").render(question=question)\n' + SEND
    )
    (finding,) = check(source).findings
    assert finding.location.path.endswith("qa.j2")


JINJA_FILES = {
    "an include": {"ask.j2": "{{ question }}\n{% include 'rules.md' %}", "rules.md": RULES},
    "a folder further up": {
        "qa/ask.j2": "{{ question }}\n{% include 'rules/short.j2' %}",
        "rules/short.j2": RULES,
    },
    "a block of a child before the parent's text": {
        "ask.j2": "{% extends 'base.j2' %}{% block data %}Q: {{ question }}{% endblock %}",
        "base.j2": "Be kind.\n{% block data %}{% endblock %}\n" + RULES,
    },
    "the parent's own block": {
        "ask.j2": "{% extends 'base.j2' %}{% block rules %}" + RULES + "{% endblock %}",
        "base.j2": "{% block data %}Q: {{ question }}{% endblock %}\n"
        "{% block rules %}none{% endblock rules %}",
    },
    "blocks of two generations": {
        "ask.j2": "{% extends 'middle.j2' %}{% block data %}Q: {{ question }}{% endblock %}",
        "middle.j2": "{% extends 'base.j2' %}{% block data %}none{% endblock %}"
        "{% block rules %}" + RULES + "{% endblock %}",
        "base.j2": "Be kind.\n{% block data %}{% endblock %}\n{% block rules %}{% endblock %}",
    },
    "a grandparent's text": {
        "ask.j2": "{% extends 'middle.j2' %}{% block data %}Q: {{ question }}{% endblock %}",
        "middle.j2": "{% extends 'base.j2' %}",
        "base.j2": "Be kind.\n{% block data %}{% endblock %}\n" + RULES,
    },
    "raw text": {"ask.j2": "{{ question }}\n{% raw %}Write {{ x }}. " + RULES + "{% endraw %}"},
    "macros that are set aside": {
        "ask.j2": "{% macro item(x) -%}- {{ x }}{%- endmacro %}{% from 'm.j2' import y %}"
        "{{ question }}\n{{ item(1) }} " + RULES
    },
}


@pytest.mark.parametrize("files", JINJA_FILES.values(), ids=JINJA_FILES.keys())
def test_jinja_is_read_over_files(files: dict[str, str], check: Check, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / "prompts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "prompts" / name).write_text(text)
    first = next(iter(files))
    report = check(
        "from jinja2 import Environment, FileSystemLoader\n\n"
        'ENV = Environment(loader=FileSystemLoader("prompts"))\n\n'
        + ASK
        + f'    text = ENV.get_template("{first}").render(question=question)\n'
        + SEND
    )
    assert [finding.code for finding in report.findings] == ["SF301"]
    found = report.findings[0]
    file = next(text for name, text in files.items() if found.location.path.endswith(name))
    line = file.splitlines()[found.location.line - 1]
    assert line[found.location.column - 1 : found.location.end_column - 1] == "{{ question }}"


@pytest.mark.parametrize(
    "files",
    [
        {"ask.j2": "{% include 'rules.j2' %}{{ question }}", "rules.j2": RULES},
        {"ask.j2": "{{ question }}{% include 'ask.j2' %}"},
        {"ask.j2": "{% extends 'ask.j2' %}"},
        {"ask.j2": "{% extends 'b.j2' %}", "b.j2": "{% extends 'ask.j2' %}{{ question }}" + RULES},
        {
            "ask.j2": "{% extends 'b.j2' %}{% block x %}{{ question }}{% endblock %}",
            "b.j2": "{% extends 'c.j2' %}",
            "c.j2": RULES + "{% block x %}{% endblock %}",
        },
        {"ask.j2": "{% extends 'none.j2' %}{% block a %}{{ question }}" + RULES + "{% endblock %}"},
        {"ask.j2": "{{ question }}{% filter upper %}" + RULES + "{% endfilter %}"},
    ],
)
def test_jinja_over_files_that_is_right_or_cannot_be_told_is_silent(
    files: dict[str, str], check: Check, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    report = check(
        "import jinja2\n\nENV = jinja2.Environment()\n\n"
        + ASK
        + '    text = ENV.get_template("ask.j2").render(question=question)\n'
        + SEND
    )
    assert report.findings == ()


def test_a_file_that_is_not_there_is_no_prompt(check: Check) -> None:
    source = ASK + '    text = open("nowhere.txt").read().format(question=question)\n' + SEND
    assert check(source).sites == ()


def test_a_system_message_that_grows_from_nothing_is_read(check: Check) -> None:
    source = (
        "def build(agent, memories):\n"
        '    content: str = ""\n'
        "    if agent.role:\n"
        '        content += f"Role: {agent.role}"\n'
        "    for memory in memories:\n"
        '        content += f"- {memory}"\n'
        '    content += "LONG_TEXT"\n'
        "    return Message(role=agent.system_message_role, content=content.strip())\n"
    )
    report = check(source)
    assert [finding.code for finding in report.findings] == ["SF301"]
    assert report.sites[0].role == "system"


def test_a_message_of_another_library_is_none(check: Check) -> None:
    source = 'def mail(question):\n    return Message(f"{question} LONG_TEXT")\n'
    assert check(source).sites == ()


@pytest.mark.parametrize("name", ["tool_docs", "skills_snippet", "example_question"])
def test_a_name_that_may_be_part_of_the_prompt_says_nothing(name: str, check: Check) -> None:
    source = f'def ask(client, load):\n    {name} = load()\n    text = f"{{{name}}} LONG_TEXT"\n'
    assert check(source + SEND).findings == ()


def test_a_number_that_was_made_of_sets_has_no_order_to_lose(check: Check) -> None:
    source = (
        "def score(a, b):\n"
        "    words = set(a.split())\n    return len(words & set(b.split())) / len(words)\n\n"
        "def ask(client, texts, other):\n"
        "    found = []\n"
        "    for t in texts:\n        found.append((score(t, other), t))\n"
        '    text = f"{found} LONG_TEXT"\n' + SEND
    )
    assert "SF201" not in [finding.code for finding in check(source).findings]


WORDS = "You are given a question. Answer in JSON only. " + RULES
SUMS = {
    "fields before a named constant": ('"{question}\\n" + WORDS', 1),
    "fields behind": ('WORDS + "{question}"', 0),
    "a JSON example": ('"Write {title: a short name}. " + WORDS', 0),
}


@pytest.mark.parametrize(("made", "finds"), SUMS.values(), ids=SUMS)
def test_a_sum_of_constants_is_filled_out_of_sight(made: str, finds: int, check: Check) -> None:
    report = check(
        prompts=f'WORDS = "{WORDS}"\nASK_PROMPT = {made}\n',
        app="import prompts\n\n\ndef ask(client, values):\n    client.go(prompts.ASK_PROMPT)\n",
    )
    assert len(report.findings) == finds


def test_a_sum_with_fields_in_a_named_constant_is_filled_as_a_whole(check: Check) -> None:
    report = check(
        f'WORDS = "{WORDS}"\nHEAD = "Q: {{question}}\\n"\nASK_PROMPT = HEAD + WORDS\n\n'
        + ASK
        + "    text = ASK_PROMPT.format(question=question)\n"
        + SEND
    )
    assert [finding.code for finding in report.findings] == ["SF301"]


def test_a_sum_that_is_sent_as_it_is_written_has_no_fields(check: Check) -> None:
    report = check(
        f'WORDS = "{WORDS}"\nASK_PROMPT = "Write {{question}}. " + WORDS\n\n'
        "def ask(client):\n"
        '    client.create(messages=[{"role": "user", "content": ASK_PROMPT}])\n'
    )
    assert report.findings == ()
