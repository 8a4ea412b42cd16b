"""What moves, what stays, and what is said about it: the planner on text alone."""

from __future__ import annotations

import pytest
from fix_sources import RULES, of_text
from stemfirst_lint.fix.plan import Plan, plan_for
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Applicability, Form


def shown(plan: Plan) -> str:
    """Return the new text with its holes by name and the rules as one word."""
    text = plan.new_text
    for hole in plan.hole_order:
        text = text.replace(HOLE, f"{{{plan.flat.holes[hole].name}}}", 1)
    return text.replace(RULES, "RULES")


MOVES = {
    "a labelled line behind the rules": (
        f"Time: {{now}}\n\n{RULES}\n\nQuestion: {{question}}",
        "RULES\n\nTime: {now}\n\nQuestion: {question}",
    ),
    "a sentence that only names a value": (
        f"The current time is {{now}}. You are a helper.\n{RULES}",
        "You are a helper.\nRULES\nThe current time is {now}.",
    ),
    "a sentence in a one-line prompt": (
        f"Today is {{now}}. {RULES}",
        "RULES Today is {now}.",
    ),
    "a label over its value": (
        f"Context:\n{{context}}\n{RULES}\n",
        "RULES\nContext:\n{context}\n",
    ),
    "a label, a blank line, its value": (
        f"Here is the context:\n\n{{context}}\n\n{RULES}\n",
        "RULES\n\nHere is the context:\n\n{context}\n",
    ),
    "a tag with blank lines inside": (
        f"<doc>\n\n{{doc}}\n\n</doc>\n\n{RULES}",
        "RULES\n\n<doc>\n\n{doc}\n\n</doc>",
    ),
    "a headed section whole": (
        f"# Clock\n\n{{now}}\n\nIt is exact.\n\n# Rules\n{RULES}",
        "# Rules\nRULES\n\n# Clock\n\n{now}\n\nIt is exact.",
    ),
    "a subsection under the title that stays": (
        f"# Agent\nYou help.\n\n## Clock\n{{now}}\n\n## Rules\n{RULES}",
        "# Agent\nYou help.\n\n## Rules\nRULES\n\n## Clock\n{now}",
    ),
    "values in their order, and the clock behind them": (
        f"Time: {{now}}\n\nContext: {{context}}\n\nProfile: {{profile}}\n\n{RULES}\n",
        "RULES\n\nContext: {context}\n\nProfile: {profile}\n\nTime: {now}\n",
    ),
    "the question that comes last stays last": (
        f"Question: {{question}}\n\n{RULES}\n\nTime: {{now}}",
        "RULES\n\nQuestion: {question}\n\nTime: {now}",
    ),
    "a cue stays the end": (
        f"Context: {{context}}\n\n{RULES}\n\nAnswer:",
        "RULES\n\nContext: {context}\n\nAnswer:",
    ),
    "a fence that ends the prompt is no cue": (
        f"# Context\n{{context}}\n\n# Task\n{RULES}\n```json\n[1, 2]\n```\n",
        "# Task\nRULES\n```json\n[1, 2]\n```\n\n# Context\n{context}\n",
    ),
    "a fence that stays open is one": (
        f"Context: {{context}}\n\n{RULES}\n\n```json",
        "RULES\n\nContext: {context}\n\n```json",
    ),
    "a cue of two lines stays the end": (
        f"Context: {{context}}\n\n{RULES}\n\nBegin:\n---\n",
        "RULES\n\nContext: {context}\n\nBegin:\n---\n",
    ),
    "the call to begin stays before the question": (
        f"Tools: {{tools}}\n\n{RULES}\n\nBegin!\n\nQuestion: {{question}}",
        "RULES\n\nTools: {tools}\n\nBegin!\n\nQuestion: {question}",
    ),
    "an indented prompt keeps its indentation": (
        f"\n    Time: {{now}}\n\n    {RULES}\n    ",
        "\n    RULES\n\n    Time: {now}\n    ",
    ),
    "the first line behind the quotes is indented elsewhere": (
        f"Time: {{now}}\n    {RULES}\n    Be brief.\n",
        "RULES\n    Be brief.\n    Time: {now}\n",
    ),
    "code that comes first keeps its indentation": (
        f"Time: {{now}}\n\n    def f():\n        return 1\n\n{RULES}\n",
        "    def f():\n        return 1\n\nRULES\n\nTime: {now}\n",
    ),
    "a comparison is no pointer": (
        f"Time: {{now}}\n\nRefuse refunds above 250 euros. {RULES}\n",
        "Refuse refunds above 250 euros. RULES\n\nTime: {now}\n",
    ),
    "a pointer that is bound inside its block": (
        f"Time: {{now}}\n\nFollow the rules below:\n- {RULES}\n",
        "Follow the rules below:\n- RULES\n\nTime: {now}\n",
    ),
    "a pointer to a section that stays before it": (
        f"Rules:\n- Be kind.\n\nTime: {{now}}\n\nKeep these rules. {RULES}\n",
        "Rules:\n- Be kind.\n\nKeep these rules. RULES\n\nTime: {now}\n",
    ),
    "what must stay behind a pointer's target stays, the rest moves": (
        f"Context: {{context}}\n\nUse only the context above.\n\n{RULES}\n",
        "RULES\n\nContext: {context}\n\nUse only the context above.\n",
    ),
    "a short question stays behind the document": (
        f"Document: {{document}}\n\n{RULES}\n\nWhat is it about?",
        "RULES\n\nDocument: {document}\n\nWhat is it about?",
    ),
    "an unknown hole stays where it is": (
        f"Hello {{unknown}}.\n\nTime: {{now}}\n\n{RULES}",
        "Hello {unknown}.\n\nRULES\n\nTime: {now}",
    ),
}


@pytest.mark.parametrize(("text", "expected"), MOVES.values(), ids=MOVES)
def test_a_safe_move(text: str, expected: str) -> None:
    plan = plan_for(of_text(text))
    assert shown(plan) == expected
    assert plan.applicability is Applicability.REORDER
    assert plan.after.characters < plan.before.characters


STAYS = {
    "nothing stands behind it": (f"{RULES}\n\nTime: {{now}}", "no constant text stands behind"),
    "too little to gain": ("Time: {now}\n\nBe brief.", "gain about 2 tokens, less than 128"),
    "who the model is opens the prompt": (
        f"You are {{agent}}, a helper.\n\n{RULES}",
        "says who the model is",
    ),
    "across a separator": (f"Time: {{now}}\n\n---\n\n{RULES}", "separates two parts"),
    "across a change of speaker": (
        f"Time: {{now}}\n\nHuman: hello\n\n{RULES}",
        "separates two parts",
    ),
    "a name bound with := is read later": (
        f"Time: {{(x:=now)}}\n\n{RULES} {{c_x}}",
        "binds a name",
    ),
}


@pytest.mark.parametrize(("text", "reason"), STAYS.values(), ids=STAYS)
def test_what_never_moves(text: str, reason: str) -> None:
    plan = plan_for(of_text(text), risky=True)
    assert plan.applicability is None
    assert plan.new_text == plan.flat.text
    assert reason in str(plan.refusals[0])


DOUBTS = {
    "a hole woven into prose": (f"Greet {{name}} kindly. {RULES}", "is woven into"),
    "a hole in a list": (f"- Greet {{name}}\n- Be kind\n\n{RULES}", "is woven into"),
    "a hole without a label": (f"{{context}}\n\n{RULES}", "nothing says what it is"),
    "above": (f"Context: {{context}}\n\nUse the context above. {RULES}", "points across"),
    "the following": (
        f"Name: {{name}}\n\nThe following applies. {RULES}",
        "“The following applies”",
    ),
    "this": (f"Context: {{context}}\n\nUse this context. {RULES}", "“this context”"),
    "a sentence that leans on its predecessor": (
        f"Name: {{name}}\nIt is spelled so. {RULES}",
        "“It”",
    ),
    "an ordinal": (f"Document: {{doc}}\n\nRead the last document. {RULES}", "“last document”"),
    "worked examples": (
        f"Context: {{context}}\n\nExamples:\nQ: one\nA: two\n\n{RULES}",
        "worked examples",
    ),
    "an evaluation that may show": (
        f"Time: {{next(it)}}\n\n{RULES} {{c_pop()}}",
        "would be evaluated after",
    ),
    "a field left for later": (f"Time: {{now}}\n\n{RULES} Say {{{{name}}}}.", "later formatting"),
    "a % field": (f"Time: {{now}}\n\n{RULES} Say %s.", "`%s` may be filled"),
}


@pytest.mark.parametrize(("text", "reason"), DOUBTS.values(), ids=DOUBTS)
def test_a_doubtful_move_needs_a_person(text: str, reason: str) -> None:
    plan = plan_for(of_text(text))
    assert plan.applicability is Applicability.RISKY
    assert any(reason in str(refusal) for refusal in plan.refusals), plan.refusals
    assert all("\n" not in str(refusal) for refusal in plan.refusals)


def test_text_of_others_comes_last_in_a_system_message_only_inside_a_tag() -> None:
    bare, tagged = f"Context: {{context}}\n\n{RULES}", f"<context>{{context}}</context>\n\n{RULES}"
    assert plan_for(of_text(bare), role="user").applicability is Applicability.REORDER
    assert plan_for(of_text(bare), role="system").applicability is Applicability.RISKY
    assert plan_for(of_text(tagged), role="system").applicability is Applicability.REORDER


def test_fields_without_names_are_doubtful() -> None:
    plan = plan_for(of_text(f"Time: {{}}\n\nName: {{name}}\n\n{RULES}", Form.FORMAT))
    assert plan.applicability is Applicability.RISKY
    assert "no names" in str(plan.refusals[0])


def test_the_holes_that_move_are_named() -> None:
    plan = plan_for(of_text(f"Hi {{c_name}}.\n\nTime: {{now}}\n\n{RULES}\n\nAsk: {{question}}"))
    assert [hole.name for hole in plan.moved_holes] == ["now"]


def test_the_least_gain_can_be_set() -> None:
    template = of_text("Time: {now}\n\nBe brief and kind.")
    assert plan_for(template).applicability is None
    assert plan_for(template, min_gain=1).applicability is Applicability.REORDER
