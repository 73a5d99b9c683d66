r"""Texts that are valid JSON, invalid JSON, or left to implementations by RFC 8259.

Each is UTF-8 bytes with a name that describes it. Short pieces (numbers, strings, literals) occur alone, in
an array and in an object, because a reader may fail in only one of these places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

PLACES: Final[Mapping[str, bytes]] = {
    "alone": b"%b",
    "in an array": b"[%b]",
    "in an object": b'{"a":%b}',
}

VALID_PIECES: Final[Mapping[str, Sequence[str]]] = {
    "literal": ["null", "true", "false"],
    "number": [
        *("0", "-0", "1", "-1", "10", "1234567890", "9007199254740991", "-9007199254740991"),
        *("0.5", "-0.0", "1.25", "0.1e1", "1e0", "1E2", "1e+2", "1e-2", "-1.5E-2", "123.456e78", "0e0"),
        *("1e00", "20e01", "0.000000000000000000000000000001"),
    ],
    "string": [
        *('""', '"a"', '" "', '"\u00e9"', '"\u20ac"', '"\U0001f30d"', '"\u2028\u2029"', '"\x7f"', '"\ufffd"'),
        *(r'"\""', r'"\\"', r'"\/"', r'"\b\f\n\r\t"', r'"\u0000"', r'"\u0041"', r'"\u00e9"', r'"\uABCD"'),
        *(r'"\ud83c\udf0d"', r'"\u002f"', '"/* no comment */"', '"[1,2"', r'"\\u0041"', '"\ufdd0"'),
    ],
    "array": ["[]", "[ ]", "[1]", "[1,2]", "[[],[[]]]", '[null,true,1,"a",{}]', "[\n1\n,\t2\r]"],
    "object": [
        *("{}", "{ }", '{"a":1}', '{"a":1,"b":2}', '{"":0}', '{"a":{"b":{"c":[]}}}', '{ "a" : 1 }'),
        *(r'{"\u0061":1}', '{"a":null}', '{"__proto__":{}}', '{"\u00e9":1}', r'{"\u0000":1}'),
    ],
}

VALID_WHOLE: Final[Mapping[str, bytes]] = {
    "space before": b" \t\r\n1",
    "space after": b"1 \t\r\n",
    "a long array": b"[" + b",".join([b"0"] * 10_000) + b"]",
    "a long string": b'"' + b"x" * 100_000 + b'"',
    "many keys": b"{" + b",".join(b'"k%d":%d' % (i, i) for i in range(1000)) + b"}",
    "nested a hundred times": b"[" * 100 + b"]" * 100,
}

INVALID_PIECES: Final[Mapping[str, Sequence[str]]] = {
    "literal": [
        *("nul", "nulll", "Null", "NULL", "tru", "True", "TRUE", "fals", "False", "None", "nil", "undefined"),
        *(
            "NaN",
            "nan",
            "-NaN",
            "Infinity",
            "-Infinity",
            "+Infinity",
            "inf",
            "-inf",
            "a",
            "null true",
            "\\u0061",
        ),
    ],
    "number": [
        *(
            "+1",
            "01",
            "-01",
            "00",
            "1.",
            "-1.",
            ".5",
            "-.5",
            "1e",
            "1E",
            "1e+",
            "1e-",
            "1.e1",
            "1e1.5",
            "1.2.3",
        ),
        *(
            "-",
            "--1",
            "+-1",
            "- 1",
            "1 0",
            "1_000",
            "0x1F",
            "0o17",
            "0b1",
            "1a",
            "1f",
            "1n",
            "1L",
            "0.1.",
            "1e1e1",
        ),
        *(
            "\uff11",
            "\u0661",
            "\u00bd",
            "\u22121",
            "1\u00a0",
            "1,000.5.1",
            "$1",
            "1%",
            "(1)",
            "1/2",
            "0e",
            "0.e1",
        ),
    ],
    "string": [
        *(
            '"',
            '"a',
            'a"',
            "'a'",
            "`a`",
            "\u201ca\u201d",
            '"a""b"',
            '"a" "b"',
            '"a\\"',
            '"\\',
            '"\\u',
            '"\\u12',
        ),
        *(r'"\x41"', r'"\a"', r'"\v"', r'"\0"', r'"\e"', r'"\'"', r'"\U0001F30D"', r'"\u{1f30d}"', '"\\ "'),
        *(
            r'"\u12"',
            r'"\u123"',
            r'"\u12G4"',
            r'"\u 041"',
            r'"\u-041"',
            r'"\u+041"',
            r'"\u0x41"',
            '"\\\u00e9"',
        ),
        *(r'"\ud83c\u"', r'"\ud83c\udf0"', r'"\N{BULLET}"', 'r"a"', 'b"a"', 'u"a"', '"""a"""', '"\\\n"'),
        *(f'"a{chr(control)}b"' for control in range(0x20)),
    ],
    "array": [
        *(
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[,]",
            "[1,,2]",
            "[1 2]",
            "[1;2]",
            "[1:2]",
            "[1}",
            "[[1]",
            "[1]]",
        ),
        *("(1,2)", "[1,2)", "[...]", '["a" 1]', "[1\n2]", "[1,\u00a02]", "[#1]", "[1,2,,]", "<1>"),
    ],
    "object": [
        *("{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', '{,"a":1}', '{"a":1,,"b":2}', '{"a" 1}'),
        *('{"a"::1}', '{"a"=1}', '{"a"=>1}', '{"a",1}', '{"a"}', "{1:1}", "{a:1}", "{'a':1}", "{null:1}"),
        *('{"a":1 "b":2}', '{"a":1;"b":2}', '{"a":1]', "{[1]:1}", '{"a":1}}', '{"a":}', "{:1}", '{"a":1:2}'),
        *('{"a":,"b":1}', '{"a" "b":1}', "{{}}", '{"a":1, "b"}', '{"a":1/**/}', '{"a":1}#'),
    ],
    "comment": [
        "/* a */1",
        "1/* a */",
        "1// a",
        "// a\n1",
        "# a\n1",
        "<!-- a -->1",
        "1--",
        "/**/",
        "/",
        "1 /* a",
    ],
}

INVALID_WHOLE: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "a space": b" ",
    "a line": b"\n",
    "a NUL": b"\x00",
    "a NUL after": b"1\x00",
    "two values": b"{} {}",
    "two lines of JSON": b"{}\n{}\n",
    "a form feed": b"\x0c1",
    "a vertical tab": b"1\x0b",
    "a no-break space": b"\xc2\xa01",
    "a word joiner": b"\xe2\x81\xa01",
    "a page": b"<!doctype html><title>502</title>",
    "conflict markers": b'<<<<<<< HEAD\n{"a":1}\n=======\n{"a":2}\n>>>>>>> other\n',
    "a pickle": b"\x80\x04K\x01.",
    "a zip": b"PK\x03\x04" + b"\x00" * 26,
    "YAML": b"a: 1\nb: [2]\n",
    "a server-sent event": b'data: {"a":1}\n\n',
    "JSON of a callback": b'callback({"a":1});',
    "a guard before it": b")]}',\n{}",
    "a record separator": b"\x1e{}",
}

INVALID_BYTES: Final[Mapping[str, bytes]] = {
    "a byte order mark": b"\xef\xbb\xbf%b",
    "UTF-16, little end": "\ufeff[1]".encode("utf-16-le"),
    "UTF-16, big end": "\ufeff[1]".encode("utf-16-be"),
    "UTF-16 without a mark": '"abc"'.encode("utf-16-le"),
    "UTF-32": "[1]".encode("utf-32"),
    "Latin-1": b'"caf\xe9"',
    "a lone continuation": b'"\x80"',
    "two lone continuations": b'"\x80\xbf"',
    "a lone lead of two": b'"\xc3"',
    "a lone lead of three": b'"\xe2\x82"',
    "a lone lead of four": b'"\xf0\x9f\x8c"',
    "a slash in two bytes": b'"\xc0\xaf"',
    "a slash in three": b'"\xe0\x80\xaf"',
    "a slash in four": b'"\xf0\x80\x80\xaf"',
    "a NUL in two": b'"\xc0\x80"',
    "half a pair": b'"\xed\xa0\xbc"',
    "the other half": b'"\xed\xbc\x8d"',
    "a pair in six bytes": b'"\xed\xa0\xbc\xed\xbc\x8d"',
    "beyond the last plane": b'"\xf4\x90\x80\x80"',
    "five bytes": b'"\xf8\x88\x80\x80\x80"',
    "six bytes": b'"\xfc\x84\x80\x80\x80\x80"',
    "FE": b'"\xfe"',
    "FF": b'"\xff"',
    "cut in a character": b'["\xe2\x82',
    "a bad key": b'{"\xff":1}',
    "bad space": b"[1\xff]",
}

OPEN_WHOLE: Final[Mapping[str, bytes]] = {
    "a key twice": b'{"a":1,"a":2}',
    "a key twice, once escaped": rb'{"a":1,"\u0061":2}',
    "half a pair": rb'"\ud83c"',
    "the other half": rb'"\udf0d"',
    "halves the wrong way round": rb'"\udf0d\ud83c"',
    "half a pair and a letter": rb'"\ud83cx"',
    "two first halves": rb'"\ud83c\ud83c"',
    "half a pair as a key": rb'{"\ud83c":1}',
    "beyond 2**53": b"9007199254740993",
    "beyond 2**64": b"18446744073709551616",
    "far below": b"-99999999999999999999999999999999",
    "five thousand digits": b"1" * 5000,
    "five thousand digits after the point": b"0." + b"1" * 5000,
    "too large": b"1e400",
    "too small": b"-1e400",
    "hardly anything": b"1e-400",
    "an endless exponent": b"1e" + b"9" * 1000,
    "minus nothing": b"-0",
    "nested a thousand times": b"[" * 1000 + b"]" * 1000,
    "nested a hundred thousand times": b"[" * 100_000 + b"]" * 100_000,
    "objects a hundred thousand deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "opened a hundred thousand times": b"[" * 100_000,
    "opened as objects": b'{"a":' * 100_000,
    "opened in turn": b'[{"":' * 50_000,
}
"""Texts that a reader may reject, valid by the grammar or not, but that must not make it crash or hang."""


def _placed(pieces: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, bytes]]:
    for kind, texts in pieces.items():
        for text in texts:
            for place, around in PLACES.items():
                yield f"{kind} {text!a} {place}", around % text.encode("utf-8")


def valid() -> dict[str, bytes]:
    """Return texts that every reader must accept."""
    return {**dict(_placed(VALID_PIECES)), **VALID_WHOLE}


def invalid() -> dict[str, bytes]:
    """Return texts that every reader must reject."""
    bytes_ = {f"bytes: {name}": data.replace(b"%b", b"[1]") for name, data in INVALID_BYTES.items()}
    return {**dict(_placed(INVALID_PIECES)), **INVALID_WHOLE, **bytes_}
