"""Money: an integer of minor units and its currency. Exact or refused, floats never.

A decimal amount becomes minor units by the currency's ISO 4217 exponent: `"10.10"` USD is 1010, `"500"` JPY is 500,
`"1.234"` BHD is 1234. Zeros beyond the exponent cost nothing; a digit there would, so it raises ValueError.
"""

import re
from decimal import Decimal
from typing import Annotated

import msgspec

EXPONENT = 2  # of every currency not named below
# ISO 4217, list one, "minor unit": all that are not 2.
EXPONENTS: dict[str, int] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW"), 0),
    **dict.fromkeys(("PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
# Codes on X belong to no one country. These are money; the rest (gold, test codes, "no currency") has no minor unit.
SHARED_CURRENCIES = frozenset({"XAF", "XCD", "XCG", "XOF", "XPF"})
DIGITS_MAX = 30

_CODE = re.compile(r"[A-Z]{3}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,30}(\.\d{1,30})?", re.ASCII)


class Money(msgspec.Struct, frozen=True):
    """An amount in the currency's minor units, and the currency (ISO 4217, upper case)."""

    amount: int
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


def exponent(currency: str) -> int:
    """How many decimals `currency` has. Raises ValueError where it is no currency with minor units."""
    if not _CODE.fullmatch(currency) or (currency[0] == "X" and currency not in SHARED_CURRENCIES):
        raise ValueError(f"{currency[:16]!r} is no currency with minor units")
    return EXPONENTS.get(currency, EXPONENT)


def money(amount: str | int | Decimal, currency: str) -> Money:
    """A decimal amount (`"10.10"`, 10, Decimal) of `currency` in any case. Raises ValueError where it is not exact."""
    code = currency.upper()
    return Money(scaled(_decimal(amount), exponent(code)), code)


def scaled(amount: Decimal, places: int) -> int:
    """`amount` with its point moved `places` to the right. Raises ValueError where digits would be lost."""
    sign, digits, at = amount.as_tuple()
    if not isinstance(at, int) or len(digits) > 2 * DIGITS_MAX or abs(amount.adjusted()) > DIGITS_MAX:
        raise ValueError("the amount is no number of a sensible size")
    whole = int("".join(map(str, digits)))
    up, down = max(at + places, 0), max(-at - places, 0)
    value, lost = divmod(whole * int("1" + "0" * up), int("1" + "0" * down))
    if lost:
        raise ValueError(f"{amount} has more than {places} decimals")
    return -value if sign else value


def _decimal(amount: str | int | Decimal) -> Decimal:
    if isinstance(amount, Decimal):
        return amount
    if isinstance(amount, bool) or not isinstance(amount, int | str):
        raise ValueError("the amount is neither a decimal text nor a number")  # noqa: TRY004 - one error for callers
    if isinstance(amount, int):
        if abs(amount) >= 10**DIGITS_MAX:
            raise ValueError("the amount is no number of a sensible size")
        return Decimal(amount)
    if not _DECIMAL.fullmatch(amount):
        raise ValueError(f"{amount[:40]!r} is no decimal amount")
    return Decimal(amount)
