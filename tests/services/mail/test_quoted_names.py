"""A stranger's name in a letter: readable if it is a name, and never a link, an instruction to the client, or the end of the quotation."""

import re
import unicodedata

import pytest

from services.mail import quoted_names

NAMES = [
    "Northwind",
    "Tom Halvorsen",
    "Smith & Sons, Ltd.",
    "O'Brien-Jones (Dublin)",
    "J. R. R. Tolkien",
    "Agenda 2030",
    "Zoë Łukasz Şahin",
    "株式会社ノースウィンド",
    "שלום עולם",
    "شركة الشمال",
    "नॉर्थविंड",
    "Việt Nam",
]

LINKS = [
    "https://evil.example/x",
    "HTTPS://EVIL.EXAMPLE",
    "hxxp:evil.example",
    "//evil.example/x",
    "\\\\evil.example\\share",
    "evil.example",
    "evil.example/x?y=1#z",
    "www.evil.example",
    "a.b.c.evil.example.",
    "Your account is locked, see evil.example.",
    "192.0.2.1",
    "[2001:db8::1]",
    "2001:db8::1",
    "localhost:8080/x",
    "mailto:eve@evil.example",
    "eve@evil.example",
    "eve＠evil．example",
    "tel:+15550100",
    "javascript:alert(1)",
    "evil。example",
    "evil．example",
    "evil｡example",
    "evil․example",
    "evil\u200b.\u200bexample",
    "ｈｔｔｐｓ：／／ｅｖｉｌ．ｅｘａｍｐｌｅ",
    "https:⁄⁄evil.example∕x",
    "℀evil.example",
    "⒈evil",
    "münchen.example",
    "xn--mnchen-3ya.example",
    "почта.рф",
    "<a href='https://evil.example'>x</a>",
    "[x](https://evil.example)",
    "evil.\u0301example",
    "e\u0301vil.e\u0301xample",
    "evil.example" * 40,
]

PHONE_NUMBERS = [
    "+1 900 555 0100",
    "1-900-555-0100",
    "(900) 555.0100",
    "5550100",
    "Call 0900 / 123 456 now",
    "٠٩٠٠١٢٣٤٥٦",
    "９００５５５０１００",
    "9\u200b0\u200b0\u200b5\u200b5\u200b5\u200b0",
    "9️⃣0️⃣0️⃣5️⃣5️⃣5️⃣0️⃣",
    "0900ー555ー0100",
    "0900ـ555ـ0100",
    "0900\u01c0555\u01c00100",
    "0900\u3127555\u31270100",
    "09 - 00 - 55",
    "1-800-FLOWERS",
]

TRICKS = [
    "x\r\nBcc: eve@evil.example\r\n\r\nhello",
    "x\u2028\u2029\x85\x0b\x0cy",
    "x\0y\x1b[31mz",
    "\u202eelpmaxe.live\u202c",
    "\u2066\u2067x\u2069",
    "\ufeff\u00ad\u180e\u200f",
    "x” on Gatepost. “y",
    'x" y "z',
    "x“ y „z",
    "x« y »z",
    "xˮ y ʺz״",
    "x＂y〃z″",
    "=?utf-8?q?x=0D=0A?=",
    "Z" + "\u0335\u0336\u0337\u0338" * 50 + "algo",
    "\u0301" * 60,
    "\U000e0041\U000e0042",
    "\ud800",
    "🚀" * 60,
    "👨\u200d👩\u200d👧\u200d👦" * 30,
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_as_it_is(name: str) -> None:
    assert quoted_names.plain(name) == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("evil.example/x", "evil. example x"),
        ("eve@evil.example", "eve evil. example"),
        ("Rock’n’Roll", "Rock'n'Roll"),
        ("2023–2024", "…"),
        ("24/7 Support", "24 7 Support"),
        ("a" * 61, "a" * 59 + "…"),
        ("a" * 60, "a" * 60),
        ("ab " * 40, "ab " * 19 + "ab…"),
        ("🚀 Acme", "Acme"),
        ("🚀🚀", ""),
        ("\u3164\u3164", ""),
        ("\uffa0\u115f", ""),
        ("Kim\u3164Lee", "Kim Lee"),
        ("", ""),
        ("...", ""),
        ("-- ''", ""),
    ],
)
def test_what_is_left_of_a_name(name: str, shown: str) -> None:
    assert quoted_names.plain(name) == shown


@pytest.mark.parametrize("name", [*NAMES, *LINKS, *PHONE_NUMBERS, *TRICKS])
def test_nothing_in_a_letter_becomes_a_link_or_ends_the_quotation(name: str) -> None:
    shown = quoted_names.plain(name)
    assert len(shown) <= 60
    assert not set(shown) & set(':/\\@<>[]{}"“”„‟«»″=?#%+_*|~`')
    assert not re.search(r"[.。．｡․]\S", shown), "a dot is followed by a space"
    assert {unicodedata.category(character)[0] for character in shown} <= set("LMNPZ")
    assert all(character == " " for character in shown if unicodedata.category(character)[0] == "Z")
    assert sum(map(str.isdecimal, shown)) <= 4 or not re.search(r"\d[^a-z]{3,}\d", shown, re.IGNORECASE)
    assert not re.search(r"[\u0300-\u036f\u20d0-\u20ff]{5}", shown)


@pytest.mark.parametrize("name", PHONE_NUMBERS)
def test_a_phone_number_is_left_out(name: str) -> None:
    assert "…" in quoted_names.plain(name)
