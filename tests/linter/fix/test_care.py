"""What a careful maintainer would look at before taking a new order, and what he would just take.

Each case of the first table was once moved without a word, and a reader said no.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from fix_sources import RULES, findings, of_text
from stemfirst_lint.fix.changes import Done
from stemfirst_lint.fix.plan import plan_for
from stemfirst_lint.fix.rewrite import rewrite
from stemfirst_lint.fix.surroundings import doubts_of_surroundings
from stemfirst_lint.fix.words import HOLE
from stemfirst_lint.model import Applicability

HELP = "You help the customers of a shop."

# what would happen, text, what the reason says
DOUBTS = {
    "a sentence goes on behind its value": (
        f"{HELP}\n\nSay if this expression:\n\n{{expression}}\n\nappears in the policy.\n\n{RULES}",
        "would be cut from",
    ),
    "a clause waits for the sentence behind its value": (
        f"Given the letter {{letter}} and the plan:\n\n{{plan}}\n\n{HELP} {RULES}",
        "would be cut from",
    ),
    "a format is parted from the rules that speak of it": (
        f"{HELP}\n\nTask: {{task}}\n\n{RULES}\n\n---\n\nName each paragraph with its number, one "
        "a line, in the order of the policy, with a colon behind the number and the amount behind "
        "the colon. Leave out what the policy does not name, and write nothing else than that.",
        "would stay behind while other instructions move",
    ),
    "a sentence is torn from its paragraph": (
        f"{HELP} The roles are: {{roles}}. Given a task, choose one.\n\n{RULES}",
        "torn from its paragraph",
    ),
    "a rule about what was not yet named opens the prompt": (
        f"Tasks: {{tasks}}\n\nEntries should be sorted from first to last. {RULES}",
        "would open the prompt",
    ),
    "a format opens the prompt": (
        f"Evidence: {{evidence}}\n\nReturn a JSON object with one field. {RULES}",
        "would open the prompt",
    ),
    "what the task is opens the prompt no more": (
        f"Weigh up what the customer wrote and answer it:\n{{letter}}\n\n{RULES}",
        "says what the task is",
    ),
    "the section of the answer goes to the front": (
        f"# Rules\n{RULES}\n\n# Article\n{{article}}\n\n# Notes\n{RULES}\n\n# OUTPUT:\nWrite it.",
        "closes the prompt",
    ),
    "the heading of the answer goes to the front": (
        f"# Rules\n{RULES}\n\n# Article\n{{article}}\n\n# Notes\n{RULES}\n\n# Best article",
        "closes the prompt",
    ),
    "a closing order goes to the front": (
        f"{HELP}\n\nLetter:\n{{letter}}\n\n{RULES}\n\nNow answer the letter of the customer in a "
        "friendly way, keep to the rules of the shop as they were given to you, and sign with the "
        "name of the shop.",
        "closes the prompt",
    ),
    "a closing question goes to the front": (
        f"{HELP}\n\nLetter:\n{{letter}}\n\n{RULES}\n\nIs the letter polite? Say true or false, and "
        "say why in one sentence that starts with the reason.",
        "closes the prompt",
    ),
    "a sentence presents what no longer follows it": (
        f"{HELP}\n\nHere is the letter of the customer.\n\nLetter: {{letter}}\n\n{RULES}",
        "presents what would not follow it",
    ),
    "a line of marks heads what no longer follows it": (
        f"{HELP}\n\n------- INPUT -------\n\nLetter: {{letter}}\n\n{RULES}",
        "presents what would not follow it",
    ),
    "what is now given comes first": (
        f"{HELP}\n\nTopics: {{topics}}\n\nYou are now given the scores. {RULES}",
        "in which order",
    ),
    "values change places under a pointer": (
        f"{HELP}\n\nTime: {{now}}\n\nFill in the following fields. {RULES}\n\nFields: {{fields}}",
        "values would change places",
    ),
    "a long value lands in the section of another heading": (
        f"{HELP}\n\nContext:\n{{context}}\n\n## Rules\n{RULES}\n\n## Tone\nBe kind.",
        "would stand under the heading",
    ),
    "an instruction moves with its section": (
        f"## Letter\n{{letter}}\n\n## Task\nRecommend up to {{count}} products that help the "
        f"customer.\n\n## Rules\n{RULES}",
        "is an instruction",
    ),
    "numbered parts": (
        f"## 1. Letter\n{{letter}}\n\n## 2. Rules\n{RULES}",
        "is numbered",
    ),
    "a mark that closes in another block": (
        f"{HELP}\n\nText: <<{{letter}}\n\nUse '''this. {RULES}\n\nThat''' is all. {RULES}",
        "mark of another block",
    ),
    "a language that has few of our words": (
        "Zeit: {now}\n\n" + "Antworte freundlich. Nenne immer den Paragraphen. " * 20,
        "like English",
    ),
    "the task stays behind while its rules move": (
        f"{HELP}\n\nDirective: {{name}}\n\n{RULES}\n\n---\n\nYour task is to follow the directive.",
        "would stay behind while other instructions move",
    ),
    "a fixed list moves with its section": (
        f"# Categories\n{{categories}}\n- one: very bad\n- two: bad enough\n- three: quite good\n"
        f"- four: very good\n\n# Rules\n{RULES}",
        "stays the same and would move",
    ),
    "an answer to what happened": (
        f"The last call failed: {{reason}}\n\nPlay safe. {RULES}",
        "tells what happened",
    ),
    "a plea opens the prompt": (
        f"Result: {{result}}\n\nPlease try again. {RULES}",
        "would open the prompt",
    ),
    "a sentence in front of the last presents": (
        f"{HELP} Here is a new letter. Do not apologise.\n\nLetter: {{letter}}\n\n{RULES}",
        "presents what would not follow it",
    ),
    "above, with a noun that the block names itself": (
        f"{HELP}\n\nAnswers: {{answers}}\n\nChoose the best answer from the above answers. {RULES}",
        "points across the move",
    ),
    "the form of the answer is asked for at the end": (
        f"{HELP} {RULES}\n\nLetter:\n{{letter}}\n\n{RULES}\n\nYour response should be in the "
        "format:\n- one line for the paragraph of the policy\n- one line for the amount",
        "asks for the answer at the end",
    ),
    "a last line says how exactly to end": (
        f"{HELP} {RULES}\n\nLetter: {{letter}}\n\n{RULES}\n\nEnd with the amount on a line of its "
        "own, formatted exactly as: Amount: [x]",
        "asks for the answer at the end",
    ),
    "a call to act closes": (
        f"{HELP}\n\n<letter>\n{{letter}}\n</letter>\n\n{RULES}\n\nPlease weigh up the letter "
        "with care.",
        "asks for the answer at the end",
    ),
    "fields of a form run on in the data": (
        f"{HELP}\n\n###Letter:\n{{letter}}\n\n###Rules:\n{RULES}\nFill in the form.\n"
        "###Reason: (one sentence)\n###Score: (a number)",
        "would read like more of the form",
    ),
    "an instruction parts the fields of a record": (
        f"{HELP}\n\nShop: {{c_shop}}\nTown: {{c_town}}\n\nSteps:\n{{steps}}\n\n{RULES}",
        "would part",
    ),
    "a speaker behind a dialogue": (
        f"{HELP}\n\nChat history:\n{{chat_history}}\n\n{RULES}\n\nClerk: {{clerk}}\n\n{RULES}",
        "would read like more of",
    ),
}


@pytest.mark.parametrize(("text", "reason"), DOUBTS.values(), ids=DOUBTS)
def test_a_person_is_asked(text: str, reason: str) -> None:
    plan = plan_for(of_text(text))
    assert plan.applicability in (Applicability.RISKY, None)
    assert any(reason in str(refusal) for refusal in plan.refusals), plan.refusals
    daring = plan_for(of_text(text), risky=True)
    assert daring.applicability is Applicability.RISKY


CLEAN = {
    "data behind all instructions": f"{HELP}\n\nLetter:\n{{letter}}\n\n{RULES}\n\n{RULES}",
    "tagged data": f"{HELP}\n\n<letter>\n{{letter}}\n</letter>\n\n{RULES}",
    "headed data": f"{HELP}\n\n## Letter\n{{letter}}\n\n## Rules\n{RULES}",
    "the following letter, which a label names": (
        f"Answer the following letter.\n\nLetter:\n{{letter}}\n\n{RULES}"
    ),
    "a clock under a heading": f"{HELP}\n\nTime: {{now}}\n\n## Rules\n{RULES}",
    "a clock in a sentence of a paragraph": f"{HELP} Today is {{now}}. {RULES}",
    "a cue stays last": f"{HELP}\n\nLetter: {{letter}}\n\n{RULES}\n\nAnswer:",
    "the task alone, though it asks": f"Letter: {{letter}}\n\nPlease answer. {RULES}",
    "a speaker who stood behind the dialogue": (
        f"{HELP}\n\nChat history:\n{{chat_history}}\n\nClerk: {{clerk}}\n\n{RULES}"
    ),
    "fields in another form than the answer's": (
        f"{HELP}\n\nCriteria: {{criteria}}\n\n{RULES}\nFormat:\nSCORE: [1-10]\nREASON: [a reason]"
    ),
    "an instruction opens the prompt": f"Letter: {{letter}}\n\n{RULES}",
}


@pytest.mark.parametrize("text", CLEAN.values(), ids=CLEAN)
def test_what_is_clearly_as_good_is_moved(text: str) -> None:
    plan = plan_for(of_text(text))
    assert plan.applicability is Applicability.REORDER, plan.refusals


def test_values_keep_their_order() -> None:
    """What is sent with every turn does not overtake what the conversation stands on."""
    text = f"{HELP}\n\nOrder: {{order}}\n\n{RULES}\n\nProfile: {{profile}}"
    plan = plan_for(of_text(text))
    assert plan.applicability is Applicability.REORDER, plan.refusals
    assert plan.new_text.index("Order:") < plan.new_text.index("Profile:")
    assert plan_for(of_text(text), risky=True).applicability is Applicability.RISKY


COMMENTS = {
    "above": ("# the official template of the benchmark\n", ""),
    "above, a line away": ("# As in the paper.\n\nX = 1\n", ""),
    "behind": ("", "  # copied from https://example.org/template"),
}


@pytest.mark.parametrize(("above", "behind"), COMMENTS.values(), ids=COMMENTS)
def test_a_wording_that_is_somebody_elses_is_left_to_a_person(above: str, behind: str) -> None:
    assert {d.applicability for d in _changes(above, behind)} == {Applicability.RISKY}


def test_other_comments_do_not_matter() -> None:
    changes = _changes("# the prompt of the shop\n", "  # keep it short")
    assert {d.applicability for d in changes} == {Applicability.REORDER}


def test_a_template_whose_name_says_that_it_ends_a_prompt_is_left_to_a_person() -> None:
    template = of_text(f"Letter: {{letter}}\n\n{RULES}")
    named = replace(template, name="SHOP_PROMPT_SUFFIX")
    assert any("ends a prompt" in str(d) for d in doubts_of_surroundings(named, ""))
    assert not list(doubts_of_surroundings(replace(template, name="SHOP_PROMPT"), ""))


def _changes(above: str, behind: str) -> tuple[Done, ...]:
    source = (
        f'{above}PROMPT = f"""{HELP}\n\n<letter>\n{{letter}}\n</letter>\n\n{RULES}"""{behind}\n'
    )
    made = findings("t.py", source)
    return rewrite("t.py", source.encode(), made, allow=Applicability.RISKY).done


def test_a_line_behind_a_list_is_no_part_of_it() -> None:
    """A labelled line that lands behind a list gets a blank line, or it reads as its last item."""
    text = f"{HELP}\nThe shell:\n{{shell}}\nWhat to say when somebody asks:\n\n- {RULES}\n- Etc.\n"
    plan = plan_for(of_text(text))
    assert plan.applicability is Applicability.REORDER
    assert plan.new_text.endswith(f"- Etc.\n\nThe shell:\n{HOLE}\n")
