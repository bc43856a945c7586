"""Takes secrets out of what is said of a run, before it leaves the process. Pure.

The agent has the same rules (src/attribution/secrets.ts); test/fixtures/secrets.json holds for both.
"""

import re
from typing import Any

HIDDEN = "[hidden]"

_FORMS = [
    # User and password of an address.
    (re.compile(r"([a-z][a-z0-9+.-]{0,30}://)[^/?#\s\"'<>]{0,512}@", re.I), r"\1"),
    # What an address's query calls so, and options of a command line or a connection: password=…
    (
        re.compile(
            r"((?:passw(?:or)?d|passphrase|pwd|secret|signature|credential|api[_-]?key"
            r"|access[_-]?key|account[_-]?key|token)[\w-]{0,32}=)[^\s&#;,\"']{1,4096}",
            re.I | re.A,
        ),
        r"\1" + HIDDEN,
    ),
    (re.compile(r"(?<![A-Za-z0-9])(?:bearer|basic) +[A-Za-z0-9._~+/=-]{16,4096}", re.I), HIDDEN),
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
            re.S,
        ),
        HIDDEN,
    ),
    # As those who hand out keys and tokens write them.
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:A[KS]IA[0-9A-Z]{16}|gh[opsur]_\w{20,255}|github_pat_\w{20,255}"
            r"|glpat-[\w-]{20,255}|hf_\w{20,255}|sk-[\w-]{20,255}|xox[abeprs]-[\w-]{10,255}"
            r"|AIza[\w-]{30,255}|pypi-[\w-]{40,255}"
            r"|eyJ[\w-]{8,2048}\.[\w-]{8,2048}\.[\w-]{0,2048})",
            re.A,
        ),
        HIDDEN,
    ),
]
_NAMES = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|api_?key|access_?key(?:_id)?|account_?key"
    r"|private_?key|credentials?|(?:auth|access|refresh|bearer)_?token)\Z"
)
# A tokenizer has short ones, and numbers of them.
_TOKEN = re.compile(r"(?:^|_)token\Z")
TOKEN_CHARS = 16


def without_secrets(text: str) -> str:
    """A text without what reads like a secret."""
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text


def redacted(value: Any, name: str = "") -> Any:
    """The same for JSON; under the name of a secret all goes but numbers and yes or no."""
    if isinstance(value, str):
        return HIDDEN if _is_secret(name, value) else without_secrets(value)
    if isinstance(value, list):
        return [redacted(one, name) for one in value]
    if isinstance(value, dict):
        return {
            without_secrets(key): redacted(inner, name if _is_secret(name, "") else key)
            for key, inner in value.items()
        }
    return value


def _is_secret(name: str, value: str) -> bool:
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name[-128:])
    words = re.sub(r"[^A-Za-z0-9]", "_", words).lower()
    if _NAMES.search(words):
        return True
    return bool(_TOKEN.search(words)) and len(value) >= TOKEN_CHARS and not re.search(r"\s", value)
