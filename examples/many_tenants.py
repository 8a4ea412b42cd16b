"""Many customers at once: all share the policy, and each shares its own text with itself."""

import asyncio

from stemfirst import AsyncClient, Prompt, hole, ledger, request, static, tenant

POLICY = Prompt(
    static("You are a support agent for many shops. " + "Be kind and brief. " * 60, name="policy"),
    tenant(hole("shop"), name="shop"),
    request(hole("question"), name="question"),
)

SHOPS = {
    "tents": "You work for Tents & Co. " + "Tents are made to measure. " * 20,
    "boots": "You work for Boot House. " + "Boots are resoled for free. " * 20,
}


async def main() -> None:
    async with AsyncClient() as client:
        with ledger("tenants") as book:
            # One request first: what it stores, all others find.
            await client.ask(POLICY, shop=SHOPS["tents"], question="Open?", max_tokens=1)
            await asyncio.gather(
                *(
                    client.ask(POLICY, shop=text, question=question, max_tokens=8)
                    for text in SHOPS.values()
                    for question in (
                        "Where is my order?",
                        "Can I change it?",
                        "What is it made of?",
                    )
                )
            )
    print(book)
    for segment, use in book.by_segment().items():
        print(f"{segment:>10}: {use.cached_tokens:,} of {use.prompt_tokens:,} tokens cached")


if __name__ == "__main__":
    asyncio.run(main())
