"""Money: exact by the currency's own decimals, or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderwire.money import EXPONENTS, Money, exponent, money

EXACT = {
    ("10.10", "USD"): 1010,
    ("10.1", "usd"): 1010,
    ("-0.01", "EUR"): -1,
    ("0", "EUR"): 0,
    ("-0.00", "EUR"): 0,
    ("500", "JPY"): 500,
    ("500.00", "JPY"): 500,
    ("1.234", "BHD"): 1234,
    ("1.2345", "CLF"): 12345,
    ("90071992547409.93", "USD"): 9_007_199_254_740_993,
    ("1.100000", "USD"): 110,
    (12, "USD"): 1200,
    (Decimal("19.99"), "USD"): 1999,
    (Decimal("1E+3"), "JPY"): 1000,
    ("1", "XAF"): 1,
    ("1", "XCD"): 100,
}


@pytest.mark.parametrize(("given_as", "minor"), EXACT.items(), ids=str)
def test_an_exact_amount(given_as: tuple[str | int | Decimal, str], minor: int) -> None:
    assert money(*given_as) == Money(minor, given_as[1].upper())


REFUSED = [
    ("10.101", "USD"),
    ("500.5", "JPY"),
    ("", "USD"),
    ("1,000.00", "USD"),
    ("1e3", "USD"),
    (" 1", "USD"),
    ("1.", "USD"),
    (".5", "USD"),
    ("+1", "USD"),
    ("\u0661", "USD"),
    ("NaN", "USD"),
    (Decimal("NaN"), "USD"),
    (Decimal("Infinity"), "USD"),
    (Decimal("1E+999999"), "USD"),
    (Decimal("1E-999999"), "USD"),
    (10**31, "USD"),
    ("9" * 31, "USD"),
    (True, "USD"),
    (1.5, "USD"),
    (None, "USD"),
    ("1", "US"),
    ("1", "DOLLAR"),
    ("1", "XAU"),
    ("1", "XTS"),
    ("1", "ÀBC"),
]


@pytest.mark.parametrize(("amount", "currency"), REFUSED, ids=str)
def test_what_is_not_exact_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(ValueError):
        money(amount, currency)


CODES = st.sampled_from([*EXPONENTS, "USD", "EUR", "GBP", "XCD"])


@given(st.integers(-(10**25), 10**25), CODES)
def test_minor_units_survive_being_written_as_a_decimal(minor: int, currency: str) -> None:
    places = exponent(currency)
    sign, digits = "-" * (minor < 0), str(abs(minor)).rjust(places + 1, "0")
    text = sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
    assert money(text, currency) == Money(minor, currency)
    assert money(Decimal(text), currency) == Money(minor, currency)
    assert money(text + ("000" if "." in text else ".000"), currency) == Money(minor, currency)


@given(
    st.decimals(allow_nan=True, allow_infinity=True) | st.text(max_size=12) | st.integers(), CODES | st.text(max_size=4)
)
def test_money_is_exact_or_a_value_error(amount: Decimal | str | int, currency: str) -> None:
    try:
        made = money(amount, currency)
    except ValueError:
        return
    assert made.amount == Decimal(amount) * 10 ** exponent(made.currency) or abs(Decimal(amount)) > 10**20
