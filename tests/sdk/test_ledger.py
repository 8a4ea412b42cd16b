"""The ledger: what counts, where, and how it looks."""

import asyncio
import contextvars
import io
import json
import re
import subprocess
import sys
import threading
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stemfirst import ledger
from stemfirst.entered import open_entry
from stemfirst.entries import Entry
from stemfirst.errors import ClientError
from stemfirst.ledgers import MOST_OPEN, Ledger, Status
from stemfirst.prompt import Origin
from stemfirst.savings import Missed, Savings
from stemfirst.totals import totals_from_json, totals_of
from stemfirst.wire import Cost, Estimate, MissPlace, Times


def call(prompt: int = 100, cached: int = 80, **more) -> Savings:
    return Savings(model="m", prompt_tokens=prompt, cached_tokens=cached, **more)


def rich_call(line: int) -> Savings:
    return call(
        1_000,
        600,
        time=Times(0, 1, 0, 1, 1, 1, Estimate(50.0, 40.0, 60.0, 30)),
        cost=Cost(0.001, 0.003, 0.002, "GPU hour at $2"),
        missed=Missed(
            400, "prompt_changed", MissPlace(600), "x", None, Origin("/app/agent.py", line)
        ),
        notice="text is noise, timings are real",
    )


def test_a_call_under_way_is_never_folded_as_incomplete():
    book = Ledger(most_entries=1)
    first, second = Entry(), Entry()
    for entry in (first, second):
        book.file(entry)
    for entry in (second, first):
        entry.close(Status.COMPLETE, call())
    book.add(call())
    assert (book.totals.incomplete, book.prompt_tokens, len(book.entries)) == (0, 300, 1)


def test_calls_dropped_unread_do_not_gather_without_bound():
    book = Ledger(most_entries=1)
    for _ in range(MOST_OPEN + 50):
        book.file(Entry())
    assert len(book.entries) == 1 + MOST_OPEN
    assert book.totals.incomplete == book.requests == MOST_OPEN + 50


def test_a_ledger_holds_at_least_one_call():
    with pytest.raises(ClientError, match="most_entries must be at least 1, got -1"):
        ledger(most_entries=-1)


costs = st.builds(
    lambda amount, basis, currency: call(cost=Cost(amount, 2.0 * amount, amount, basis, currency)),
    st.integers(0, 9),
    st.sampled_from("ab"),
    st.sampled_from(["USD", "EUR"]),
)
sums = st.lists(costs, max_size=3).map(totals_of)


@given(sums, sums, sums)
def test_sums_are_the_same_however_they_are_grouped(one, two, three):
    assert (one + two) + three == one + (two + three)
    assert totals_from_json(json.loads(json.dumps(asdict(one)))) == one


def test_costs_of_two_currencies_are_never_told_as_one():
    dollars, euros = (call(cost=Cost(1, 2, 1, "a", name)) for name in ("USD", "EUR"))
    book = Ledger(most_entries=1)
    for savings in (dollars, euros, dollars, dollars):
        book.add(savings)
    assert book.totals.cost is None
    assert book.totals.currencies == ("EUR", "USD")
    assert "not added  in EUR and USD" in str(book)


def make(savings: Savings | None = None) -> None:
    """Make a call as the clients do."""
    entry = open_entry()
    if savings:
        entry.close(Status.COMPLETE, savings)


def test_estimated_sums_say_of_how_many_calls_they_speak_and_why_not_of_all():
    estimated = Times(0, 1, 0, 1, 1, 1, Estimate(50.0, 40.0, 60.0, 30))
    outside = Times(0, 1, 0, 1, 1, 1, None, "outside the measured range")
    with ledger() as book:
        make(call(cached=64, time=estimated))
        make(call(cached=80, time=outside))
        make(call(cached=80, time=outside))
    assert (book.totals.timed, book.totals.timed_cached_tokens) == (1, 64)
    shown = str(book)
    assert "[40 to 60] estimate, 1 of 3 calls" in shown
    assert re.search(r"not estimated +2 calls +outside the measured range", shown)
    assert Ledger.merged([book.to_json(), book.to_json()]).totals.unestimated == {
        "outside the measured range": 4
    }


def test_calls_inside_the_block_count_and_others_do_not():
    make(call())
    with ledger("checkout") as book:
        make(call())
        make(call(50, 10))
    make(call())
    assert (book.requests, book.prompt_tokens, book.cached_tokens) == (2, 150, 90)
    assert book.hit_ratio == 0.6


def test_an_outer_ledger_counts_what_an_inner_one_counts():
    with ledger("day") as outer:
        make(call())
        with ledger("hour") as inner:
            make(call())
    assert (outer.requests, inner.requests) == (2, 1)


def test_a_ledger_entered_twice_counts_once():
    with ledger() as book, book:
        make(call())
    assert book.requests == 1


def test_leaving_the_inner_of_two_entries_of_one_ledger_keeps_the_outer():
    with ledger() as book:
        with book:
            pass
        make(call())
    assert book.requests == 1


def test_a_ledger_can_be_entered_again_later():
    book = ledger()
    for _ in range(2):
        with book:
            make(call())
    assert book.requests == 2


def test_a_block_that_raises_leaves_the_ledger():
    book = ledger()
    with pytest.raises(RuntimeError), book:
        raise RuntimeError
    make(call())
    assert book.requests == 0


def test_a_decorator_enters_the_ledger_for_each_call():
    book = ledger("decorated")

    @book
    def work(count: int) -> int:
        """Work."""
        for _ in range(count):
            make(call())
        return count

    assert work(2) == 2
    assert work.__doc__ == "Work."
    assert book.requests == 2


def test_a_decorator_enters_the_ledger_for_async_functions_too():
    book = ledger()

    @book
    async def work() -> None:
        await asyncio.sleep(0)
        make(call())

    async def main() -> None:
        task = work()
        make(call())  # before the coroutine runs: not inside
        await task

    asyncio.run(main())
    assert book.requests == 1


def test_a_generator_is_not_decorated_because_its_calls_would_be_missed():
    def pieces():
        yield 1

    async def later():
        yield 1

    for function in (pieces, later):
        with pytest.raises(ClientError, match="generator"):
            ledger()(function)


def test_tasks_keep_their_own_ledgers_apart():
    async def work(count: int) -> Ledger:
        with ledger() as own:
            for _ in range(count):
                await asyncio.sleep(0)
                make(call())
        return own

    async def main() -> tuple[Ledger, list[Ledger]]:
        with ledger() as all_of_them:
            return all_of_them, await asyncio.gather(*(work(count) for count in range(4)))

    whole, parts = asyncio.run(main())
    assert whole.requests == 6
    assert [part.requests for part in parts] == [0, 1, 2, 3]


def test_a_thread_counts_where_it_enters_the_ledger_or_gets_the_context():
    book = ledger()

    def entered() -> None:
        with book:
            make(call())

    with book:
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=entered),
            threading.Thread(target=context.run, args=(make, call())),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert book.requests == 2


def test_no_call_is_lost_between_threads():
    book = ledger()

    def work() -> None:
        with book:
            for _ in range(200):
                make(call(2, 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (book.requests, book.cached_tokens) == (1_600, 1_600)


def test_a_call_that_is_still_open_counts_as_incomplete():
    with ledger() as book:
        make()
    assert book.totals.incomplete == 1
    assert "1 request (1 incomplete)" in str(book)


def test_an_entry_is_settled_once():
    with ledger() as book:
        entry = open_entry()
        entry.close(Status.COMPLETE, call())
        entry.close(Status.CUT_OFF, Savings())
    assert book.entries[0].status is Status.COMPLETE
    assert book.cached_tokens == 80


def test_calls_that_do_not_report_are_left_out_of_the_ratio():
    book = ledger()
    book.add(call(100, 50))
    book.add(Savings(prompt_tokens=900))
    assert book.hit_ratio == 0.5
    assert book.totals.reported == 1
    assert "1 of 2 calls reported" in str(book)


def test_an_empty_ledger_has_no_ratio():
    assert ledger().hit_ratio is None
    assert "0 requests" in str(ledger())


def test_currencies_are_not_added_to_one_another():
    book = ledger()
    book.add(call(cost=Cost(1, 2, 1, "a", "USD")))
    book.add(call(cost=Cost(1, 2, 1, "b", "EUR")))
    assert book.totals.cost is None


def test_causes_are_added_up_by_source_line():
    book = ledger()
    for line in (42, 7, 42):
        book.add(rich_call(line))
    book.add(call(missed=Missed(9_999, "first_seen")))
    assert [(item.cause, item.tokens, item.calls) for item in book.misses()] == [
        ("prompt changed at /app/agent.py:42", 800, 2),
        ("prompt changed at /app/agent.py:7", 400, 1),
    ]


def test_a_causes_milliseconds_and_money_are_added_up_where_they_are_reported():
    book = ledger()
    known = {"ms": Estimate(61, 55, 68, 9), "cost": 0.0004}
    for more in (known, {}, known):
        book.add(call(missed=Missed(400, "prompt_changed", **more)))
    (item,) = book.misses()
    assert (item.tokens, item.calls, item.ms) == (1_200, 3, 122)
    assert item.cost == pytest.approx(0.0008)


def test_a_ledger_prints_as_a_table_of_80_columns():
    book = ledger("checkout")
    for line in (42, 7, 42):
        book.add(rich_call(line))
    text = str(book)
    assert max(map(len, text.splitlines())) <= 80
    assert text == (
        "checkout: 3 requests\n"
        "  prompt tokens              3,000\n"
        "  cached tokens              1,800  60.0 % hit ratio\n"
        "  computed tokens            1,200\n"
        "  prefill saved             150 ms  [120 to 180] estimate\n"
        "  money saved              $0.0060  of $0.0090\n"
        "  read again\n"
        "    800 tokens in 2 calls: the prompt changed at token 600 in x\n"
        "      (`/app/agent.py:42`)\n"
        "    400 tokens in 1 call: the prompt changed at token 600 in x\n"
        "      (`/app/agent.py:7`)\n"
        "  note: text is noise, timings are real"
    )


def test_ledgers_of_several_processes_add_up(tmp_path):
    code = """
import json, sys
from stemfirst import Ledger
from stemfirst.reports import Cost, Estimate, Times
from stemfirst.savings import Missed, Savings

book = Ledger("worker")
times = Times(0, 1, 0, 1, 0, None, Estimate(50, 40, 60, 9))
missed = Missed(400, "prompt_changed", ms=Estimate(61, 55, 68, 9), cost=0.0004)
for _ in range(int(sys.argv[1])):
    book.add(Savings(prompt_tokens=1_000, cached_tokens=600, time=times, missed=missed,
                     cost=Cost(1, 2, 1, "hour"), notice="noise"))
print(json.dumps(book.to_json()))
"""
    states = [
        json.loads(subprocess.run([sys.executable, "-c", code, count], capture_output=True,
                                  text=True, check=True).stdout)
        for count in ("1", "2")
    ]  # fmt: skip
    book = Ledger.merged(states, name="all workers")
    alone = ledger("all workers")
    for state in states:
        for _ in range(state["totals"]["requests"]):
            alone.add(call(1_000, 600))
    assert (book.requests, book.prompt_tokens, book.cached_tokens) == (3, 3_000, 1_800)
    assert book.totals.prefill_ms_saved == Estimate(150, 120, 180, 9, None)
    (cause,) = book.misses()
    assert (cause.tokens, cause.calls, cause.ms) == (1_200, 3, 183)
    assert book.notices() == {"noise"}
    assert "all workers: 3 requests" in str(book)
    assert Ledger.merged([book.to_json()], name="again").totals == book.totals


@pytest.mark.parametrize("state", [{}, {"v": 2}, {"v": 1, "totals": 1}], ids=str)
def test_what_is_no_ledgers_state_is_said_so(state):
    with pytest.raises(ClientError, match="no ledger's state"):
        Ledger.merged([state])


def test_a_ledger_shows_itself_in_a_terminal_and_a_notebook():
    rich = pytest.importorskip("rich.console", reason="pip install rich")
    book = ledger("check<out>")
    for line in (42, 7):
        book.add(rich_call(line))
    console = rich.Console(width=80, record=True, file=io.StringIO())
    console.print(book)
    text = console.export_text()
    assert "check<out>: 2 requests" in text
    assert "60.0 % hit ratio" in text
    assert "[120 to 180]" not in text
    assert "400 tokens in 1 call" in text
    html = book._repr_html_()
    assert "check&lt;out&gt;: 2 requests" in html
    assert "width:60.0%" in html
    assert html.count("<li>") == 2


def test_a_measured_error_of_the_estimates_is_shown():
    book = ledger()
    for error in (0.2, 0.04):
        times = Times(0, 1, 0, 1, 1, 1, Estimate(50.0, 40.0, 60.0, 30, error, shadows=23))
        book.add(call(time=times))
    assert "    off by                     4 %  median of 23 runs without the cache" in str(book)
