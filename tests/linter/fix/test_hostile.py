"""Everything that makes a rewrite hard, each in a real program that is run before and after."""

# ruff: noqa: E501  a row of the table is a line of source

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from fix_sources import RULES
from stemfirst_lint.config import Config
from stemfirst_lint.fix.apply import fix_paths
from stemfirst_lint.fix.plan import plan_for
from stemfirst_lint.fix.words import is_foreign
from stemfirst_lint.model import Applicability

ASK = "def ask(client, question, context):\n"
SEND = '    return client.create(messages=[{"role": "user", "content": text}])\n'

# § stands for the rules. What `fix` makes of it: True moved, False left, and what it says then.
HOSTILE: dict[str, tuple[str, bool | str]] = {
    "joined strings": (
        ASK + '    text = (f"Context: {context}\\n\\n"\n            "§\\n\\n"\n'
        '            f"Question: {question}")\n' + SEND,
        True,
    ),
    "nested quotes": (
        ASK + "    d = {'c': context}\n"
        "    text = f\"\"\"Context: {d['c'] or \"none\"}\n\n§\n\nQuestion: {question}\"\"\"\n" + SEND,
        True,
    ),
    "**kwargs": (
        'P = "Context: {context}\\n\\n§\\n\\nQuestion: {question}"\n\n\n' + ASK
        + "    text = P.format(**dict(context=context, question=question))\n" + SEND,
        True,
    ),
    "an alias": (
        'P = "Context: {context}\\n\\n§\\n\\nQuestion: {question}"\nT = P\n\n\n' + ASK
        + "    text = T.format(context=context, question=question)\n" + SEND,
        True,
    ),
    "parentheses": (
        ASK + '    text = (((f"Context: {context}\\n\\n") + ("§\\n\\n") + (f"Question: {question}")))\n'
        + SEND,
        True,
    ),
    "comments inside": (
        ASK + '    text = (\n        f"Context: {context}\\n\\n"  # given\n        # always\n'
        '        "§\\n\\n"  # R\n        f"Question: {question}"  # asked\n    )\n' + SEND,
        True,
    ),
    "semicolons": (
        ASK + '    x = 1; text = f"Context: {context}\\n\\n§\\n\\nQuestion: {question}"; y = 2\n' + SEND,
        True,
    ),
    "CRLF": (
        (ASK + '    text = f"""Context: {context}\n\n§\n\nQuestion: {question}"""\n' + SEND)
        .replace("\n", "\r\n"),
        True,
    ),
    "tabs": (
        (ASK + '    text = f"""Context: {context}\n\n\t§\n\nQuestion:\t{question}"""\n' + SEND)
        .replace("    ", "\t"),
        True,
    ),
    "a second use further down": (
        'P = "Context: {context}\\n\\n§\\n\\nQuestion: {question}"\n\n\n' + ASK
        + "    text = P.format(context=context, question=question)\n" + SEND
        + "\n\ndef keys():\n    return P.split('{')\n",
        "also used in another way",
    ),
    "decorators": (
        "import functools\n\n\n@functools.lru_cache(maxsize=None)\n" + ASK
        + '    text = f"Context: {context}\\n\\n§\\n\\nQuestion: {question}"\n' + SEND,
        True,
    ),
    "a walrus around the whole": (
        ASK + '    if (text := f"Context: {context}\\n\\n§\\n\\nQuestion: {question}"):\n        pass\n'
        + SEND,
        True,
    ),
    "a walrus in a hole": (
        ASK + '    text = f"Context: {(c := context)}\\n\\n§\\n\\nQuestion: {question} {c}"\n' + SEND,
        True,
    ),
    "a walrus that another hole reads": (
        ASK + '    text = f"Context: {(c := context)}\\n\\nLimit: {len(\'ab\')}\\n\\n§\\n\\n'
        'Question: {question} {c}"\n' + SEND,
        True,
    ),
    "await in a hole": (
        "async def get(x):\n    return x\n\n\nasync " + ASK
        + '    text = f"Context: {await get(context)}\\n\\n§\\n\\nQuestion: {question}"\n' + SEND,
        True,
    ),
    "byte strings": (
        ASK + '    text = b"Context: %s\\n\\n§" % context.encode()\n' + SEND,
        False,
    ),
    "format specs": (
        ASK + '    w = 9\n    text = f"Context: {context!r:>{w}}\\n\\n§\\n\\nQuestion: {question:^9}"\n'
        + SEND,
        True,
    ),
    "positional fields": (
        'P = "Context: {}\\n\\n§\\n\\nQuestion: {}"\n\n\n' + ASK
        + "    text = P.format(context, question)\n" + SEND,
        "have no names",
    ),
    "% look-alikes": (
        ASK + '    text = f"Context: {context}\\n\\n§ Be 100 %s sure.\\n\\nQuestion: {question}"\n' + SEND,
        "may be filled by `%` later",
    ),
    "a per cent sign": (
        ASK + '    text = f"Context: {context}\\n\\n§ Be 100% sure.\\n\\nQuestion: {question}"\n' + SEND,
        True,
    ),
    "escaped braces": (
        ASK + '    text = f"Context: {context}\\n\\nWrite {{\\"a\\": 1}}. §\\n\\nQuestion: {question}"\n'
        + SEND,
        True,
    ),
    "two-stage formatting": (
        ASK + '    text = f"Context: {context}\\n\\n§\\n\\nQuestion: {{question}}"\n'
        "    text = text.format(question=question)\n" + SEND,
        False,
    ),
    "a constant that is formatted twice": (
        'P = "Context: {context}\\n\\n§\\n\\nQuestion: {{question}}"\n\n\n' + ASK
        + "    half = P.format(context=context)\n    text = half.format(question=question)\n" + SEND,
        "filled in two steps, `{{question}}` in the second",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile(source: str, expected: bool | str, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_bytes(source.replace("§", RULES).encode())
    before = app.read_bytes()
    outcome = fix_paths((str(app),), Config(), allow=Applicability.REORDER)
    assert not outcome.failures
    after = app.read_bytes()
    told = [str(why) for made in outcome.rewrites for left in made.left for why in left.reasons]
    assert (after != before) is (expected is True), told
    if isinstance(expected, str):
        assert any(expected in why for why in told), told
    old, new = (asked(code) for code in (before, after))
    assert sorted(old.split()) == sorted(new.split())
    if expected is True:
        assert new.startswith((RULES[:20], "Write", "\t" + RULES[:20]))
    assert before.count(b"\r\n") == after.count(b"\r\n")
    assert not fix_paths((str(app),), Config(), allow=Applicability.REORDER).changed


def asked(code: bytes) -> str:
    """Return what a program sends."""
    names: dict[str, object] = {}
    exec(compile(code, "app.py", "exec"), names)
    ask = names["ask"]
    assert callable(ask)
    said = ask(Client(), "[why]", "[what]")
    text = asyncio.run(said) if inspect.iscoroutine(said) else said
    return text.decode() if isinstance(text, bytes) else str(text)


class Client:
    """Gives back what it is asked to send."""

    def create(self, messages: list[dict[str, str]]) -> str:
        return messages[0]["content"]


GERMAN = (
    "Antworte nur nach den Regeln des Ladens. Sei kurz, sei freundlich und versprich keine "
    "Rückgabe, die die Regeln nicht erlauben. Nenne den Absatz, auf den du dich stützt. Steht "
    "dort nichts, dann sage es und biete an, eine Anfrage zu öffnen. Schreibe in einfachen "
    "Worten, ohne Listen, ohne Ausrufezeichen und ohne den Ton eines Verkäufers. "
)
OTHERS = {
    "German": GERMAN * 2,
    "French": "Répondez seulement selon les règles de la boutique. Soyez bref et poli, et ne "
    "promettez jamais un remboursement que les règles n'accordent pas. Citez le paragraphe. " * 4,
    "Dutch": "Antwoord alleen volgens de regels van de winkel. Wees kort en vriendelijk en beloof "
    "nooit een terugbetaling die de regels niet toestaan. Noem de paragraaf die je gebruikt. " * 4,
    "Chinese": "仅根据商店的政策回答。请简短、友善，切勿承诺政策不允许的退款。请注明您所依据的段落。"
    * 12,
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_what_is_not_english_is_left_to_a_person(text: str) -> None:
    import fix_sources as sources

    plan = plan_for(sources.of_text(f"Time: {{now}}\n\n{text}"))
    assert plan.applicability is Applicability.RISKY
    assert "does not read like English" in str(plan.refusals[0])


def test_english_reads_like_english() -> None:
    assert not is_foreign(RULES)
    assert not is_foreign("Output: JSON.")
