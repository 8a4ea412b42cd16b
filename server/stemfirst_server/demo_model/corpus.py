"""Text of our own to train the demo tokenizer on: plain English, JSON, Markdown and code.

Knows: word lists and a few sentence shapes, drawn with a fixed seed, so that the same text comes
out everywhere. Does not know tokenizers. The text means nothing; only the frequencies of its
words and endings matter, which follow Zipf's law down each list.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def _words(block: str) -> list[str]:
    return block.split()


_NOUNS = _words("""
order customer account refund policy product payment question answer time day request message
date address item price agent ticket support user name service case number store delivery email
information issue system return document context response tool warranty card step rule team
shipment exchange option problem example result section data list text file model token prompt
cache server language source code function value word line page field format code type key state
condition reason change error test history profile country region office company business staff
manager department plan budget report account invoice receipt package box label carrier postcode
warehouse stock size color part battery screen cable charger phone laptop tablet device printer
camera keyboard speaker monitor bag shoe shirt jacket gift voucher discount coupon subscription
membership level tier month week year hour minute second morning evening night weekend holiday
season contract agreement term clause law court tax fee cost charge amount balance credit debit
bank transfer currency dollar euro percent rate limit minimum maximum average total sum share
customer client partner vendor supplier buyer seller owner member guest visitor person people
child parent friend family student teacher doctor patient nurse lawyer engineer developer writer
reader editor author expert assistant helper worker driver pilot farmer artist player water air
fire earth light sound heat power energy food meal kitchen table chair door window wall floor
room house home building street road city town village bridge river sea island mountain forest
field garden tree flower animal dog cat horse bird fish car bus train plane ship boat bike travel
trip journey map ticket hotel restaurant shop market school university hospital library museum
station airport book story letter paper note picture image photo video film music song game sport
match race goal score point event meeting conference call talk speech idea thought opinion view
fact evidence theory method process project task goal research study science history art culture
society government country nation state war peace world life death health body head hand face eye
heart mind memory experience knowledge skill ability training education job work career industry
trade growth loss profit risk chance choice decision action effort support attention control
access security privacy permission password login session browser website link button menu form
search query index table column row record database schema version release update upgrade install
setting option feature interface design style layout class object method variable parameter
argument property attribute instance module package import export string integer boolean array
dictionary set loop branch exception test request header body status path route endpoint network
connection client host port address protocol packet signal thread process queue buffer memory disk
storage backup log metric trace alert incident outage deployment pipeline container cluster node
weather temperature rain snow wind storm summer winter spring autumn north south east west place
area side end beginning middle part piece group set kind sort way thing matter
""")
_VERBS = _words("""
return help answer use need ask check send receive contact include follow provide offer change
cancel confirm refund ship deliver order pay charge apply open close start stop explain describe
write read show find keep hold move place call name list count match search select filter sort
add remove update create delete store save load print display format parse convert translate
summarize compare measure report record track review approve reject accept refuse allow require
expect want like work look seem turn play live believe happen talk learn lead understand watch
wait serve die build stay fall reach kill raise pass sell decide pull break pick wear support
produce eat cover catch draw choose cause point listen realize involve visit collect protect claim
train reduce increase improve prevent protect avoid handle manage plan prepare design develop test
deploy install configure enable disable connect share publish protect verify validate replace
repair inspect escalate assist guide recommend suggest mention note consider discuss agree
""")
_ADJECTIVES = _words("""
new good customer first last long great little own other old right big high different small large
next early young important few public bad same able available valid free full clear simple short
helpful polite correct relevant current previous final additional specific general common special
certain possible necessary required optional original standard express international local open
closed easy hard fast slow late recent real true false empty complete partial exact similar main
major minor single double daily weekly monthly annual average total private personal social
political economic legal medical technical digital physical natural human strong weak safe secure
dangerous cheap expensive hot cold warm cool dry wet clean dirty quiet loud bright dark deep
shallow wide narrow thick thin heavy light soft smooth rough sharp round flat happy sad angry
careful serious strict flexible friendly professional concise detailed accurate reliable stable
broken damaged defective missing unused unopened eligible responsible active pending
""")
_ADVERBS = _words("""
not only also very then now here there always never often again still already just even well
however therefore otherwise usually carefully clearly directly immediately exactly currently
previously recently finally quickly slowly politely together instead perhaps maybe almost nearly
""")
_GLUE = _words("""
the of and to a in is that for it as with on be by this are at from or an if you your we our they
their must should may can will not have has was were been do does which when what who where how why
all any each every no some more most than but so because before after between within without
under over above below into about against during until while since per via unless except
""")
_NAMES = _words("""
Anna Ben Clara David Emma Frank Grace Henry Ivan Julia Karen Leo Maria Nina Oscar Paul Quentin Rosa
Sam Tina Uma Victor Wendy Xavier Yara Zoe London Paris Berlin Madrid Rome Tokyo Monday Tuesday
Wednesday Thursday Friday Saturday Sunday January February March April May June July August
September October November December English French German Spanish Europe America Asia
""")
_KEYS = _words("""
id name type description parameters properties required string number integer object array
content role user system assistant tool function arguments order_id customer_id query status
created_at amount currency items quantity sku reason notes email address city country
""")


def _zipf(rng: random.Random, words: Sequence[str]) -> str:
    """Return a word; the early ones of a list come more often."""
    return words[int(len(words) ** rng.random()) - 1]


def _verb_form(rng: random.Random, verb: str) -> str:
    stem = verb[:-1] if verb.endswith("e") else verb
    return rng.choice((verb, verb, verb + "s", stem + "ed", stem + "ing"))


def _noun_form(rng: random.Random, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeo" else noun + "s"
    return rng.choice((noun, noun, noun, plural, noun + "'s"))


def _phrase(rng: random.Random) -> str:
    words = [_zipf(rng, _GLUE)]
    if rng.random() < 0.5:
        words.append(_zipf(rng, _ADJECTIVES))
    if rng.random() < 0.15:
        words.append(_zipf(rng, _ADVERBS))
    words.append(_noun_form(rng, _zipf(rng, _NOUNS)))
    return " ".join(words)


def _sentence(rng: random.Random) -> str:
    parts = [_phrase(rng), _verb_form(rng, _zipf(rng, _VERBS)), _phrase(rng)]
    while rng.random() < 0.55:
        parts += [_zipf(rng, _GLUE), _phrase(rng)]
    if rng.random() < 0.3:
        parts.append(_zipf(rng, _ADVERBS))
    if rng.random() < 0.2:
        parts.insert(rng.randrange(len(parts)), rng.choice(_NAMES))
    if rng.random() < 0.2:
        parts.append(f"{_zipf(rng, _GLUE)} {rng.randrange(1, 1000)} {_zipf(rng, _NOUNS)}s")
    text = " ".join(parts)
    return text[0].upper() + text[1:] + rng.choice(".....?!:")


def _json(rng: random.Random) -> str:
    value = {
        _zipf(rng, _KEYS): rng.choice(
            (rng.randrange(10_000), _sentence(rng), True, None, [_zipf(rng, _NOUNS)])
        )
        for _ in range(rng.randrange(1, 6))
    }
    return json.dumps(value, indent=rng.choice((None, None, 2)))


def _code(rng: random.Random) -> str:
    name, noun = _zipf(rng, _VERBS), _zipf(rng, _NOUNS)
    return (
        f"def {name}_{noun}({noun}: str, {_zipf(rng, _NOUNS)}: int = {rng.randrange(100)}) -> None:"
        f'\n    """{_sentence(rng)}"""\n    return {noun}.{_zipf(rng, _VERBS)}('
        f'"{_zipf(rng, _NOUNS)}")\n'
    )


def _date(rng: random.Random) -> str:
    return (
        f"{rng.randrange(2020, 2030)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
        f"T{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}Z"
    )


def documents(count: int = 8000, *, seed: int = 7) -> Iterator[str]:
    """Yield `count` short documents, the same ones for the same seed."""
    rng = random.Random(seed)  # noqa: S311
    for _ in range(count):
        shape = rng.random()
        if shape < 0.7:
            yield " ".join(_sentence(rng) for _ in range(rng.randrange(2, 7)))
        elif shape < 0.82:
            title = f"{'#' * rng.randrange(1, 4)} {_phrase(rng).title()}"
            bullets = "\n".join(
                f"{rng.choice(('-', '*', f'{n}.'))} {_sentence(rng)}"
                for n in range(1, rng.randrange(3, 8))
            )
            yield f"{title}\n\n{bullets}\n"
        elif shape < 0.92:
            yield _json(rng)
        elif shape < 0.96:
            yield _code(rng)
        else:
            yield f"{_date(rng)} {rng.choice(_NAMES)} <{_zipf(rng, _NOUNS)}@example.com>"
