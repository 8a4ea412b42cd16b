"""How often a hole changes is told from the code around it, with a reason, or not at all."""

from collections.abc import Callable

import pytest
from stemfirst_lint.check import Report

Check = Callable[..., Report]

HEAD = """\
import os, random, time, uuid, datetime, enum, json, textwrap
from datetime import date, datetime as dt
from functools import lru_cache

STYLE = "terse"
RULES = [{"a": 1}, {"b": 2}]
TABLE = {"en": "Hello", "de": "Hallo"}
NAMES = {"search", "buy"}

class Mode(enum.Enum):
    FAST = "fast"

def stamp():
    return dt.now().strftime("%H:%M")

def nested():
    value = stamp()
    return f"it is {value}"

@lru_cache
def once():
    return dt.now().isoformat()

def double(text):
    return text * 2

"""

HOLES = [
    # (statements before, the hole, kind, tier)
    ("", "dt.now()", "clock", "volatile"),
    ("", "datetime.datetime.utcnow().isoformat()", "clock", "volatile"),
    ("", "time.time()", "clock", "volatile"),
    ("", "int(time.time())", "clock", "volatile"),
    ("", "time.strftime('%Y-%m-%d %H:%M')", "clock", "volatile"),
    ("", "stamp()", "clock", "volatile"),
    ("", "nested()", "clock", "volatile"),
    ("now = dt.now(); text = str(now)", "text", "clock", "volatile"),
    ("now = dt.now() + datetime.timedelta(days=1)", "now", "clock", "volatile"),
    ("", "dt.now().isoformat()[:19]", "clock", "volatile"),
    ("names = list(NAMES); names.sort()", "names", "unknown", None),
    ("names = list(NAMES)", "names", "set", "volatile"),
    ("zone = dt.now().astimezone().tzname()", "zone", "unknown", None),
    ("memory = make()", "memory.search(question)", "retrieval", "request"),
    ("", "uuid.uuid4().hex", "random", "volatile"),
    ("", "random.choice(['a', 'b'])", "random", "volatile"),
    ("", "', '.join({'a', 'b'})", "set", "volatile"),
    ("", "list(NAMES)[:2]", "set", "volatile"),
    ("", "', '.join(n.upper() for n in NAMES)", "set", "volatile"),
    ("", "sorted(NAMES)", "constant", "static"),
    ("", "', '.join(sorted(NAMES))", "pure", "static"),
    ("", "len(NAMES)", "constant", "static"),
    ("", "question", "parameter", "request"),
    ("", "question.strip().lower()", "parameter", "request"),
    ("", "double(question)", "parameter", "request"),
    ("", "json.dumps({'q': question})", "parameter", "request"),
    ("", "', '.join(d.text for d in documents)", "parameter", "request"),
    ("", "history", "parameter", "session"),
    ("", "user_name", "identity", "tenant"),
    ("q = question", "q", "parameter", "request"),
    ("", "index.search(question)", "parameter", "request"),
    ("", "input('? ')", "argument", "request"),
    ("", "STYLE", "constant", "static"),
    ("", "STYLE.upper()", "pure", "static"),
    ("", "TABLE['de']", "constant", "static"),
    ("", "json.dumps(RULES)", "pure", "static"),
    ("", "Mode.FAST.value", "unknown", None),
    ("", "Mode.FAST", "constant", "static"),
    ("", "os.environ['SHOP']", "config", "static"),
    ("", "os.getenv('SHOP')", "config", "static"),
    ("", "settings.shop", "config", "static"),
    ("", "'a' if question else 'b'", "constant", "static"),
    ("", "language", "unknown", None),
    ("", "something(question)", "unknown", None),
    ("", "thing.render()", "unknown", None),
    ("", "now or dt.now()", "clock", "volatile"),
    ("dice = random.Random(7)", "dice.random()", "unknown", None),
    ("", "once()", "constant", "static"),
    ("if question:\n        x = 'a'\n    else:\n        x = 'b'", "x", "constant", "static"),
    ("x = 'a'\n    if question:\n        x = dt.now()", "x", "clock", "volatile"),
    ("x = dt.now()\n    x = 'a'", "x", "constant", "static"),
]


@pytest.mark.parametrize(
    ("before", "hole", "kind", "tier"), HOLES, ids=[f"{b[:20]}{h}" for b, h, _, _ in HOLES]
)
def test_a_hole_has_the_tier_that_the_code_shows(
    before: str, hole: str, kind: str, tier: str | None, check: Check
) -> None:
    source = (
        HEAD
        + "def ask(client, question, documents, history, user_name, language, thing, now, index):\n"
        + f"    {before or 'pass'}\n"
        + f'    text = f"""Head {{{hole}}} tail"""\n'
        + '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    (site,) = check(source).sites
    (found,) = site.template.holes
    label = None if found.verdict.tier is None else found.verdict.tier.label
    assert (found.verdict.kind.value, label) == (kind, tier)
    assert found.source == hole
    if tier not in (None, "static"):
        assert found.verdict.evidence, "every verdict that can be reported says why"


@pytest.mark.parametrize(
    ("hole", "resolution"),
    [
        ("{dt.now()}", "second"),
        ("{dt.now():%Y-%m-%d}", "day"),
        ("{dt.now():%Y-%m-%d %H:%M}", "minute"),
        ("{dt.now().isoformat()[:10]}", "day"),
        ("{str(dt.now())[:16]}", "minute"),
        ("{str(dt.now()).split(' ')[0]}", "day"),
        ("{dt.now().date()}", "day"),
        ("{date.today()}", "day"),
        ("{dt.now().strftime('%A')}", "day"),
        ("{dt.now().isoformat(timespec='minutes')}", "minute"),
        ("{dt.now().year}", "day"),
        ("{dt.now().replace(hour=0, minute=0, second=0)}", "day"),
    ],
)
def test_a_clock_is_as_fine_as_its_text(hole: str, resolution: str, check: Check) -> None:
    source = HEAD + (
        "def ask(client):\n"
        f'    text = f"""Head {hole} tail"""\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    (site,) = check(source).sites
    found = site.template.holes[0].verdict.resolution
    assert found is not None
    assert found.value == resolution


def test_a_parameter_is_what_its_callers_pass(check: Check) -> None:
    report = check(
        prompts='def build(part):\n    return f"LONG_TEXT {part} LONG_TEXT"\n',
        app=(
            "from datetime import datetime\n"
            "from prompts import build\n\n"
            "def ask(client):\n"
            "    text = build(datetime.now().isoformat())\n"
            '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
        ),
    )
    (finding,) = report.findings
    assert finding.code == "SF101"
    assert finding.location.path.endswith("prompts.py")
    assert any(e.location and e.location.path.endswith("app.py") for e in finding.evidence)


def test_an_example_under_a_main_guard_does_not_make_a_parameter_constant(check: Check) -> None:
    source = (
        "def ask(client, question):\n"
        '    text = f"{question} LONG_TEXT"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n\n'
        'if __name__ == "__main__":\n    ask(None, "Why is the sky blue?")\n'
    )
    assert [f.code for f in check(source).findings] == ["SF301"]


def test_a_time_that_an_object_read_when_it_was_made_is_not_reported(check: Check) -> None:
    source = (
        "from datetime import datetime\n\n"
        "class Agent:\n"
        "    def __init__(self):\n        self.started = datetime.now()\n\n"
        "    def ask(self, client, history):\n"
        '        system = f"Since {self.started}. LONG_TEXT"\n'
        "        return client.chat.completions.create(\n"
        '            messages=[{"role": "system", "content": system}, *history])\n'
    )
    report = check(source)
    assert len(report.sites) == 1
    assert report.findings == ()


def test_recursion_between_functions_ends(check: Check) -> None:
    source = (
        "def a(x):\n    return b(x)\n\ndef b(x):\n    return a(x)\n\n"
        "def ask(client, question):\n"
        '    text = f"{a(question)} LONG_TEXT"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    assert check(source).findings == ()


def test_config_can_declare_a_tier(check: Check) -> None:
    from stemfirst.tiers import Tier
    from stemfirst_lint.config import Config

    source = (
        "def ask(client, blob):\n"
        '    text = f"{blob} LONG_TEXT"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    assert check(source).findings == ()
    declared = Config(tiers={"blob": Tier.REQUEST})
    assert [f.code for f in check(source, config=declared).findings] == ["SF301"]


@pytest.mark.parametrize(
    ("key", "codes"),
    [("state.blob", ["SF301"]), ("app.py:blob", ["SF301"]), ("other.py:blob", [])],
)
def test_config_can_declare_a_tier_by_dotted_name_and_by_file(
    key: str, codes: list[str], check: Check
) -> None:
    from stemfirst.tiers import Tier
    from stemfirst_lint.config import Config

    source = (
        "def ask(client, state):\n"
        '    text = f"{state.blob} LONG_TEXT"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    found = check(source, config=Config(tiers={key: Tier.REQUEST})).findings
    assert [finding.code for finding in found] == codes


def test_functions_that_call_each_other_many_times_take_no_longer(check: Check) -> None:
    names = [f"f{number}" for number in range(30)]
    source = "".join(
        f"def {name}(x):\n    return g(x, {', '.join(f'{other}(x + 1)' for other in names)})\n"
        for name in names
    )
    source += (
        "def g(*args):\n    return sum(args)\n\n"
        "def ask(client, question):\n"
        '    text = f"{f0(question)} LONG_TEXT"\n'
        '    client.chat.completions.create(messages=[{"role": "user", "content": text}])\n'
    )
    assert check(source).findings == ()  # minutes, if each path were followed


def test_a_name_of_a_comprehension_is_none_of_a_function_that_it_calls(check: Check) -> None:
    source = """
RULES = "Follow the rules of the house in every answer that you give to anybody. " * 9
def line(style):
    item = input("What is it? ")
    return style + item
def ask(client):
    parts = [line(item) for item in ("short", "plain")]
    return client.chat.completions.create(model="m", messages=[
        {"role": "system", "content": f"You are a helper. {''.join(parts)} Answer in one word."}])
"""
    (site,) = check(source).sites
    (hole,) = site.template.holes
    assert hole.verdict.tier is not None
    assert hole.verdict.tier.label == "request"
