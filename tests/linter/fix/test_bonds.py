"""What belongs together in a prompt though no word points: readers said no when it was parted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fix_sources import RULES, of_text
from stemfirst_lint.fix.plan import plan_for
from stemfirst_lint.model import Applicability, Hole, Template

HELP = "You help the customers of a shop."

# what would happen, text, what the reason says
DOUBTS = {
    "a value that holds rules": (
        f"{HELP}\n\n# More rules\n{{shop_rules}}\n\n# Rules\n{RULES}",
        "holds instructions",
    ),
    "a reminder at the end": (
        f"{HELP}\n\nLetter: {{letter}}\n\n{RULES}\n\nRemember: never promise a refund.",
        "asks for the answer at the end",
    ),
    "a last line that asks for the form": (
        f"{HELP}\n\nLetter: {{letter}}\n\n{RULES}\n{RULES}\nReturn the number alone.",
        "asks for the answer at the end",
    ),
    "somebody tells what he has": (
        f"I have an order: {{order}}\n\nWrite to the shop. {RULES}",
        "begins what the prompt tells",
    ),
    "text that opens without saying what to do": (
        f"Letter: {{letter}}\n\nOrders of a day go out by noon. {RULES}",
        "says neither what the model is",
    ),
    "a sentence that ends behind the value": (
        f"{HELP}\nYou have these ways to send, as\nWays: {{ways}}\nWrite to the shop. {RULES}",
        "would be parted",
    ),
    "a place that is named in capitals": (
        f"{HELP}\n\nLETTER_OF_TODAY: {{letter}}\n\n{RULES} Use the LETTER_OF_TODAY above.",
        "above",
    ),
    "a line that closes what a value opened": (
        f"{HELP}\n\n< Letter begins >:\n{{letter}}\n< Letter ends >\n\n{RULES}",
        "may close what",
    ),
    "lines of a form": (
        f"{HELP}\n\nCriteria: {{criteria}}\n\n{RULES}\n\nVerdict: good or bad\nReason: one line",
        "one more line of it",
    ),
    "a name in brackets that nothing fills here": (
        f"{HELP}\n\n### Letter:\n{{letter}}\n\n### Policy:\n[POLICY]\n\n### Rules:\n{RULES}",
        "filled in later",
    ),
    "a turn that goes on": (
        f"Continue with the ticket.\n\nTicket: {{ticket}}\n\n{RULES}",
        "goes on with a conversation",
    ),
    "the last answer": (
        f"{HELP}\n\nMissing: {{missing}}\n\nSomething was forgotten in the last answer. {RULES}",
        "goes on with a conversation",
    ),
    "a value without a label under another one": (
        f"{HELP}\n\nOrders:\n{{orders}}\n\n{RULES}\n\n{{history}}",
        "has no label",
    ),
    "a supplement overtakes what it adds to": (
        f"{HELP}\n\nCriteria:\n{{criteria}}\n\nA few additional hints:\n\n- {RULES}",
        "adds to what it would overtake",
    ),
    "now": (
        f"{HELP} {RULES}\n\nLetter: {{letter}}\n\nNow answer the letter. {RULES}\n\n"
        "Order: {order}\n\nAnswer:",
        "adds to what it would overtake",
    ),
    "rules open the prompt, and the task moves": (
        "Given a letter with parts:\n\n{parts}\n\nWrite the answer of the shop in plain words to:\n"
        f'"{{letter}}"\n\nRules\n-----\n{RULES}',
        "before its task is named",
    ),
    "an end that asks for a list gets a value behind it": (
        f"{HELP}\n\nLetters: {{letters}}\n\n{RULES} Give the numbers of the letters as a list, "
        "from the most urgent one to the least urgent one, and the numbers alone, without words:",
        "announces what follows it",
    ),
    "a value between the one that is asked about and the cue": (
        f"{HELP}\n\nPredicates: {{predicates}}\n\n{RULES}\n\nSentence: {{c_sentence}}\n\nTriples:",
        "would stand between",
    ),
    "a sentence over two lines": (
        f"{HELP} In each case you are given a limited choice of answers as\n"
        f"list of letters:\n{{letters}}\nWrite to the customer in plain words. {RULES}",
        "goes on with the sentence",
    ),
    "a form that the answer fills in": (
        f"{HELP}\n\nQuery: {{query}}\n\n{RULES}\n\nRespond with:\nSOLVED: [True/False]\n\n"
        f"Analysis:\n[Your step-by-step analysis of the letter, with all that the policy says]\n",
        "is what the answer fills in",
    ),
    "an order to begin": (
        f"Here is the letter: {{letter}}\n\n{RULES}\n\n"
        f"Please begin writing the answer to the letter. {RULES}",
        "lets the answer begin",
    ),
    "a pointer whose noun stands before it": (
        f"<ORDER>\n{{order}}\n</ORDER>\n\n{HELP} {RULES}\n\nLetter: {{letter}}\n\n"
        f"Check what is ordered:\n- Use the ORDER above to check the dates in the letter. {RULES}",
        "points across the move",
    ),
    "a value behind one that nobody knows": (
        f"{HELP} {RULES}\n\n### Question:\n{{question}}\n\n### Reference:\n{{unknown}}\n\n"
        f"### Rules:\n{RULES}",
        "would come behind {unknown}",
    ),
    "behind a value that nobody knows nothing is won for sure": (
        f"{HELP}\n\nShop: {{unknown}}\n\nLetter: {{letter}}\n\n{RULES}",
        "{unknown} stays in front, and nobody knows how often it changes",
    ),
}


@pytest.mark.parametrize(("text", "reason"), DOUBTS.values(), ids=DOUBTS)
def test_a_person_is_asked(text: str, reason: str) -> None:
    plan = plan_for(of_text(text))
    assert plan.applicability in (Applicability.RISKY, None)
    assert any(reason in str(refusal) for refusal in plan.refusals), plan.refusals


CLEAN = {
    "a clock behind a value that nobody knows": (
        f"You help the customers of {{unknown}}.\n\nTime: {{now}}\n\n{RULES}"
    ),
    "a value that nobody knows behind enough rules": (
        f"{HELP}\n\nLetter: {{letter}}\n\n{RULES}\n\nShop: {{c_shop}}"
    ),
    "sections below a task that ends in a colon": (
        "Answer the letter of a customer as the shop would, so that all parts of it are "
        f"answered one by one:\n\n## Letter\n{{letter}}\n\n"
        f"## Rules\n{RULES}"
    ),
    "to continue, as advice": (
        f"{HELP}\n\nLetter: {{letter}}\n\n{RULES} Tell whoever is angry how we continue."
    ),
    "rules behind a task that stays": f"{HELP}\n\nLetter: {{letter}}\n\nRules\n-----\n{RULES}",
}


@pytest.mark.parametrize("text", CLEAN.values(), ids=CLEAN)
def test_what_is_clearly_as_good_is_moved(text: str) -> None:
    plan = plan_for(of_text(text))
    assert plan.applicability is Applicability.REORDER, plan.refusals


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (("Write as the rules below say.",), Applicability.RISKY),
        (("Write in plain words.",), Applicability.REORDER),
    ],
)
def test_the_words_inside_a_value_count(inner: tuple[str, ...], expected: Applicability) -> None:
    """A value that is a template itself may point at what stands around it."""
    template = of_text(f"{HELP}\n\nManner: {{manner}}\n\n{RULES}")
    assert plan_for(_with_inner(template, inner)).applicability is expected


def _with_inner(template: Template, inner: tuple[str, ...]) -> Template:
    return replace(
        template,
        pieces=tuple(
            replace(piece, inner_texts=inner) if isinstance(piece, Hole) else piece
            for piece in template.pieces
        ),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RULES, Applicability.REORDER),
        (f"{RULES} Use what is written above.", Applicability.RISKY),
        ("Antworte freundlich. Nenne immer den Paragraphen. " * 20, Applicability.RISKY),
    ],
    ids=["English", "points up", "another language"],
)
def test_the_words_of_a_named_constant_are_read(text: str, expected: Applicability) -> None:
    """`f"Time: {now}\\n\\n{RULES}"` is as long and as English as its constant is."""
    template = of_text("Letter: {letter}\n\n{c_rules}")
    pieces = tuple(
        replace(piece, constant_text=text)
        if isinstance(piece, Hole) and piece.name == "c_rules"
        else piece
        for piece in template.pieces
    )
    plan = plan_for(replace(template, pieces=pieces))
    assert plan.applicability is expected, plan.refusals
