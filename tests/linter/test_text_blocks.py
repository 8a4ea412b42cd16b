"""The text blocks of a content are one text in their order, however their list is made."""

from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

NOW = '{"type": "text", "text": f"It is {datetime.now()}."}'
RULES = '{"type": "text", "text": "LONG_TEXT"}'
HEAD = "from datetime import datetime\n\n"
SEND = '    client.messages.create(system=blocks, messages=[{"role": "user", "content": q}])\n'

VARYING_FIRST = {
    "written in the call": (
        f"def ask(client, q):\n    client.messages.create(system=[{NOW}, {RULES}], messages=[\n"
        '        {"role": "user", "content": q}])\n'
    ),
    "a list with a name": f"def ask(client, q):\n    blocks = [{NOW}, {RULES}]\n{SEND}",
    "a block with a name": (
        f"def ask(client, q):\n    now = {NOW}\n    blocks = [now, {RULES}]\n{SEND}"
    ),
    "a list that grows": (
        f"def ask(client, q):\n    blocks = []\n    blocks.append({NOW})\n"
        f"    blocks.append({RULES})\n{SEND}"
    ),
    "a list inside a list": (
        f"def ask(client, q):\n    kept = [{NOW}]\n    blocks = [*kept, {RULES}]\n{SEND}"
    ),
    "a helper": (
        f"def made():\n    return [{NOW}, {RULES}]\n\n"
        f"def ask(client, q):\n    client.messages.create(system=made(), messages=[\n"
        '        {"role": "user", "content": q}])\n'
    ),
    "a helper's list with a name": (
        f"def made():\n    found = [{NOW}]\n    found.append({RULES})\n    return found\n\n"
        f"def ask(client, q):\n    blocks = made()\n{SEND}"
    ),
    "a helper's parameter": (
        f'def made(first):\n    return [{{"type": "text", "text": first}}, {RULES}]\n\n'
        'def ask(client, q):\n    blocks = made(f"It is {datetime.now()}.")\n' + SEND
    ),
    "a method": (
        f"class Agent:\n    def _system(self):\n        return [{NOW}, {RULES}]\n\n"
        "    def ask(self, q):\n"
        "        self.client.messages.create(system=self._system(), messages=[\n"
        '            {"role": "user", "content": q}])\n'
    ),
    "a message's content": (
        f"def ask(client, q):\n    content = [{NOW}, {RULES}]\n"
        '    client.create(messages=[{"role": "user", "content": content}])\n'
    ),
    "a message of two blocks behind one": (
        "def ask(client, q):\n    client.create(messages=[\n"
        f'        {{"role": "system", "content": [{NOW}]}},\n'
        '        {"role": "user", "content": [{"type": "text", "text": "Answer."},\n'
        f"            {RULES}]}}])\n"
    ),
    "a value alone": (
        "def ask(client, q):\n    stamp = str(datetime.now())\n"
        f'    blocks = [{{"type": "text", "text": stamp}}, {RULES}]\n{SEND}'
    ),
}

SILENT = {
    "the clock in the last block": f"def ask(client, q):\n    blocks = [{RULES}, {NOW}]\n{SEND}",
    "behind an image": (
        f'def ask(client, q, image):\n    content = [{{"type": "image", "source": image}}, {NOW},'
        f" {RULES}]\n"
        '    client.create(messages=[{"role": "user", "content": content}])\n'
    ),
    "blocks that a loop adds": (
        "def ask(client, q, rows):\n    content = []\n    for row in rows:\n"
        f"        content.append({NOW})\n    content.append({RULES})\n"
        '    client.create(messages=[{"role": "user", "content": content}])\n'
    ),
    "behind a block that differs in every request": (
        'def ask(client, question):\n    content = [{"type": "text", "text": f"On {question}."},'
        f" {NOW}]\n    content.append({{'type': 'image'}})\n"
        '    client.create(messages=[{"role": "user", "content": content}])\n'
    ),
}


@pytest.mark.parametrize("source", VARYING_FIRST.values(), ids=VARYING_FIRST.keys())
def test_a_block_that_varies_forfeits_the_blocks_behind_it(source: str, check: Check) -> None:
    report = check(HEAD + source)
    (found,) = report.findings
    assert found.code == "SF101"
    assert found.forfeited_tokens > 150


@pytest.mark.parametrize("source", SILENT.values(), ids=SILENT.keys())
def test_blocks_in_a_good_order_are_not_reported(source: str, check: Check) -> None:
    assert not check(HEAD + source).findings


def test_a_system_block_behind_unknown_ones_still_stands_before_the_conversation(
    check: Check,
) -> None:
    source = (
        f"def ask(client, base, history):\n    blocks = [*base, {NOW}]\n"
        "    client.messages.create(system=blocks, messages=history)\n"
    )
    (found,) = check(HEAD + source).findings
    assert found.code == "SF101"
    assert "the conversation" in found.message
