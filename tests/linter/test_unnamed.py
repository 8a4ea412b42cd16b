"""Prompts are found by their words alone, wherever they stand, and only prompts are."""

from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

ASK = (
    "You are an expert judge. Please compare the answer with the reference. Your task is to "
    "decide whether the following answer is correct. Respond only with a JSON object. "
)
RULES = ASK + "Never accept an answer that the given text does not support. " * 12
JSON = '{"score": 1, "why": "..."}'

FOUND = {
    "a judge's template in a configuration": (
        f'evaluation = dict(judge=dict(template="""Question: {{question}}\\n{RULES}"""))\n'
    ),
    "a constant of any name": f'RAW_ITEM = """<q>{{QUESTION}}</q>\\n{RULES}"""\n',
    "a template with braces that `format` would not take": (
        f'VERDICT = """Answer: {{prediction}}\\n{RULES}{JSON}"""\n'
        "def fill(text, answer):\n"
        '    return text.replace("{prediction}", answer)\n'
    ),
    "what a function of any name returns": (
        f'def build(question, model):\n    return f"""Question: {{question}}\\n{RULES}"""\n'
    ),
    "an argument of a call that says nothing": (
        f'def work(question):\n    enqueue(f"""Question: {{question}}\\n{RULES}""", 3)\n'
    ),
    "a text that takes its rules from a constant": (
        f'RULES = """{RULES}"""\n'
        "def build(question):\n"
        f'    return f"""Question: {{question}}\n{"It concerns the old house. " * 8}{{RULES}}"""\n'
    ),
    "a Chinese text": (
        'VERDICT = """问题：{question}\\n'
        + "你是一名评审。请根据以下标准判断回答是否正确，并注意格式。必须输出JSON，例如。" * 8
        + '"""\n'
    ),
}

SILENT = {
    "a letter": (
        'LETTER = """Dear {customer_question},\\n'
        + "thank you for the order that reached our house on Monday morning. " * 12
        + '"""\n'
    ),
    "SQL": f'QUERY = """SELECT {{query}} -- {RULES}"""\n',
    "a marker that nothing replaces": f'VERDICT = """Answer: {{prediction}}\\n{RULES}{JSON}"""\n',
    "an object that is spelled in a text for templates": (
        f'ACT_PROMPT = """{{{{x}}}} {{"question": {{{{"text": "user"}}}}}}\\n{RULES}"""\n'
    ),
    "a docstring": f'def work(question):\n    """Question: {{question}}\n    {RULES}"""\n',
    "a text that is added to another": (
        f'def build(question, log):\n    log += f"""Question: {{question}}\\n{RULES}"""\n'
    ),
    "a text that is appended to others": (
        f'def build(question, log):\n    log.append(f"""Question: {{question}}\\n{RULES}""")\n'
    ),
    "data behind the rules": f'RAW_ITEM = """{RULES}\\nQuestion: {{question}}"""\n',
    "a field that says a setting": f'RAW_ITEM = """{{language}}\\n{RULES}"""\n',
    "a line of a log": (
        f'def work(question, log):\n    log.info(f"""Question: {{question}}\\n{RULES}""")\n'
    ),
    "a command's help": (
        "def work(question, argparse):\n"
        f'    argparse.ArgumentParser(description=f"""Question: {{question}}\\n{RULES}""")\n'
    ),
    "a mail": (
        f'def work(question, smtp):\n    template = f"""Question: {{question}}\\n{RULES}"""\n'
        "    smtp.sendmail('a', 'b', template)\n"
    ),
    "formulas in braces": f'SHOTS = """\\\\frac{{x}}{{y}} {RULES} {JSON}"""\n',
}


@pytest.mark.parametrize("title", FOUND)
def test_a_text_that_can_be_nothing_else_is_a_prompt(check: Check, title: str) -> None:
    report = check("import llm  # prompts\n" + FOUND[title])
    assert [finding.code for finding in report.findings] == ["SF301"]


@pytest.mark.parametrize("title", SILENT)
def test_other_long_texts_stay_silent(check: Check, title: str) -> None:
    report = check("import llm  # prompts\n" + SILENT[title])
    assert not report.findings


def test_a_prompt_that_is_known_by_its_use_is_told_once(check: Check) -> None:
    report = check(
        f'RAW = """Question: {{question}}\\n{RULES}"""\n\n'
        "def ask(client, question):\n    text = RAW.format(question=question)\n"
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    assert [finding.code for finding in report.findings] == ["SF301"]


def test_what_stays_in_a_text_that_is_put_in_counts(check: Check) -> None:
    report = check(
        "def ask(client, document, focus):\n"
        f'    rules = f"""{RULES} Look at {{focus}}."""\n'
        '    text = f"<doc>{document}</doc>\\n{rules}"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    assert [finding.hole.name for finding in report.findings if finding.hole] == ["document"]


def test_the_shorter_of_two_texts_counts(check: Check) -> None:
    report = check(
        "def ask(client, document, focus, is_long):\n"
        f'    rules = f"""{RULES} Look at {{focus}}.""" if is_long else f"Look at {{focus}}."\n'
        '    text = f"<doc>{document}</doc>\\n{rules}"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    assert not report.findings


def test_a_list_that_is_added_to_a_history_is_no_request(check: Check) -> None:
    report = check(
        "def ask(client, message_history, document):\n"
        "    message_history.extend([\n"
        '        {"role": "system", "content": "You are terse."},\n'
        f'        {{"role": "user", "content": f"""{{document}}\\n{RULES}"""}}])\n'
        "    return client.chat.completions.create(messages=message_history)\n"
    )
    assert not report.findings


def test_words_of_a_protocol_stay(check: Check) -> None:
    report = check(
        f'REACT = """{{thought}} Think first.\\n{{action}} Name a tool.\\n'
        f'{{response}} What it said.\\n{RULES}"""\n# prompts\n'
    )
    assert not report.findings
