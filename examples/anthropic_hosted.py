"""Anthropic's hosted models through Anthropic's own client, with breakpoints by tier."""

import anthropic
from stemfirst import Prompt, hole, instrument, ledger, request, sending, static, tenant

MODEL = "claude-opus-5-5"

POLICY = Prompt(
    static("You are the support agent of a shop for outdoor gear. " + "Be kind and brief. " * 400),
    tenant("The customer is in the club.", name="club"),
    request(hole("question")),
)


def main() -> None:
    client = instrument(anthropic.Anthropic())
    with ledger("hosted") as book:
        for question in ("Where is my parcel?", "Can I send it back?"):
            rendered = POLICY.render(question=question)
            shape = rendered.anthropic(model=MODEL, ttl={"static": "1h"})
            with sending(rendered):  # so that the ledger knows the prompt
                message = client.messages.create(model=MODEL, max_tokens=64, **shape)
            print(message.content[0].text if message.content[0].type == "text" else "")
    print(book)


if __name__ == "__main__":
    main()
