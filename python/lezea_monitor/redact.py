"""Takes secrets out of what is said of a run, before it leaves the process. Pure.

The agent has the same rules (src/attribution/secrets.ts); test/fixtures/secrets.json holds for both.
"""

import functools
import re
from typing import Any, List, Pattern, Tuple

HIDDEN = "[hidden]"

# What a secret is called in a text; the last of the name counts: a password's policy is none.
_WORD = (
    r"(?:passw(?:or)?d|passphrase"
    r"|(?:api|access|account|private|secret|signing|encryption|ssh)[_-]?key|secret|credential)s?"
    r"(?:[_-]?(?:id|value|hash))?"
)
# A tokenizer's own have such names.
_TOKEN_WORD = r"(?<!(?:bos|cls|eos|pad|sep|unk)[_-])(?<!mask[_-])token"
_QUOTED = r"\\?\"[^\"]{1,4096}\"|\\?'[^']{1,4096}'"
_EQUALS = " {0,3}= {0,3}"
# Nothing that was taken out already: the bracket after it is not its own.
_ASSIGNED = r"(?:" + _QUOTED + r"|(?!\[hidden\])[^\s&#;,\"']{1,4096})"
_COLON = r"\\?[\"']? {0,3}: {0,3}"


# Compiled when first used: importing this package is to be quick.
@functools.lru_cache(maxsize=None)
def _forms() -> List[Tuple[Pattern[str], str]]:
    return [
        # User and password of an address.
        (re.compile(r"([a-z][a-z0-9+.-]{0,30}://)[^/?#\s\"'<>]{0,512}@", re.I | re.A), r"\1"),
        # What signs an address.
        (
            re.compile(r"([?&](?:[\w-]{1,32}-)?sig(?:nature)?=)[^\s&#\"']{16,4096}", re.I | re.A),
            r"\1" + HIDDEN,
        ),
        # Options of a command line, a connection, an address's query, a call that failed:
        # password=…, password='…', --password …
        (re.compile("(" + _WORD + _EQUALS + ")" + _ASSIGNED, re.I | re.A), r"\1" + HIDDEN),
        (
            re.compile(
                "(" + _TOKEN_WORD + _EQUALS + r")(?![<\[/]|\d{1,9}(?![\w-]))" + _ASSIGNED,
                re.I | re.A,
            ),
            r"\1" + HIDDEN,
        ),
        # The shell's PWD is a folder.
        (re.compile("(pwd" + _EQUALS + ")(?!/)" + _ASSIGNED, re.I | re.A), r"\1" + HIDDEN),
        (
            re.compile(
                r"((?<!-)--(?:[\w-]{0,32}[_-])?(?:" + _WORD + "|pwd|" + _TOKEN_WORD + r") {1,3})"
                r"(?![-<\[])(?:" + _QUOTED + r"|[^\s\"']{1,4096})",
                re.I | re.A,
            ),
            r"\1" + HIDDEN,
        ),
        # A dictionary as text, a header: 'password': '…', X-Api-Key: …
        (
            re.compile(
                "(" + _WORD + _COLON + r")(?!null|none|true|false)"
                r"(?:" + _QUOTED + r"|[^\s,;\"'&{}()\[\]]{1,4096})",
                re.I | re.A,
            ),
            r"\1" + HIDDEN,
        ),
        (
            re.compile(
                "(" + _TOKEN_WORD + r"\\?[\"'] {0,3}: {0,3}\\?[\"'])(?![<\[])[^\s\"'\\]{16,4096}",
                re.I | re.A,
            ),
            r"\1" + HIDDEN,
        ),
        (
            re.compile(
                r"(authorization\\?[\"']? {0,3}[:=] {0,3}\\?[\"']?)"
                r"(?:[a-z]{1,16} {1,3})?[^\s\"',;]{1,4096}",
                re.I | re.A,
            ),
            r"\1" + HIDDEN,
        ),
        (
            re.compile(
                r"(?<![a-z0-9])bearer {1,3}(?=[a-z._~+/=-]{0,256}[0-9])[a-z0-9._~+/=-]{16,4096}",
                re.I | re.A,
            ),
            HIDDEN,
        ),
        (
            re.compile(
                r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?"
                r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
                re.S,
            ),
            HIDDEN,
        ),
        # As those who hand out keys and tokens write them.
        (
            re.compile(
                r"(?<![A-Za-z0-9])(?:A[KS]IA[0-9A-Z]{16}|gh[opsur]_\w{20,255}|github_pat_\w{20,255}"
                r"|glpat-[\w-]{20,255}|hf_[A-Za-z0-9]{20,255}|[rs]k_(?:live|test)_\w{16,255}"
                r"|xox[abeprs]-[\w-]{10,255}|AIza[\w-]{30,255}|ya29\.[\w-]{20,1024}"
                r"|SG\.[\w-]{16,64}\.[\w-]{16,128}|npm_[A-Za-z0-9]{36}|dop_v1_[0-9a-f]{64}"
                r"|dapi[0-9a-f]{32}|pypi-[\w-]{40,255}|hooks\.slack\.com/services/[\w/]{10,255})",
                re.A,
            ),
            HIDDEN,
        ),
        (
            re.compile(
                r"(?<![\w-])(?:sk-(?=[a-z_-]{0,255}[0-9A-Z])[\w-]{20,255}"
                r"|eyJ[\w-]{8,2048}\.[\w-]{8,2048}\.[\w-]{0,2048})",
                re.A,
            ),
            HIDDEN,
        ),
    ]


@functools.lru_cache(maxsize=None)
def _names() -> Pattern[str]:
    return re.compile(
        r"(?:passwords?|passwd|passphrases?|(?:^|_)(?:(?:db|ftp|mail|root|smtp|sql|sudo|user)_?pass|pwd"
        r"|secrets?(?:_value)?|(?:api|account|encryption|private|secret|signing|ssh)_?keys?"
        r"|access_?keys?(?:_id)?|credentials?|(?:auth|access|refresh|bearer)_?tokens?|authorization))\Z"
    )


# A tokenizer has short ones, numbers of them, marked ones as <|begin_of_text|>, and words.
_TOKEN = re.compile(r"(?:^|_)token\Z")
_NO_TOKEN = re.compile(r"\s|^[<\[]|^[a-z]+(?:[_-][a-z]+)+\Z")
TOKEN_CHARS = 16
_OPTION = re.compile(r"--?[A-Za-z][\w-]{0,63}\Z", re.A)


def without_secrets(text: str) -> str:
    """A text without what reads like a secret."""
    for form, instead in _forms():
        text = form.sub(instead, text)
    return text


def redacted(value: Any, name: str = "") -> Any:
    """The same for JSON; under the name of a secret all goes but numbers and yes or no."""
    if isinstance(value, str):
        return HIDDEN if _is_secret(name, value) else without_secrets(value)
    if isinstance(value, list):
        return [redacted(one, _option_before(value, at) or name) for at, one in enumerate(value)]
    if isinstance(value, dict):
        return {
            without_secrets(key): redacted(inner, name if _is_secret(name, "") else key)
            for key, inner in value.items()
        }
    return value


def _is_secret(name: str, value: str) -> bool:
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name[-128:])
    words = re.sub(r"[^A-Za-z0-9]", "_", words).lower()
    if _names().search(words):
        return not (words.endswith("pwd") and value.startswith("/"))  # the shell's PWD
    return bool(_TOKEN.search(words)) and len(value) >= TOKEN_CHARS and not _NO_TOKEN.search(value)


def _option_before(values: List[Any], at: int) -> str:
    """Of a command line in pieces: `--password` says what the next one is."""
    before = values[at - 1] if at > 0 else None
    one = values[at]
    if not isinstance(before, str) or not isinstance(one, str) or one.startswith("-"):
        return ""
    return before if _OPTION.match(before) else ""
