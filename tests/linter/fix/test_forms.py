"""Every way in which a prompt is written, from the file on disk to the file on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from fix_sources import RULES as HALF
from stemfirst_lint.config import Config
from stemfirst_lint.fix.apply import fix_paths
from stemfirst_lint.model import Applicability

RULES = f"{HALF} {HALF}"
SEND = "    return client.chat.completions.create(messages=[{'role': 'user', 'content': text}])\n"
ASK = "def ask(client, question, context):\n"

# R stands for the rules, in both columns.
FORMS = {
    "an f-string in a message": (
        ASK + '    text = f"""Context: {context}\n\nR\n\nQuestion: {question}"""\n' + SEND,
        ASK + '    text = f"""R\n\nContext: {context}\n\nQuestion: {question}"""\n' + SEND,
    ),
    "a format constant": (
        'P = "Context: {context}\\n\\nR\\n\\nQuestion: {question}"\n\n\n'
        + ASK
        + "    text = P.format(context=context, question=question)\n"
        + SEND,
        'P = "R\\n\\nContext: {context}\\n\\nQuestion: {question}"\n\n\n'
        + ASK
        + "    text = P.format(context=context, question=question)\n"
        + SEND,
    ),
    "a sum": (
        ASK + '    text = "Context: " + context + "\\n\\nR\\n\\nQuestion: " + question\n' + SEND,
        ASK + '    text = "R\\n\\nContext: " + context + "\\n\\nQuestion: " + question\n' + SEND,
    ),
    "text that grows": (
        ASK
        + '    text = f"Context: {context}\\n\\n"\n    text += "R\\n\\n"\n'
        + '    text += f"Question: {question}"\n'
        + SEND,
        ASK
        + '    text = "R\\n\\n"\n    text += f"Context: {context}\\n\\n"\n'
        + '    text += f"Question: {question}"\n'
        + SEND,
    ),
    "text that grows from nothing, with a comment above what comes to stand first": (
        ASK
        + '    text = ""\n    text += f"Context: {context}\\n\\n"\n    # what\n'
        + '    text += "R\\n\\n"\n    text += f"Question: {question}"\n'
        + SEND,
        ASK
        + '    # what\n    text = "R\\n\\n"\n    text += f"Context: {context}\\n\\n"\n'
        + '    text += f"Question: {question}"\n'
        + SEND,
    ),
    "a list that is joined where it stands": (
        ASK
        + '    text = "\\n".join([\n        "Context:",\n        context,\n        "",\n'
        + '        "R\\n",\n        f"Question: {question}",\n    ])\n'
        + SEND,
        ASK
        + '    text = "\\n".join([\n        "R\\n",\n        "Context:",\n        context,\n'
        + '        "",\n        f"Question: {question}",\n    ])\n'
        + SEND,
    ),
    "a list that statements fill": (
        "def ask(client, question, context, tips):\n    parts = []\n"
        "    # what we know\n    parts.append(f'Context: {context}')  # long\n"
        "    if context:\n        parts.append('Be quick.')\n"
        "    parts.append('R\\n')\n    parts += [f'Question: {question}']\n"
        "    text = '\\n\\n'.join(parts)\n" + SEND,
        "def ask(client, question, context, tips):\n    parts = []\n"
        "    if context:\n        parts.append('Be quick.')\n"
        "    parts.append('R\\n')\n"
        "    # what we know\n    parts.append(f'Context: {context}')  # long\n"
        "    parts += [f'Question: {question}']\n"
        "    text = '\\n\\n'.join(parts)\n" + SEND,
    ),
    "files in no order": (
        "import os\n\n\n"
        + ASK
        + "    text = f\"Files: {', '.join(os.listdir('a'))}\\n\\nR\\n\\nQuestion: {question}\"\n"
        + SEND,
        "import os\n\n\n"
        + ASK
        + "    text = f\"Files: {', '.join(sorted(os.listdir('a')))}\\n\\nR\\n\\n"
        + 'Question: {question}"\n'
        + SEND,
    ),
    "comments in a joined list": (
        ASK
        + '    text = "\\n\\n".join([\n        # long\n        f"Context: {context}",\n'
        + '        # short\n        ("Be kind. "\n         "R\\n"),  # two\n'
        + '        f"Question: {question}"  # last\n    ])\n'
        + SEND,
        ASK
        + '    text = "\\n\\n".join([\n        # short\n        ("Be kind. "\n'
        + '         "R\\n"),  # two\n        # long\n        f"Context: {context}",\n'
        + '        f"Question: {question}"  # last\n    ])\n'
        + SEND,
    ),
    "a template with dollar signs": (
        'from string import Template\n\nP = Template("""Context: ${context}\n\nR for $$5\n\n'
        'Question: $question""")\n\n\n'
        + ASK
        + "    text = P.substitute(context=context, question=question)\n"
        + SEND,
        'from string import Template\n\nP = Template("""R for $$5\n\nContext: ${context}\n\n'
        'Question: $question""")\n\n\n'
        + ASK
        + "    text = P.substitute(context=context, question=question)\n"
        + SEND,
    ),
    "markers that are replaced": (
        'P = """Context: <<C>>\n\nR\n\nQuestion: <<Q>>"""\n\n\n'
        + ASK
        + '    text = P.replace("<<C>>", context).replace("<<Q>>", question)\n'
        + SEND,
        'P = """R\n\nContext: <<C>>\n\nQuestion: <<Q>>"""\n\n\n'
        + ASK
        + '    text = P.replace("<<C>>", context).replace("<<Q>>", question)\n'
        + SEND,
    ),
    "a LangChain template": (
        "from langchain_core.prompts import PromptTemplate\n\n"
        'P = PromptTemplate.from_template("""Context: {context}\n\nR\n\nQuestion: {question}""")\n',
        "from langchain_core.prompts import PromptTemplate\n\n"
        'P = PromptTemplate.from_template("""R\n\nContext: {context}\n\nQuestion: {question}""")\n',
    ),
    "LangChain messages": (
        "from langchain_core.prompts import ChatPromptTemplate\n\n"
        'P = ChatPromptTemplate.from_messages([("human", """Context: {context}\n\nR\n\n'
        'Question: {question}""")])\n',
        "from langchain_core.prompts import ChatPromptTemplate\n\n"
        'P = ChatPromptTemplate.from_messages([("human", """R\n\nContext: {context}\n\n'
        'Question: {question}""")])\n',
    ),
    "a dedented method of a class": (
        "import textwrap\n\n\nclass Agent:\n    def ask(self, client, question, context):\n"
        '        text = textwrap.dedent(f"""\\\n            Context: {context}\n\n            R\n\n'
        '            Question: {question}\n            """)\n'
        "        return client.chat.completions.create(\n"
        '            messages=[{"role": "user", "content": text}])\n',
        "import textwrap\n\n\nclass Agent:\n    def ask(self, client, question, context):\n"
        '        text = textwrap.dedent(f"""\\\n            R\n\n            Context: {context}\n\n'
        '            Question: {question}\n            """)\n'
        "        return client.chat.completions.create(\n"
        '            messages=[{"role": "user", "content": text}])\n',
    ),
}


@pytest.mark.parametrize(("before", "after"), FORMS.values(), ids=FORMS)
def test_stable_text_comes_first_in(before: str, after: str, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(_ruled(before))
    outcome = fix_paths((str(app),), Config(), allow=Applicability.REORDER)
    assert not outcome.failures
    assert app.read_text() == _ruled(after), [left for r in outcome.rewrites for left in r.left]
    assert not outcome.remaining
    again = fix_paths((str(app),), Config(), allow=Applicability.REORDER)
    assert not again.changed


P = 'P = """Context: {context}\n\nR\n\nQuestion: {question}"""\n'
MOVED = 'P = """R\n\nContext: {context}\n\nQuestion: {question}"""\n'
CALL = "    text = P.format(context=context, question=question)\n"

USES = {
    "an alias": (
        "T = P\n\n\n" + ASK + CALL.replace("P.", "T.") + SEND,
        True,
    ),
    "keywords in a dict": (
        "\n\ndef ask(client, **values):\n    text = P.format(**values)\n" + SEND,
        True,
    ),
    "a template class that is given it": (
        "\n\nfrom langchain_core.prompts import PromptTemplate\n"
        "Q = PromptTemplate(template=P, input_variables=['context', 'question'])\n",
        True,
    ),
    "two calls": (
        "\n\n" + ASK + CALL + SEND + "\n\n" + ASK.replace("ask", "again") + CALL + SEND,
        True,
    ),
    "a second reader further down": (
        "\n\n" + ASK + CALL + SEND + "\n\ndef show():\n    print(P)\n",
        False,
    ),
    "a decorator and a semicolon": (
        "\n\n@log\n" + ASK + CALL.replace("\n", ";  x = 1\n") + SEND,
        True,
    ),
}


@pytest.mark.parametrize(("rest", "is_moved"), USES.values(), ids=USES)
def test_a_constant_moves_with(rest: str, is_moved: bool, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(_ruled(P + rest))
    outcome = fix_paths((str(app),), Config(), allow=Applicability.REORDER)
    if is_moved:
        assert app.read_text() == _ruled(MOVED + rest)
    else:
        assert app.read_text() == _ruled(P + rest)
        (left,) = outcome.rewrites[0].left
        assert "also used in another way" in left.reasons[0].reason


LISTS = {
    "a comment that would hide what stands behind it": (
        '    text = "\\n\\n".join([\n        f"Context: {context}", "R\\n",  # long\n'
        '        f"Question: {question}"])\n',
        "a comment in the list would hide",
    ),
    "a comment between its parts": (
        '    text = "\\n\\n".join([\n        f"Context: {context}",\n        # long\n\n'
        '        "R\\n",\n        f"Question: {question}",\n    ])\n',
        "a comment in the list belongs to none",
    ),
    "a part that reads what a loop leaves behind": (
        "    parts = []\n    parts.append(f'Context: {context}')\n    for tip in context:\n"
        "        parts.append(tip)\n    parts.append(f'Tip: {tip}')\n    parts.append('R\\n')\n"
        "    text = '\\n\\n'.join(parts)\n",
        "a part reads what an earlier one leaves behind",
    ),
    "another statement between": (
        "    parts = []\n    parts.append(f'Context: {context}')\n    log(parts)\n"
        "    parts.append('R\\n')\n    text = '\\n\\n'.join(parts)\n",
        "other statements stand between",
    ),
    "a condition with an effect": (
        "    parts = []\n    parts.append(f'Context: {context}')\n    if client.next():\n"
        "        parts.append('Be quick.')\n    parts.append('R\\n')\n"
        "    text = '\\n\\n'.join(parts)\n",
        "a condition between its parts has an effect",
    ),
}


@pytest.mark.parametrize(("body", "reason"), LISTS.values(), ids=LISTS)
def test_a_joined_list_is_left_alone_with(body: str, reason: str, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(_ruled(ASK + body + SEND))
    outcome = fix_paths((str(app),), Config(), allow=Applicability.RISKY)
    assert app.read_text() == _ruled(ASK + body + SEND)
    (rewrite,) = outcome.rewrites
    assert reason in str(rewrite.left[0].reasons[0])


def _ruled(source: str) -> str:
    return (
        source.replace("R\n", f"{RULES}\n")
        .replace("R\\n", f"{RULES}\\n")
        .replace("R for", f"{RULES} for")
    )
