"""What a strategy knows of languages without a detector: their names, and how they are written."""

from __future__ import annotations

import unicodedata

__all__ = ["language_name", "primary", "script_share"]

_LANGUAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ar": ("Arabic", ("ARABIC",)),
    "bn": ("Bengali", ("BENGALI",)),
    "cs": ("Czech", ("LATIN",)),
    "de": ("German", ("LATIN",)),
    "el": ("Greek", ("GREEK",)),
    "en": ("English", ("LATIN",)),
    "es": ("Spanish", ("LATIN",)),
    "fa": ("Persian", ("ARABIC",)),
    "fr": ("French", ("LATIN",)),
    "he": ("Hebrew", ("HEBREW",)),
    "hi": ("Hindi", ("DEVANAGARI",)),
    "id": ("Indonesian", ("LATIN",)),
    "it": ("Italian", ("LATIN",)),
    "ja": ("Japanese", ("HIRAGANA", "KATAKANA", "CJK")),
    "ko": ("Korean", ("HANGUL",)),
    "nl": ("Dutch", ("LATIN",)),
    "pl": ("Polish", ("LATIN",)),
    "pt": ("Portuguese", ("LATIN",)),
    "ro": ("Romanian", ("LATIN",)),
    "ru": ("Russian", ("CYRILLIC",)),
    "sw": ("Swahili", ("LATIN",)),
    "te": ("Telugu", ("TELUGU",)),
    "th": ("Thai", ("THAI",)),
    "tr": ("Turkish", ("LATIN",)),
    "uk": ("Ukrainian", ("CYRILLIC",)),
    "vi": ("Vietnamese", ("LATIN",)),
    "zh": ("Chinese", ("CJK",)),
}
_CODES = {name.lower(): code for code, (name, _) in _LANGUAGES.items()}


def primary(language: str) -> str:
    """Give the code of a language without its region and script.

    Examples
    --------
    >>> primary("en-US"), primary("zh_Hant"), primary("German"), primary(" eo ")
    ('en', 'zh', 'de', 'eo')
    """
    code = language.strip().lower().replace("_", "-").partition("-")[0]
    return _CODES.get(code, code)


def language_name(language: str) -> str:
    """Name a language as a prompt would; one that we do not know by what it was called.

    Examples
    --------
    >>> language_name("pt-BR"), language_name("eo")
    ('Portuguese', 'eo')
    """
    known = _LANGUAGES.get(primary(language))
    return known[0] if known else language.strip()


def script_share(text: str, language: str) -> float:
    """Give the share of a text's letters that are of a script its language is written in.

    Languages of one script are not told apart. It is 1 for a text without letters, such as a
    number, and for a language that we do not know.

    Examples
    --------
    >>> script_share("Привет, Bob", "ru"), script_share("42", "ja"), script_share("Hi", "eo")
    (0.6666666666666666, 1.0, 1.0)
    """
    known = _LANGUAGES.get(primary(language))
    letters = [character for character in text if character.isalpha()]
    if known is None or not letters:
        return 1.0
    written = sum(unicodedata.name(letter, "").startswith(known[1]) for letter in letters)
    return written / len(letters)
