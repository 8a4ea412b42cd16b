"""Braces of a constant that a request spells as a message are text, if nobody else reads it."""

from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

RULES = "You must answer politely. Never promise what the given policy does not grant. " * 16
SYSTEM = f'SYSTEM_PROMPT = """Write a function that takes {{document}}. {RULES}"""\n'
SENT = (
    "def ask(client, question):\n"
    "    return client.chat.completions.create(messages=[\n"
    '        {"role": "system", "content": SYSTEM_PROMPT},\n'
    '        {"role": "user", "content": question}])\n'
)


def test_a_constant_that_is_sent_as_it_is_has_no_fields(check: Check) -> None:
    assert check(SYSTEM + SENT).findings == ()


@pytest.mark.parametrize(
    "other",
    [
        "def other(fill, document):\n    return fill(SYSTEM_PROMPT, document=document)\n",
        "import app\ndef other(fill, document):\n    return fill(app.SYSTEM_PROMPT, document)\n",
    ],
)
def test_what_other_code_reads_may_be_filled_there(check: Check, other: str) -> None:
    files = {"app": SYSTEM + SENT, "other": "from app import SYSTEM_PROMPT\n" + other}
    assert [finding.code for finding in check(**files).findings] == ["SF301"]


def test_what_may_change_on_its_way_may_be_filled_there(check: Check) -> None:
    later = SENT.replace("messages=[", "messages=turns(").replace("}])", "}))")
    assert [finding.code for finding in check(SYSTEM + later).findings] == ["SF301"]


@pytest.mark.parametrize(("callee", "finds"), [("completion", []), ("fill", ["SF301"])])
def test_so_has_one_in_a_dict_that_the_call_unpacks(
    callee: str, finds: list[str], check: Check
) -> None:
    unpacked = SENT.replace("return client.chat.completions.create(", "settings = {").replace(
        "messages=[", '"temperature": 0.7, "messages": ['
    )
    unpacked = unpacked.replace("}])", f"}}]}}\n    return {callee}(**settings)")
    assert [finding.code for finding in check(SYSTEM + unpacked).findings] == finds
