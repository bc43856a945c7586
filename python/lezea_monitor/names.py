"""Scope names and levels: any id becomes a name that every part of the system accepts.

Emits encoded names (1..128 bytes of printable UTF-8 without `/` and `:`), the original as label
where it differs, and levels that match `[a-z][a-z0-9_]*`. Recording never raises, so nothing
here does, whatever object it is given.
"""

import re
from typing import Optional, Tuple

MAX_NAME_BYTES = 128
MAX_LABEL_CHARS = 512
RESERVED_LEVELS = frozenset(("inclusive", "total", "nodes", "attempts"))
_HASH_DIGITS = 16
_LEVEL = re.compile(r"[a-z][a-z0-9_]{0,127}\Z")


def text_of(value: object) -> str:
    """`str(value)`, or the type's name where that fails."""
    if type(value) is str:
        return value
    try:
        return str(value)
    except Exception:  # a broken __str__ of the caller's must not reach the training loop
        return type(value).__name__


def _escape(character: str) -> str:
    if character in "/:%" or not character.isprintable():
        raw = character.encode("utf-8", "surrogatepass")
        return "".join("%%%02X" % byte for byte in raw)
    return character


def _shorten(encoded: bytes, original: str) -> str:
    """Keeps the beginning and replaces the rest by a hash of the whole original."""
    import hashlib  # costs milliseconds to import; long names are rare

    digest = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()
    head = encoded[: MAX_NAME_BYTES - _HASH_DIGITS - 1].decode("utf-8", "ignore")
    return re.sub(r"%[0-9A-F]?\Z", "", head) + "~" + digest[:_HASH_DIGITS]


def encode_name(value: object) -> Tuple[str, Optional[str]]:
    """(name, label): the name as sent; the original as label where the two differ."""
    original = text_of(value)
    name = "".join(map(_escape, original)) or "(empty)"
    raw = name.encode("utf-8")
    if len(raw) > MAX_NAME_BYTES:
        name = _shorten(raw, original)
    if name == original:
        return name, None
    return name, original.encode("utf-8", "replace").decode("utf-8")[:MAX_LABEL_CHARS]


def clean_level(value: object) -> str:
    """The level word; what is not one is lowered, its other characters become `_`."""
    text = text_of(value)
    if not _LEVEL.match(text):
        text = re.sub(r"[^a-z0-9_]", "_", text.lower())[:120]
        if not text[:1].isalpha():
            text = "level_" + text
    return text + "_" if text in RESERVED_LEVELS else text
