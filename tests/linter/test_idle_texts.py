"""A prompt that no code of a project sends is not reported, and one that some code sends is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

RULES = "You must answer politely. Never promise what the given policy does not grant. " * 16
TEXT = f'"""Question: {{question}}\n\n{RULES}"""'
SEND = 'client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
MAY = "# of prompts\n"
"""A word by which a file is read whole."""

FIELDS = (
    "from pydantic import BaseModel\n\n\nclass Prompts(BaseModel):\n"
    f"    judge_tpl: str = {TEXT}\n\n"
    "    def judge_system(self, question):\n"
    "        return self.judge_tpl.format(question=question)\n"
)


@pytest.mark.parametrize(
    ("called", "finds"),
    [
        ("print(Prompts().rules)", 0),
        ("print(Prompts().judge_system(question))", 1),
        ("print(Prompts().judge_tpl)", 1),
        ('print(getattr(Prompts(), "judge_system"))', 1),
    ],
)
def test_a_field_that_only_an_uncalled_method_reads_is_sent_by_nobody(
    called: str, finds: int, check: Check
) -> None:
    app = f"from config.texts import Prompts\n\n\ndef ask(question):\n    {called}\n"
    report = check(app, config__texts=FIELDS)
    assert len(report.findings) == finds


def test_a_field_that_a_base_out_of_sight_may_read_is_reported(check: Check) -> None:
    fields = FIELDS.replace("BaseModel", "Agent")
    app = "from config.texts import Prompts\n\nprint(Prompts())\n"
    assert len(check(app, config__texts=fields).findings) == 1


@pytest.mark.parametrize(
    ("more", "finds"),
    [("", 0), ("\ndef ask(question):\n    return chosen.format(question=question)\n", 1)],
)
def test_another_name_that_nobody_reads_sends_nothing(more: str, finds: int, check: Check) -> None:
    agent = f"{MAY}from texts.judge import JUDGE\n\nif True:\n    chosen = JUDGE\n{more}"
    report = check(
        f"{MAY}import agents.judging\n", agents__judging=agent, texts__judge=f"JUDGE = {TEXT}\n"
    )
    assert len(report.findings) == finds


@pytest.mark.parametrize(
    ("reader", "finds"),
    [
        ("", 0),
        ("import importlib\n\nprint(importlib.import_module(name).JUDGE_PROMPT)\n", 1),
        ('import importlib\n\nprint(getattr(importlib.import_module(name), "JUDGE_PROMPT"))\n', 1),
    ],
)
def test_a_constant_that_nothing_names_beside_imported_modules_is_spare(
    reader: str, finds: int, check: Check
) -> None:
    spare = f"from texts.used import Text\n\nOTHER = Text(1)\nJUDGE_PROMPT = {TEXT}\n"
    report = check(
        f"{MAY}from texts.used import Text\n\nprint(Text)\n{reader}",
        texts__used=f"{MAY}class Text:\n    pass\n",
        texts__spare=spare,
    )
    assert len(report.findings) == finds


@pytest.mark.parametrize(
    ("package", "finds"),
    [
        ("from .judge import make", 0),  # it picks what it hands on
        ("from .judge import JUDGE_PROMPT", 1),
        ("from .judge import *", 1),
        ("", 1),
    ],
)
def test_a_constant_that_is_only_listed_beside_what_a_package_picks_is_sent_by_nobody(
    package: str, finds: int, check: Check, tmp_path: Path
) -> None:
    judge = (
        f'JUDGE_PROMPT = {TEXT}\n\n\ndef make():\n    return ""\n\n\n'
        '__all__ = ["JUDGE_PROMPT", "make"]\n'
    )
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "__init__.py").write_text(f"{MAY}{package}\n")
    report = check(f"{MAY}import texts.judge\n\nprint(texts.judge.make())\n", texts__judge=judge)
    assert len(report.findings) == finds


@pytest.mark.parametrize(("marker", "finds"), [("[[QUERY]]", 0), ("[QUERY]", 1)])
def test_a_heading_that_is_part_of_a_marker_is_no_marker(
    marker: str, finds: int, check: Check
) -> None:
    judge = f'JUDGE_PROMPT = """Judge.\n[QUERY]\n{RULES}\n[QUERY]\n{marker}"""\n'
    fills = (
        "def ask(one, two, query):\n"
        '    print(one.replace("[QUERY]", query))\n'
        '    print(two.replace("[[QUERY]]", query))\n'
    )
    report = check(f"{fills}\n\n{judge}print(JUDGE_PROMPT)\n")
    assert len(report.findings) == finds


@pytest.mark.parametrize(
    ("parameter", "name", "finds"),
    [
        ("project_name: str = typer.Option(None)", "project_name", 0),
        ("project_name: Annotated[str, typer.Option()]", "project_name", 0),
        ("project_name: str", "project_name", 1),
        ("question: str = typer.Option(None)", "question", 1),  # plainly data
    ],
)
def test_an_option_of_a_command_is_a_setting(
    parameter: str, name: str, finds: int, check: Check
) -> None:
    source = (
        f"import typer\n\n\ndef start({parameter}, client=CLIENT):\n"
        f'    text = f"{{{name}}} {RULES}"\n    {SEND}'
    )
    assert len(check(source).findings) == finds


def test_clicks_options_are_settings(check: Check) -> None:
    command = '@click.option("--project-name")\n'
    source = (
        f"import click\n\n\n{command}def start(project_name, client=None):\n"
        f'    text = f"{{project_name}} {RULES}"\n    {SEND}'
    )
    assert check(source).findings == ()
    assert len(check(source.replace(command, "")).findings) == 1


def test_what_a_shell_runs_is_no_prompt(check: Check) -> None:
    flags = "".join(f"--{name} value " for name in ("model", "data", "lr", "top-p", "out", "iter"))
    system = "You are a judge and must answer each given question in a sentence. " * 8
    flags *= 6
    source = f'def run(query):\n    prompt_cmd = f"sample --query {{query}} {flags}{system}"\n'
    source += "    return prompt_cmd\n"
    assert check(source).findings == ()
    assert len(check(source.replace("--", "").replace("sample", "")).findings) == 1


@pytest.mark.parametrize(("called", "finds"), [(" tool", 0), (" text", 1)])
def test_the_name_of_a_tool_is_no_data(called: str, finds: int, check: Check) -> None:
    source = (
        "def build(tools, client):\n    t = names_of(tools)\n"
        f'    text = f"You are a judge. Use the `{{t.query_graph}}`{called}. {RULES}"\n    {SEND}'
    )
    assert len(check(source).findings) == finds
