"""What leans on something though no word points; two readers refused each when it was parted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fix_sources import RULES, of_text
from stemfirst_lint.check import check_paths
from stemfirst_lint.config import Config
from stemfirst_lint.fix.changes import Done
from stemfirst_lint.fix.plan import Plan, plan_for
from stemfirst_lint.fix.rewrite import rewrite
from stemfirst_lint.model import Applicability, Hole, Kind

HELP = "You grade the answers of a clerk."
STATE = "Describe all that the letter names, with its dates and its amounts."

# what would happen, text, what the reason says
DOUBTS = {
    "an empty field is parted from the values of its record": (
        f"{HELP} {RULES}\n\nQUESTION: {{question}}\nANSWER: {{answer}}\nGRADE:\n\n{RULES}",
        "“GRADE:” is left empty",
    ),
    "an empty field a blank line below its record": (
        f"{HELP}\n\nLetter: {{letter}}\n\nReply: {{reply}}\n\nGrade:\n\n{RULES}",
        "“Grade:” is left empty",
    ),
    "a line without a heading behind a section": (
        f"{HELP}\n\nThe order of the customer: {{order}}\n\n## Rules\n{RULES}\n\n## Tone\nWarm.",
        "has no heading, and would read as part of the section",
    ),
    "a line behind a section whose lines the answer fills in": (
        f"{HELP}\n\nOrder: {{order}}\n\n## Rules\n{RULES}\n\n## Summary\n1. [fault]\n2. ...",
        "has no heading, and would read as part of the section",
    ),
    "a line behind the form of the answer": (
        f"{HELP}\n\nOrder: {{order}}\n\nFormat:\none sentence, and then the amount. {RULES}",
        "would read as part of the section",
    ),
    "what to do next": (
        f"{HELP}\n\nGoals:\n{{goals}}\n\nDetermine which function to use next. {RULES}",
        "tells what to do next",
    ),
    "my question": (
        f"{HELP}\n\nLetter:\n{{letter}}\n\nWrite the answer to my question. {RULES}",
        "tells what to do next",
    ),
    "my question, with something behind it": (
        f"{HELP}\n\nLetter:\n{{letter}}\n\nCheck my order. {RULES}\n\nProfile: {{profile}}",
        "is not yet introduced",
    ),
    "the thing that somebody tells of": (
        f"{HELP}\n\nI have retrieved the following passages:\n{{texts}}\n\nBe brief. Use the "
        f"passages. {RULES}\n\nProfile: {{profile}}",
        "is not yet introduced",
    ),
    "text between a question and what introduces it": (
        f"{HELP} Somebody has a question about the policy.\nThe question is: {{question}}\n{RULES}",
        "would stand between them",
    ),
    "a last section that says what to write": (
        f"# Letter:\n{{letter}}\n\n# State:\n{STATE} {RULES}",
        "tells what to do next",
    ),
}


@pytest.mark.parametrize(("text", "reason"), DOUBTS.values(), ids=DOUBTS)
def test_a_person_is_asked(text: str, reason: str) -> None:
    plan = plan_for(of_text(text))
    assert plan.applicability in (Applicability.RISKY, None)
    assert any(reason in str(refusal) for refusal in plan.refusals), plan.refusals
    assert plan_for(of_text(text), risky=True).applicability is not Applicability.REORDER


CLEAN = {
    "a clock on a line behind a section": f"{HELP}\n\nTime: {{now}}\n\n## Rules\n{RULES}",
    "a short label behind a section": (
        f"{HELP}\n\nOrder: {{order}}\n\n## Rules\n{RULES}\n\n## Tone\nWarm."
    ),
    "data under a heading of its own": (
        f"{HELP}\n\n## Letter\n{{letter}}\n\n## Rules\n{RULES}\n\n## Tone\nWarm."
    ),
    "a label below values that heads rules": (
        f"{HELP}\n\nLetter: {{letter}}\n\nInstructions:\n\n{RULES}"
    ),
    "a last section of rules": (
        f"# Letter\n{{letter}}\n\n# Style\nWrite two sentences, one a line.\n{RULES}"
    ),
    "a question that is named, and not told of": (
        f"{HELP} You are given a question of a customer, and the answer that a clerk wrote.\n\n"
        f"Question: {{question}}\n\nAnswer the question as the shop would. {RULES}"
    ),
    "a value in a sentence of its own": f"{HELP}\nThe shop is {{tenant}}.\n{RULES}",
}


@pytest.mark.parametrize("text", CLEAN.values(), ids=CLEAN)
def test_what_is_clearly_as_good_is_moved(text: str) -> None:
    plan = plan_for(of_text(text))
    assert plan.applicability is Applicability.REORDER, plan.refusals


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c_rules", RULES, Applicability.REORDER),
        ("c_rules", f"Determine which function to use next. {RULES}", Applicability.RISKY),
        ("c_trigger_prompt", RULES, Applicability.RISKY),
        ("c_shop_suffix", RULES, Applicability.RISKY),
    ],
)
def test_a_named_constant_closes_a_prompt_as_the_same_words_do(
    name: str, text: str, expected: Applicability
) -> None:
    assert _with_constant(f"Letter: {{letter}}\n\n{{{name}}}", text).applicability is expected


def test_nothing_is_won_behind_a_message_that_varies(tmp_path: Path) -> None:
    """A message behind one that differs in every request is not said to lose anything."""
    source = (
        "from openai import OpenAI\n\n\ndef ask(client: OpenAI, name: str, question: str) -> str:\n"
        "    return client.chat.completions.create(model='gpt-5', messages=[\n"
        "        {'role': 'system', 'content': SYSTEM},\n"
        "        {'role': 'user', 'content': f'Question: {question}\\n\\nRULES'},\n    ])\n"
    )

    def reordered(system: str) -> list[Done]:
        app = tmp_path / "app.py"
        app.write_text(source.replace("SYSTEM", system).replace("RULES", RULES), encoding="utf-8")
        found = check_paths((str(app),), Config(root=str(tmp_path))).findings
        made = rewrite(str(app), app.read_bytes(), found, allow=Applicability.REORDER)
        return list(made.done)

    assert len(reordered("'You help the customers of a shop.'")) == 1
    assert not reordered("f'You help {name}, who asks: {question}'")


def _with_constant(text: str, constant: str) -> Plan:
    template = of_text(text)
    pieces = tuple(
        replace(piece, constant_text=constant)
        if isinstance(piece, Hole) and piece.name.startswith("c_")
        else piece
        for piece in template.pieces
    )
    return plan_for(replace(template, pieces=pieces))


@pytest.mark.parametrize("name", ["WORKSPACE_DIR", "LIMITS"])
def test_a_value_that_is_named_like_a_constant_of_its_module_stays(name: str) -> None:
    text = f"{HELP}\n\nPlace: {{{name}}}\n\n{RULES}"
    plan = plan_for(of_text(text))
    assert plan.applicability is None
    assert f"{{{name}}} is named like a constant" in str(plan.refusals[0])
    assert plan_for(of_text(text.lower().replace("help", "Help"))).applicability is not None


def test_the_settings_have_the_last_word_on_a_name_like_a_constants() -> None:
    template = of_text(f"{HELP}\n\nPlace: {{WORKSPACE_DIR}}\n\n{RULES}")
    pieces = tuple(
        replace(piece, verdict=replace(piece.verdict, kind=Kind.DECLARED))
        if isinstance(piece, Hole)
        else piece
        for piece in template.pieces
    )
    plan = plan_for(replace(template, pieces=pieces))
    assert plan.applicability is Applicability.REORDER, plan.refusals
