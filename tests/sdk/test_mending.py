"""Whether `stemfirst fix` moves a text is the linter's word, asked where somebody explains."""

from __future__ import annotations

import json
import re

from click.testing import CliRunner
from stemfirst import ledger
from stemfirst.explain import explain
from stemfirst.mending import is_mended, read_patch
from stemfirst.savings import Savings
from stemfirst.segments import Origin

RULES = "\n".join(
    f"Rule {number}: answer kindly, and never promise what case {number} does not allow."
    for number in range(1, 15)
)
AGENT = f'''
from datetime import datetime
from stemfirst import Prompt


def prompt(question: str, now: str = "") -> Prompt:
    now = now or datetime.now().isoformat()
    system = f"""It is {{now}}.

{RULES}"""
    messages = [{{"role": "system", "content": system}}, {{"role": "user", "content": question}}]
    return Prompt.from_messages(messages)


def other(now: str = "") -> Prompt:
    return Prompt.from_messages([{{"role": "system", "content": f"Short: {{now}}."}}])
'''


def agent(tmp_path):
    path = tmp_path / "agent.py"
    path.write_text(AGENT)
    made: dict = {"__file__": str(path), "__name__": "agent"}
    exec(compile(AGENT, str(path), "exec"), made)
    return path, made


def record(path, line, now):
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": f"It is {now}.\n\n{RULES}"}],
    }
    segment = {"id": "s0", "tier": "static", "at": ["messages", 0, "content"]}
    segment |= {"n": len(f"It is {now}.\n\n{RULES}".encode())}
    return {"request": body, "segments": [{**segment, "origin": {"path": str(path), "line": line}}]}


def test_explain_says_that_fix_moves_it_where_the_linter_has_a_proven_change(tmp_path):
    path, _ = agent(tmp_path)
    files = []
    for now in ("09:00:01", "09:00:02"):
        files.append(tmp_path / f"{now[-1]}.json")
        line = AGENT.splitlines().index("    return Prompt.from_messages(messages)") + 1
        files[-1].write_text(json.dumps(record(path, line, now)))
    done = CliRunner().invoke(explain, [str(files[1]), "--against", str(files[0])])
    assert re.search(r"`stemfirst fix \S*agent\.py` moves it\.", done.output), done.output
    path.write_text(AGENT.replace("It is {now}.\n\n", "").replace("{now}", "now"))
    again = CliRunner().invoke(explain, [str(files[1]), "--against", str(files[0])])
    assert "Try `stemfirst fix" in again.output


def test_a_report_asks_only_where_it_is_told_to(tmp_path):
    _, made = agent(tmp_path)
    before, after = (made["prompt"]("Where?", now).render() for now in ("09:00:01", "09:00:02"))
    times = {"queue": 0, "prefill": 5, "load": 0, "decode": 0}
    at = {"token": 5, "path": ["messages", 0, "content"], "byte": 12, "segment": "s0"}
    missed = {"tokens": 400, "reason": "prompt_changed", "at": at}
    counts = {"prompt_tokens": 420, "cached_tokens": 16, "computed_tokens": 404}
    answer = {"stemfirst": {"v": 1, **counts, "time": times, "missed": missed}}
    saved = Savings.of(answer, rendered=after, before=before)
    assert "; try `stemfirst fix " in str(saved)
    assert "; try `stemfirst fix " in saved.explain()
    assert "agent.py` moves it" in saved.explain(asks_linter=True)
    book = ledger("shop")
    book.add(saved)
    book.add(saved)
    (asked,) = book.misses(asks_linter=True)
    assert (asked.calls, asked.tokens) == (2, 800)
    assert "agent.py` moves it" in str(asked)
    assert "; try `stemfirst fix " in str(book.misses()[0])


def test_a_place_that_fix_leaves_alone_or_cannot_read_is_not_mended(tmp_path):
    path, _ = agent(tmp_path)
    assert not is_mended(Origin(str(path), len(AGENT.splitlines())), "Short: 9:00.")
    assert not is_mended(Origin(str(tmp_path / "gone.py"), 3), RULES)
    broken = tmp_path / "broken.py"
    broken.write_text("def (")
    assert not is_mended(Origin(str(broken), 1), RULES)


def test_a_patch_is_read_by_the_lines_of_the_old_file():
    own = "--- a/x.py\n+++ b/x.py\n@@ -3,5 +3,4 @@\n a\n-b\n+c\n--- d\n e\n-f\n"
    other = "--- a/y.py\n+++ b/y.py\n@@ -1 +1 @@\n-g\n+h\n"
    patch = read_patch(own + other, "x.py")
    assert (patch.removed, patch.elsewhere) == ({4: "b", 5: "-- d", 7: "f"}, ("g",))
