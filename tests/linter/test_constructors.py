"""Text in stemfirst's own constructors is prompt text; other things called `static` are not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

CLOCK = "from datetime import datetime\n"
TEXT = "f'It is {datetime.now()}. LONG_TEXT'"
OURS = {
    "by name": "from stemfirst import static\ndef p():\n    return static(TEXT)\n",
    "under another name": ("import stemfirst as sf\ndef p():\n    return sf.static(TEXT)\n"),
    "by a star": "from stemfirst import *\ndef p():\n    return static(TEXT)\n",
    "from the module": ("from stemfirst.prompt import tenant\ndef p():\n    return tenant(TEXT)\n"),
    "inside a message": (
        "from stemfirst import Prompt, static, system\n"
        "def p():\n    return Prompt(system(static(TEXT)))\n"
    ),
    "through a name": (
        "from stemfirst import Prompt, static\n"
        "def make():\n"
        "    now = datetime.now()\n"
        "    text = f'It is {now}. LONG_TEXT'\n"
        "    return Prompt(static(text))\n"
    ),
}


@pytest.mark.parametrize("source", OURS.values(), ids=OURS.keys())
def test_a_clock_in_a_constructor_is_found(source: str, check: Check) -> None:
    report = check((CLOCK + source).replace("TEXT)", f"{TEXT})"))
    assert {finding.code for finding in report.findings} == {"SF101"}


OTHERS = {
    "another library's": "from django.templatetags.static import static\n",
    "a function of the project": "def static(text):\n    return text\n",
}


@pytest.mark.parametrize("begin", OTHERS.values(), ids=OTHERS.keys())
def test_another_static_is_left_alone(begin: str, check: Check) -> None:
    report = check(CLOCK + begin + "def p():\n    return static(TEXT)\n")
    assert report.findings == ()


def test_text_without_holes_and_holes_at_the_end_are_in_order(check: Check) -> None:
    report = check(
        CLOCK + "from stemfirst import Prompt, hole, request, static, tenant, volatile\n"
        "def make(plan, question):\n"
        "    return Prompt(\n"
        "        static('LONG_TEXT'),\n"
        "        tenant(f'LONG_TEXT Plan: {plan}'),\n"
        "        request(question),\n"
        "        volatile(f'It is {datetime.now()}.'),\n"
        "    )\n"
    )
    assert report.findings == ()


def test_a_jinja_prompt_is_read_as_jinja(check: Check) -> None:
    report = check(
        "from stemfirst import JinjaPrompt\n"
        "P = JinjaPrompt('Question: {{ question }}\\n\\nLONG_TEXT')\n"
    )
    assert [finding.code for finding in report.findings] == ["SF301"]


def test_fix_moves_what_the_sentence_of_a_miss_names(tmp_path: Path) -> None:
    policy = "Answer politely and never promise what the policy does not grant. " * 30
    (tmp_path / "agent.py").write_text(
        CLOCK + "from stemfirst import Prompt, request, static\n\n\n"
        "def make(question):\n"
        "    now = datetime.now()\n"
        f'    return Prompt(static(f"It is {{now}}.\\n\\n{policy}"), request(question))\n'
    )
    command = [sys.executable, "-m", "stemfirst.cli", "fix", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Fixed 1 finding" in done.stdout, done.stderr
    made = (tmp_path / "agent.py").read_text()
    assert made.index("Answer politely") < made.index("It is {now}.")
