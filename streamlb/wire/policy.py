"""What an entry point was told to do with requests that can be read, but should not pass as they are.

What lives here: `RequestPolicy`, plain settings. What must not: applying them (`http1.py` for fields, `target.py` for
targets), where they come from (`proxy/http.py`). Specified by Traefik's entry points page.
"""

from __future__ import annotations

from typing import Final, Literal

Underscores = Literal["keep", "delete", "reject"]


class RequestPolicy:
    """The settings of one entry point.

    sanitize: resolve dot segments and double slashes in paths. semicolon: what stands for `;` in a query.
    refused: the escapes a path may not hold, as two upper-case hex digits.
    underscores: what becomes of fields with `_` in their names. kept_hops: names, in lower case, of fields that
    stay although `Connection` names them.
    """

    __slots__ = ("kept_hops", "refused", "sanitize", "semicolon", "underscores")

    def __init__(
        self,
        *,
        sanitize: bool = True,
        encode_semicolons: bool = False,
        refused: frozenset[bytes] = frozenset(),
        underscores: Underscores = "keep",
        kept_hops: frozenset[bytes] = frozenset(),
    ) -> None:
        self.sanitize = sanitize
        self.semicolon = b"%3B" if encode_semicolons else b"&"
        self.refused = refused
        self.underscores = underscores
        self.kept_hops = kept_hops


DEFAULT: Final = RequestPolicy()
