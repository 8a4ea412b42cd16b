"""An agent whose conversation is append-only, so that each turn pays for its own text only."""

import json
from datetime import UTC, datetime

from stemfirst import Client, Conversation, Prompt, ledger, request, static, volatile

MAX_STEPS = 4


def find_order(number: str) -> str:
    """Look up an order by its number."""
    return f"Order {number} left the warehouse yesterday."


POLICY = Prompt(
    static("You are the support agent of a shop for outdoor gear. " + "Be kind and brief. " * 60),
    tools=[find_order],
)


def answer(client: Client, talk: Conversation, question: str) -> str:
    """Return the agent's answer to the customer's next message."""
    # The clock belongs to the turn: it stands behind all that is stable, and is stored with it.
    now = datetime.now(UTC).isoformat(timespec="minutes")
    turn = talk.turn(request(question), volatile(f"(It is {now}.)"))
    for _ in range(MAX_STEPS):
        reply = client.ask(turn, max_tokens=24)
        talk.add(turn, reply.message)
        calls = reply.message.get("tool_calls") or []
        if not calls:
            return reply.text
        for call in calls:
            given = json.loads(call["function"]["arguments"])
            talk.append(
                {"role": "tool", "tool_call_id": call["id"], "content": find_order(**given)}
            )
        turn = talk.turn()
    return "I could not find out."


def main() -> None:
    talk = Conversation(POLICY)
    with Client() as client, ledger("agent") as book:
        for question in ("Where is order 17?", "And when will it come?", "Thank you!"):
            answer(client, talk, question)
    print(book)


if __name__ == "__main__":
    main()
