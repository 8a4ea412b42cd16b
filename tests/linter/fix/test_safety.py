"""The twelve rules of safe rewriting, each with a case that it stops and the reason it gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fix_sources import RULES, of_text, template, verdict
from stemfirst_lint.config import Config
from stemfirst_lint.fix.apply import fix_paths
from stemfirst_lint.fix.plan import Plan, plan_for
from stemfirst_lint.model import Applicability, Hole, Location

PLACE = Location("t.py", 1, 1, 1, 1)

# rule, text, role, what the reason says
STOPPED = {
    "1 whole units: a hole inside a sentence": (
        f"Greet {{name}} kindly and briefly, as a friend would.\n\n{RULES}",
        None,
        "is woven into",
    ),
    "1 whole units: a hole alone has nothing that says what it is": (
        f"{{bare}}\n\n{RULES}",
        None,
        "stands alone",
    ),
    "2 deixis: above": (
        f"Context: {{context}}\n\nUse the text above. {RULES}",
        None,
        "points across the move",
    ),
    "2 deixis: all the above": (
        f"The shop has information.\n\nSchema: {{schema}}\n\nWith all the above information, "
        f"write. {RULES}",
        None,
        "points across the move",
    ),
    "a move that would stop halfway": (
        f"Context: {{context}}\n\n{RULES}\n\nExample:\nQ: a\nA: b\n\n{RULES}\n\n{RULES}",
        None,
        "",
    ),
    "2 deixis: below": (
        f"Context: {{context}}\n\nObey the section below, then stop.\n\nQ: {{q}}\n\n{RULES}",
        None,
        "points across the move",
    ),
    "2 deixis: a pronoun that leans on the value": (
        f"Problem: {{problem}}\n\nList approaches to solve it. {RULES}",
        None,
        "“it”",
    ),
    "1 whole units: a line and the list that it introduces": (
        f"Ensure the message:{{name}}\n- Starts with a word.\n- Is brief.\n\n{RULES}",
        None,
        "is woven into",
    ),
    "1 whole units: a text of its own on the same line": (
        f"{{c_header}}Time: {{now}}\n\n{RULES}",
        None,
        "stands at the head",
    ),
    "2 deixis: based on what stands before": (
        f"The team is: {{team}}\n\nBased on the team, make a plan. {RULES}",
        None,
        "points across the move",
    ),
    "2 deixis: this task, where the value is a task": (
        f"Task: {{task}}\n\nBreak down this task into steps. {RULES}",
        None,
        "points across the move",
    ),
    "4 barriers: the dialogue has begun": (
        f"Help.\n\nBegin!\n\nHistory: {{history}}\n\n{RULES}",
        None,
        "starts the dialogue",
    ),
    "4 barriers: worked examples": (
        f"Context: {{context}}\n\nExample:\nQ: a\nA: b\n\n{RULES}",
        None,
        "worked examples",
    ),
    "4 barriers: a separator": (
        f"Context: {{context}}\n\n---\n\n{RULES}",
        None,
        "separates two parts",
    ),
    "4 barriers: a role marker": (
        f"Context: {{context}}\n\n<|im_start|>system\n{RULES}",
        None,
        "separates two parts",
    ),
    "4 barriers: premises": (
        f"We have an answer: {{answer}}\n\nWe want a better one. {RULES}",
        None,
        "tell a story in order",
    ),
    "4 barriers: an opening": (
        f"You are {{agent}}, a helper of the shop.\n\n{RULES}",
        None,
        "opens the prompt",
    ),
    "5 same message: nothing stable behind it": (
        f"{RULES}\n\nTime: {{now}}",
        "system",
        "no constant text stands behind it in this message",
    ),
    "6 reach: what others wrote would come last in the system message": (
        f"Context: {{context}}\n\n{RULES}",
        "system",
        "holds what others wrote",
    ),
    "8 gain: too little": (
        "Context: {context}\n\nBe brief.",
        None,
        "less than 128",
    ),
    "8 gain: a later formatting step": (
        f"Context: {{context}}\n\n{RULES} {{{{name}}}}",
        None,
        "later formatting",
    ),
}


def careful(text: str, role: str | None) -> Plan:
    return plan_for(of_text(text), role=role)


@pytest.mark.parametrize(("text", "role", "reason"), STOPPED.values(), ids=STOPPED)
def test_a_rule_stops_the_move(text: str, role: str | None, reason: str) -> None:
    plan = careful(text, role)
    assert plan.applicability is not Applicability.REORDER, plan.new_text
    assert plan.refusals
    assert reason in plan.refusals[0].reason
    assert plan.refusals[0].remedy
    assert "\n" not in str(plan.refusals[0])


def test_3_a_cue_stays_last() -> None:
    plan = careful(f"Time: {{now}}\n\n{RULES}\n\nAnswer:", None)
    assert plan.applicability is Applicability.REORDER
    assert plan.new_text.endswith("\n\nAnswer:")
    inline = careful(f"Context: {{context}}. {RULES} Title:", None)
    assert inline.applicability is not Applicability.REORDER


def test_7_a_question_stays_behind_the_documents() -> None:
    plan = careful(f"Context: {{context}}\n\n{RULES}\n\nWhat does the customer want?", None)
    assert plan.applicability is Applicability.REORDER
    assert plan.new_text.endswith("Context: \ufffc\n\nWhat does the customer want?")


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        (f'f"""Time: {{(now := t)}}\n\nProfile: {{profile}}\n\n{RULES}"""', "binds a name"),
        (f'f"""Time: {{now}}\n\n{RULES}\n\nNext: {{queue.pop()}}"""', None),
    ],
    ids=["a binding", "a call"],
)
def test_9_evaluation_keeps_its_order(literal: str, reason: str | None) -> None:
    plan = plan_for(template(literal, PLACE))
    if reason:
        assert reason in plan.refusals[0].reason
    assert list(plan.hole_order) == sorted(plan.hole_order)


def test_9_a_constant_may_be_read_before_a_call() -> None:
    made = template(f'f"""Time: {{now.read()}}\n\nRules: {{c_rules}}\n\n{RULES}"""', PLACE)
    pieces = [
        replace(piece, constant_text="Be kind.")
        if isinstance(piece, Hole) and piece.name == "c_rules"
        else replace(piece, name="now", verdict=verdict("now"))
        if isinstance(piece, Hole)
        else piece
        for piece in made.pieces
    ]
    assert plan_for(replace(made, pieces=tuple(pieces))).applicability is Applicability.REORDER


def test_10_where_stable_text_leads_no_word_moves() -> None:
    plan = careful(f"{RULES}\n\nContext: {{context}}\n\nQuestion: {{question}}", None)
    assert plan.applicability is None
    assert plan.new_text == plan.flat.text


def test_11_keys_of_a_schema_are_never_sorted(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "import json\n\n\ndef ask(client, question, schema):\n"
        f'    text = f"{RULES} {{json.dumps(schema)}}\\n\\nQuestion: {{question}}"\n'
        '    return client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    before = app.read_bytes()
    fix_paths((str(app),), Config(), allow=Applicability.RISKY)
    assert app.read_bytes() == before


def test_a_section_that_stays_is_not_overtaken() -> None:
    text = (
        f"Context: {{context}}\n\n## How\nUse the context above. {RULES}\n\n"
        f"## What\n{RULES}\n\n## Why\n{RULES}"
    )
    plan = careful(text, None)
    assert plan.applicability is Applicability.RISKY
    assert "has to stay" in str(plan.refusals) or "points across" in str(plan.refusals)


def test_a_clock_may_pass_a_section_with_an_example() -> None:
    text = (
        f"Time: {{now}}\n\n## Plan\nExample:\nTask: write\n- read\n\n{RULES}\n\n## Rules\n{RULES}"
    )
    plan = careful(text, None)
    assert plan.applicability is Applicability.REORDER
    assert plan.new_text.endswith("Time: \ufffc")


def test_this_without_a_noun_means_its_own_sentence() -> None:
    plan = careful(f"Time: {{now}}\n\n# End\n{RULES} Do not call this until all is done.", None)
    assert plan.applicability is Applicability.REORDER


LABELS = {
    "a format inside a sum": '("Current time: %s" % now) + "\\n\\n" + "R"',
    "an f-string in a list that is unpacked": (
        '"\\n\\n".join([f"Time: {now}", *[f"User: {u}" for u in users], "R"])'
    ),
}


@pytest.mark.parametrize("written", LABELS.values(), ids=LABELS)
def test_a_value_that_brings_its_label_does_not_stand_alone(written: str, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "from datetime import datetime\n\ndef ask(client, users, order):\n"
        f"    now = datetime.now()\n    text = {written.replace('R', RULES)}\n"
        "    client.chat.completions.create(messages=[{'role': 'user', 'content': text}])\n"
    )
    outcome = fix_paths((str(app),), Config(), allow=Applicability.REORDER)
    (rewrite,) = outcome.rewrites
    assert not any("stands alone" in str(left.reasons[0]) for left in rewrite.left)
    assert rewrite.done or "for u in" in written


ADVICE = {
    "a clock": ("{datetime.now()}", "`Current time: {datetime.now()}`"),
    "a name": ("{order_notes}", "`Order notes: {order_notes}`"),
    "a text": ("{', '.join([str(datetime.now()), 'UTC'])}", "a line above it that ends in a colon"),
}


@pytest.mark.parametrize(("value", "advice"), ADVICE.values(), ids=ADVICE)
def test_the_label_that_is_offered_can_be_written(value: str, advice: str, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(
        "from datetime import datetime\n\ndef ask(client, users, order_notes):\n"
        f'    text = f"""{value}\n\n{RULES}"""\n'
        "    client.chat.completions.create(messages=[{'role': 'user', 'content': text}])\n"
    )
    outcome = fix_paths((str(app),), Config(), allow=Applicability.REORDER)
    (left,) = outcome.rewrites[0].left
    assert advice in str(left.reasons[0])
