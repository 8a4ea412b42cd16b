"""Jinja files are found behind a project's own loaders, and in packages."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

LONG = "You must answer politely. Never promise what the given policy does not grant. " * 16
HEAD = (
    "from jinja2 import Environment, FileSystemLoader, PackageLoader\n"
    'env = Environment(loader=FileSystemLoader("prompts"))\n'
)
SEND = (
    "def ask(client, document):\n"
    '    client.chat.completions.create(messages=[{"role": "user", "content": CALL}])\n'
)
METHOD = (
    "class Prompts:\n    def __init__(self, env):\n        self.env = env\n"
    "    def render(self, name, **kwargs):\n"
    "        return self.env.get_template(name).render(**kwargs)\n"
    "prompts = Prompts(env)\n"
)
LOADERS = {
    "a name that is passed": (
        "def load(name, document):\n    return env.get_template(name).render(document=document)\n",
        'load("judge.j2", document)',
    ),
    "a name without its ending": (
        'def load(name, **kw):\n    return env.get_template(f"{name}.j2").render(**kw)\n',
        'load("judge", document=document)',
    ),
    "a method of the same name as Jinja's": (
        METHOD,
        'prompts.render("judge.j2", document=document)',
    ),
    "a static method that renders later": (
        "class Prompts:\n    @staticmethod\n    def get(template, **kwargs):\n"
        '        found = env.get_template(f"{template}.j2")\n'
        "        return found.render(**kwargs)\n",
        'Prompts.get("judge", document=document)',
    ),
}


@pytest.mark.parametrize("title", LOADERS)
def test_a_file_is_found_behind_a_loader(check: Check, tmp_path: Path, title: str) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "judge.j2").write_text("Document: {{ document }}\n" + LONG)
    loader, called = LOADERS[title]
    (finding,) = check(HEAD + loader + SEND.replace("CALL", called)).findings
    assert finding.code == "SF301"
    assert finding.location.path.endswith("judge.j2")


@pytest.mark.parametrize(("loader", "folder"), [('"pkg"', "templates"), ('"pkg", "asks"', "asks")])
def test_a_file_is_found_in_a_package(
    check: Check, tmp_path: Path, loader: str, folder: str
) -> None:
    (tmp_path / "pkg" / folder).mkdir(parents=True)
    (tmp_path / "pkg" / folder / "judge.j2").write_text("Document: {{ document }}\n" + LONG)
    head = HEAD.replace('FileSystemLoader("prompts")', f"PackageLoader({loader})")
    called = 'env.get_template("judge.j2").render(document=document)'
    (finding,) = check(head + SEND.replace("CALL", called)).findings
    assert finding.location.path.endswith("judge.j2")
