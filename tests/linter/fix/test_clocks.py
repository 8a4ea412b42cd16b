"""What becomes of a clock where the author chose that it shall not move."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from stemfirst_lint.config import Config, load_config
from stemfirst_lint.errors import ConfigError
from stemfirst_lint.fix.apply import Outcome, fix_paths
from stemfirst_lint.model import Applicability

HEAD = "import time\nfrom datetime import datetime, timezone\n\n\n"
ASK = "def ask(client, history):\n"
SEND = (
    "    return client.chat.completions.create(\n"
    '        messages=[{"role": "system", "content": text}, *history])\n'
)


def fixed(folder: Path, source: str, clock: str, *, is_risky: bool = False) -> tuple[str, Outcome]:
    app = folder / "app.py"
    app.write_text(source)
    allow = Applicability.RISKY if is_risky else Applicability.REORDER
    config = Config(clock=clock)
    outcome = fix_paths((str(app),), config, allow=allow)
    assert not outcome.failures
    ast.parse(app.read_text())
    assert not fix_paths((str(app),), config, allow=allow).changed
    return app.read_text(), outcome


# What stands in the prompt, and how it shows the day alone.
DAYS = {
    "a moment": ("{datetime.now()}", "{datetime.now().date()}"),
    "a moment somewhere": ("{datetime.now(timezone.utc)}", "{datetime.now(timezone.utc).date()}"),
    "an ISO time": ("{datetime.now().isoformat()}", "{datetime.now().date().isoformat()}"),
    "a text": ("{str(datetime.utcnow())}", "{str(datetime.utcnow().date())}"),
    "a format": ("{datetime.now().strftime('%B %d, %Y at %H:%M:%S')}",
                 "{datetime.now().strftime('%B %d, %Y')}"),
    "a format of hours": ("{time.strftime('%H:%M')}", "{time.strftime('%Y-%m-%d')}"),
    "a format spec": ("{datetime.now():%Y-%m-%dT%H:%M:%SZ}", "{datetime.now():%Y-%m-%d}"),
    "seconds": ("{time.time()}", "{time.strftime('%Y-%m-%d')}"),
    "whole seconds": ("{int(time.time())}", "{time.strftime('%Y-%m-%d')}"),
    "a name": ("{now}", "{now.date()}"),
    "a method of a name": ("{now.strftime('%d.%m.%y %H:%M')}", "{now.strftime('%d.%m.%y')}"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), DAYS.values(), ids=DAYS)
def test_the_day_alone_is_shown_for(before: str, after: str, tmp_path: Path) -> None:
    body = '    now = datetime.now()\n    text = f"You are terse. Today is {now}."\n'
    source = HEAD + ASK + body.replace("{now}", before) + SEND
    new, outcome = fixed(tmp_path, source, "day")
    assert new == HEAD + ASK + body.replace("{now}", after) + SEND
    assert not [finding for finding in outcome.remaining if finding.code == "SF101"]


def test_a_line_that_speaks_of_the_time_is_left_to_a_person(tmp_path: Path) -> None:
    source = HEAD + ASK + '    text = f"You are terse.\\nTime: {datetime.now()}"\n' + SEND
    new, outcome = fixed(tmp_path, source, "day")
    assert new == source
    (left,) = outcome.rewrites[0].left
    assert "speaks of more than a day" in left.reasons[0].reason
    new, _ = fixed(tmp_path, source, "day", is_risky=True)
    assert "Time: {datetime.now().date()}" in new


def test_a_value_of_a_format_template_is_coarsened_in_its_call(tmp_path: Path) -> None:
    source = (
        HEAD + 'P = "You are terse. Today is {today}."\n\n\n' + ASK
        + "    text = P.format(today=datetime.now().isoformat())\n" + SEND
    )  # fmt: skip
    new, _ = fixed(tmp_path, source, "day")
    assert new == source.replace("now().iso", "now().date().iso")


CHAT = (
    HEAD + "class Chat:\n    def __init__(self, client):\n"
    '        """Makes a chat."""\n'
    "        self.client = client  # the client\n\n"
    "    def ask(self, history):\n        now = datetime.now()\n"
    '        text = f"You are terse. It is {now:%H:%M}."\n'
    + SEND.replace("    return client", "        return self.client")
)  # fmt: skip


def test_a_clock_is_read_once_when_the_object_is_made(tmp_path: Path) -> None:
    new, outcome = fixed(tmp_path, CHAT, "session", is_risky=True)
    assert "        self._session_time = datetime.now()\n        self.client = client" in new
    assert "It is {self._session_time:%H:%M}." in new
    assert not outcome.remaining
    assert "one `Chat`" in outcome.rewrites[0].done[0].notes[0].reason


def test_only_a_person_may_say_what_a_session_is(tmp_path: Path) -> None:
    new, outcome = fixed(tmp_path, CHAT, "session")
    assert new == CHAT
    assert outcome.rewrites[0].left[0].applicability is Applicability.RISKY


def test_a_template_that_shows_parts_of_a_clock_keeps_it(tmp_path: Path) -> None:
    source = (
        HEAD + 'P = "You are terse. Today is {now.year}-{now.month}, {now.hour}."\n\n\n' + ASK
        + "    text = P.format(now=datetime.now())\n" + SEND
    )  # fmt: skip
    new, _ = fixed(tmp_path, source, "day", is_risky=True)
    assert new == source


STRICT = {
    "slots": CHAT.replace("    def __init__", "    __slots__ = ('client',)\n\n    def __init__"),
    "a model of pydantic": CHAT.replace("class Chat:", "class Chat(BaseModel):"),
    "a class method": CHAT.replace("    def ask(self", "    @classmethod\n    def ask(cls").replace(
        "return self.client", "return cls.client"
    ),
}


@pytest.mark.parametrize("source", STRICT.values(), ids=STRICT)
def test_an_object_that_takes_no_attribute_gets_none(source: str, tmp_path: Path) -> None:
    new, _ = fixed(tmp_path, source, "session", is_risky=True)
    assert "_session_time" not in new


def test_a_format_spec_in_another_file_stays(tmp_path: Path) -> None:
    (tmp_path / "texts.py").write_text('P = "You are terse. It is {now:%H:%M:%S}."\n')
    source = (
        "from datetime import datetime\n\nfrom texts import P\n\n\n" + ASK
        + "    text = P.format(now=datetime.now())\n" + SEND
    )  # fmt: skip
    (tmp_path / "app.py").write_text(source)
    outcome = fix_paths((str(tmp_path),), Config(clock="day"), allow=Applicability.RISKY)
    assert not outcome.failures
    assert (tmp_path / "app.py").read_text() == source
    assert "%H:%M:%S" in (tmp_path / "texts.py").read_text()


RULES = "Answer only from the policy of the shop, be brief, and name the order number. " * 12
ONE_LINE = (
    HEAD + "class Chat:\n    def __init__(self, client): self.client = client\n\n"
    "    def ask(self, client, history):\n"
    f'        text = f"Time: {{datetime.now()}}\\n\\n{RULES}"\n'
    + SEND.replace("    ", "        ", 1)
)


def test_a_clock_that_moves_though_another_choice_was_made_says_so(tmp_path: Path) -> None:
    new, outcome = fixed(tmp_path, ONE_LINE, "session")
    assert new.index("Time: ") > new.index("Answer only")
    (done,) = outcome.rewrites[0].done
    assert '`clock = "session"` was not followed: its `__init__` has no line' in str(done.notes[0])
    new, outcome = fixed(tmp_path, ONE_LINE, "move")
    assert not outcome.rewrites[0].done[0].notes


def test_several_clocks_of_one_object_get_numbered_names(tmp_path: Path) -> None:
    ask = ONE_LINE[ONE_LINE.index("    def ask") :]
    source = ONE_LINE.replace("(self, client): self", "(self, client):\n        self")
    source += "\n" + ask.replace("ask(", "answer(")
    new, _ = fixed(tmp_path, source, "session", is_risky=True)
    assert "self._session_time = datetime.now()\n" in new
    assert "self._session_time_2 = datetime.now()\n" in new


STAYING = {
    "a clock that a parameter brings": ("day", "    text = f'Today is {now}. Be terse.'\n"),
    "a clock shown by its repr": ("day", "    text = f'Today is {datetime.now()!r}. Be terse.'\n"),
    "a function has no session": (
        "session",
        "    text = f'Today is {datetime.now()}. Be terse.'\n",
    ),
}


@pytest.mark.parametrize(("clock", "body"), STAYING.values(), ids=STAYING)
def test_what_cannot_be_settled_stays(clock: str, body: str, tmp_path: Path) -> None:
    source = HEAD + ASK.replace("history", "history, now") + body + SEND
    new, _ = fixed(tmp_path, source, clock, is_risky=True)
    assert new == source


def test_the_choice_stands_in_the_settings(tmp_path: Path) -> None:
    settings = tmp_path / "pyproject.toml"
    settings.write_text('[tool.stemfirst.fix]\nclock = "day"\n')
    assert load_config(str(tmp_path)).clock == "day"
    settings.write_text('[tool.stemfirst.fix]\nclock = "hour"\n')
    with pytest.raises(ConfigError, match="move, day, session, got 'hour'"):
        load_config(str(tmp_path))
    settings.write_text("[tool.stemfirst.fix]\nclocks = 1\n")
    with pytest.raises(ConfigError, match="has the key clock alone"):
        load_config(str(tmp_path))


TALK = (
    HEAD + "def ask(client, history, question):\n"
    "    return client.chat.completions.create(messages=[\n"
    '        {"role": "system", "content": SYSTEM},\n'
    "        *history,\n"
    '        {"role": "user", "content": TURN},\n'
    "    ])\n"
)
INLINE = 'f"You are terse.\\n\\nTime: {datetime.now()}"'
TURNS = {
    "a value": ("question", 'f"Time: {datetime.now()}\\n\\n" + question'),
    "a text": ('f"Say: {question}"', 'f"Time: {datetime.now()}\\n\\n" + f"Say: {question}"'),
    "a choice": ('question or "Hi"', 'f"Time: {datetime.now()}\\n\\n" + (question or "Hi")'),
}


@pytest.mark.parametrize(("turn", "after"), TURNS.values(), ids=TURNS)
def test_a_clock_moves_to_the_newest_turn(turn: str, after: str, tmp_path: Path) -> None:
    source = TALK.replace("SYSTEM", INLINE).replace("TURN", turn)
    new, outcome = fixed(tmp_path, source, "move", is_risky=True)
    assert new == TALK.replace("SYSTEM", '"You are terse."').replace("TURN", after)
    assert not outcome.remaining
    new, outcome = fixed(tmp_path, source, "move")
    assert new == source
    assert outcome.rewrites[0].left[0].applicability is Applicability.RISKY
    assert "store that turn" in str(outcome.rewrites[0].left[0].reasons[0])


def test_a_system_message_with_a_name_is_changed_where_it_stands(tmp_path: Path) -> None:
    head = f"    system = {INLINE}\n    return"
    source = (
        TALK.replace("    return", head).replace("SYSTEM", "system").replace("TURN", "question")
    )
    new, _ = fixed(tmp_path, source, "move", is_risky=True)
    assert '    system = "You are terse."\n' in new
    assert '"content": f"Time: {datetime.now()}\\n\\n" + question}' in new


NO_TURN = {
    "a clock in the middle of a sentence": TALK.replace(
        "SYSTEM", 'f"You are terse and at {datetime.now()} you go home."'
    ).replace("TURN", "question"),
    "a user message with parts": TALK.replace("SYSTEM", INLINE).replace(
        "TURN", '[{"type": "text", "text": question}]'
    ),
    "a last message of the assistant": TALK.replace("SYSTEM", INLINE)
    .replace("TURN", "question")
    .replace('"user"', '"assistant"'),
    "a clock alone": TALK.replace("SYSTEM", 'f"Time: {datetime.now()}"').replace(
        "TURN", "question"
    ),
    "a second use": TALK.replace(
        "    return", f"    system = {INLINE}\n    print(system)\n    return"
    )
    .replace("SYSTEM", "system")
    .replace("TURN", "question"),
}


@pytest.mark.parametrize("source", NO_TURN.values(), ids=NO_TURN)
def test_a_clock_stays_in_the_system_message_with(source: str, tmp_path: Path) -> None:
    new, _ = fixed(tmp_path, source, "move", is_risky=True)
    assert new == source


STAYS = "You answer letters to a shop. " + RULES
TWO = (
    HEAD + f'RULES = "{STAYS}"\n\n\n' + "def ask(client, history, question):\n"
    "    messages = [\n"
    '        {"role": "system", "content": f"Time: {datetime.now()}"},\n'
    '        {"role": "system", "content": RULES},\n'
    "    ] + history\n"
    "    return client.chat.completions.create(messages=messages)\n"
)


def test_a_message_goes_behind_the_messages_that_stay(tmp_path: Path) -> None:
    new, outcome = fixed(tmp_path, TWO, "move")
    (done,) = outcome.rewrites[0].done
    assert new.index("RULES}") < new.index("Time: ")
    assert sorted(new.splitlines()) == sorted(TWO.splitlines())
    assert done.applicability is Applicability.REORDER
    assert done.verb == "put behind the messages that stay"


OTHER_MESSAGES = {
    "another role": TWO.replace('"system", "content": RULES', '"user", "content": RULES'),
    "text that points back": TWO.replace("You answer", "Mind the time above. You answer"),
    "text that is found at run time": TWO.replace(f'RULES = "{STAYS}"', "RULES = load()"),
    "a name of two texts": TWO.replace("\n\ndef ask", '\nRULES = RULES + "a"\n\n\ndef ask'),
    "a comment between them": TWO.replace('"},\n        {', '"},  # now\n        {', 1),
}


@pytest.mark.parametrize("source", OTHER_MESSAGES.values(), ids=OTHER_MESSAGES)
def test_a_message_stays_in_front_of(source: str, tmp_path: Path) -> None:
    new, _ = fixed(tmp_path, source, "move")
    assert new == source
