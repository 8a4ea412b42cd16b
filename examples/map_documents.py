"""One question over many rows: the order of rows and fields decides how much is shared."""

from stemfirst import Client, Prompt, hole, ledger, order_for_sharing, request, static

TERMS = {
    "gold": "Gold: free returns within a year, a person on the phone at night. " * 8,
    "free": "Free: returns within 30 days, answers by mail. " * 8,
}

TICKETS = [
    {"ticket": number, "text": text, "terms": TERMS[("gold", "free")[number % 2]]}
    for number, text in enumerate(
        ("The zip broke.", "Wrong size.", "Too late.", "A pole is bent.", "Where is it?", "Thanks!")
    )
]

CLASSIFY = Prompt(
    static("Classify the ticket: product, delivery or other. One word."), request(hole("row"))
)


def main() -> None:
    ordering = order_for_sharing(TICKETS)
    labels = [""] * len(TICKETS)
    with Client() as client, ledger("in the best order") as book:
        for row in ordering.rows:
            labels[row.index] = client.ask(CLASSIFY, row=row.text, max_tokens=4).text
    print(f"{ordering.gain:.0%} of the rows' text is shared by their order alone")
    print(book)


if __name__ == "__main__":
    main()
