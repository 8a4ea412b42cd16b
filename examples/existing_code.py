"""Code that has a client already: wrap it once, and leave the calls as they are."""

import sys

import openai
from stemfirst import instrument, ledger, record, savings_of

POLICY = "You are the support agent of a shop for outdoor gear. " + "Be kind and brief. " * 60


def main(recording: str = "calls.jsonl") -> None:
    client = instrument(openai.OpenAI())
    model = client.models.list().data[0].id
    with ledger("existing code") as book, record(recording):
        for question in ("Where is my parcel?", "Can I send it back?"):
            completion = client.chat.completions.create(
                model=model,
                messages=[
                    {"role": "system", "content": POLICY},
                    {"role": "user", "content": question},
                ],
                max_tokens=8,
            )
            print(savings_of(completion))
    print(book)
    print(f"stemfirst audit {recording}  # says what these calls lost, and why")


if __name__ == "__main__":
    main(*sys.argv[1:])
