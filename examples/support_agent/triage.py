"""Sort incoming tickets before an agent sees them: one call a ticket."""

from openai import OpenAI


def triage_prompt(ticket: str) -> str:
    """Return what the model is asked about one ticket."""
    return f"""\
Ticket: {ticket}

## Task
You sort the tickets of an outdoor shop into queues. Read the ticket and name one queue. Judge by \
what the customer wants to happen, not by how they feel about it.

## Queues
- shipping: a parcel is late, lost, damaged, or at the wrong place; an address must change.
- returns: the customer wants to send goods back, or has done so and waits for the money.
- warranty: goods broke or wore out in use; a repair, a spare part, a recall.
- payment: a card was refused, a voucher fails, an invoice is wrong, VAT, gift cards.
- advice: questions about sizes, materials, compatibility or availability, nothing bought yet.
- account: login, addresses, newsletters, the Trail Club, deletion of data.
- urgent: an injury, a danger, a recalled product in use, a threat, law or press.

## Rules
- If two queues fit, take the one that the customer would be angrier about being ignored by.
- A refund for a parcel that never came is shipping, not returns.
- A fault found on the day of delivery is returns; a fault found after use is warranty.
- A question about a voucher during checkout is payment; a question about the club is account.
- Injury or danger is urgent, whatever else the ticket says.
- Spam and empty tickets go to account.

## Reply
The name of one queue in lower case, and nothing else.

Queue:"""


def triage(client: OpenAI, model: str, ticket: str) -> str:
    """Return the queue for a ticket."""
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": triage_prompt(ticket)}],
        max_tokens=4,
    )
    return (completion.choices[0].message.content or "").strip()
