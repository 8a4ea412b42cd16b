"""Comments that silence findings in files of prompts, where they are not sent."""

import pytest

APP = {
    "judge.j2": (
        "from jinja2 import Environment, FileSystemLoader\n"
        'env = Environment(loader=FileSystemLoader("."))\n'
        "def ask(client, document):\n"
        '    text = env.get_template("judge.j2").render(document=document)\n'
        '    client.create(messages=[{"role": "user", "content": text}])\n'
    ),
    "judge.yaml": (
        "import yaml\nfrom pathlib import Path\n"
        'PROMPTS = yaml.safe_load(Path("judge.yaml").read_text())\n'
        "def ask(client, document):\n"
        '    text = PROMPTS["judge"].format(document=document)\n'
        '    client.create(messages=[{"role": "user", "content": text}])\n'
    ),
}
TEXTS = {
    "the line above in Jinja": ("judge.j2", "{# MARK #}\nDocument: {{ document }}\n\nLONG\n"),
    "the line of the hole": ("judge.j2", "Role\nDocument: {{ document }}{# MARK #}\n\nLONG\n"),
    "the key of a value": ("judge.yaml", "judge: |  # MARK\n  Document: {document}\n\n  LONG\n"),
    "above the key": ("judge.yaml", '# MARK\njudge: "Document: {document}. LONG"\n'),
}


@pytest.mark.parametrize("title", TEXTS)
def test_a_comment_in_a_file_of_prompts_silences(title: str, stemfirst, sources, tmp_path) -> None:
    name, text = TEXTS[title]
    (tmp_path / "app.py").write_text(APP[name])
    path = tmp_path / name
    path.write_text(text.replace("LONG", sources.long).replace("MARK", "because"))
    assert "SF301" in stemfirst("check").stdout
    text = text.replace("LONG", sources.long)
    path.write_text(text.replace("MARK", "stemfirst: ignore[SF301] measured"))
    done = stemfirst("check")
    assert "SF" not in done.stdout, done.stdout
    path.write_text(text.replace("MARK", "stemfirst: ignore[SF999]"))
    assert {"SF301", "SF902"} <= set(stemfirst("check").stdout.replace(":", " ").split())


def test_what_is_sent_silences_nothing(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "app.py").write_text(APP["judge.j2"])
    text = f"# stemfirst: ignore[SF301]\nDocument: {{{{ document }}}}\n{sources.long}"
    (tmp_path / "judge.j2").write_text(text)
    assert "SF301" in stemfirst("check").stdout
