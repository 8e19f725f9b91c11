"""Who buys what in the demo's shop: its people, its goods, and one sale with all the ids it gets on its way.

Chosen by the given random source alone: the same seed makes the same day. Names as people really have them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from orderwire.clock import SECOND

CURRENCY = "EUR"
SHOP = "cha-e-companhia.myshopify.com"
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)  # of the day that is played; Lisbon keeps UTC in winter
SHIPPING_CENTS, TAX_PERCENT = 490, 23
LOCATION_ID = 24_826_418
BIG_ORDER_ID = 2**53 + 1  # the first whole number that a float cannot hold

_PEOPLE = (  # given name, family name, city, country, postal code
    ("Zoë", "Müller", "Köln", "DE", "50667"),
    ("José", "Núñez", "A Coruña", "ES", "15001"),
    ("Søren", "Kjær", "Ærøskøbing", "DK", "5970"),
    ("Łukasz", "Żółkiewski", "Łódź", "PL", "90-001"),
    ("Inês", "Gonçalves", "Évora", "PT", "7000-001"),
    ("美咲", "渡辺", "東京", "JP", "100-0001"),
    ("Ελένη", "Παπαδοπούλου", "Αθήνα", "GR", "105 57"),
    ("Siobhán", "O'Connor", "Dún Laoghaire", "IE", "A96 X2R8"),
    ("Şebnem", "Çelik", "İzmir", "TR", "35210"),
    ("Anna", "Svensson", "Malmö", "SE", "211 19"),
    ("Björk", "Guðmundsdóttir", "Reykjavík", "IS", "101"),
    ("Thomas", "Baker", "Leeds", "GB", "LS1 4AP"),
)
_GOODS = (  # title, SKU, cents
    ("Sencha Uchiyama 100 g", "TEA-SENCHA-100", 1290),
    ("Assam »Mangalam« 250 g", "TEA-ASSAM-250", 1650),
    ("Gorreana Hysson 80 g", "TEA-HYSSON-80", 690),
    ("煎茶 茶筒 (tea caddy)", "CADDY-SAKURA", 2400),
    ("Cast-iron pot, 0.8 l", "POT-IRON-08", 5990),
    ('Bule de chá "São Miguel"', "POT-SMIGUEL", 3850),
    ("Filter papers, 100 pieces", "FILTER-100", 399),
)


FIRST_CUSTOMER = _PEOPLE[0][0]


@dataclass(frozen=True, slots=True)
class Person:
    """One customer."""

    id: int
    first: str
    last: str
    city: str
    country: str
    postcode: str

    @property
    def email(self) -> str:
        """An address at a domain that can never exist."""
        return f"customer-{self.id % 100_000}@shop.example"


@dataclass(frozen=True, slots=True)
class Line:
    """So many of one article."""

    id: int
    title: str
    sku: str
    price: int  # cents
    quantity: int
    product_id: int
    left: int  # of it in stock, after this sale

    @property
    def item_id(self) -> int:
        """Its inventory item."""
        return self.product_id + 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """One cart on its way to an order, as it stands at `at`."""

    id: int
    number: int
    person: Person
    lines: tuple[Line, ...]
    token: str
    started: datetime
    at: datetime
    status: str = "pending"
    fulfilled: bool = False
    cancelled: bool = False
    note: str | None = None

    @property
    def subtotal(self) -> int:
        """Goods, in cents; taxes are included, as in Europe."""
        return sum(line.price * line.quantity for line in self.lines)

    @property
    def total(self) -> int:
        """What the customer pays, in cents."""
        return self.subtotal + SHIPPING_CENTS

    @property
    def tax(self) -> int:
        """How much of the total is tax, in cents."""
        return self.total * TAX_PERCENT // (100 + TAX_PERCENT)

    def later(self, minutes: float, **changes: object) -> "Sale":
        """The same sale `minutes` later."""
        return replace(self, at=self.at + timedelta(minutes=minutes), **changes)  # type: ignore[arg-type]


def new_sale(random: Random, number: int) -> Sale:
    """The sale with this running number; number 0 has the big order id and a name of many letters."""
    first, last, city, country, postcode = _PEOPLE[number % len(_PEOPLE)]
    person = Person(7_064_055_069_000 + number, first, last, city, country, postcode)
    lines = tuple(_line(random, article) for article in random.sample(range(len(_GOODS)), random.choice((1, 1, 2, 3))))
    started = MIDNIGHT + timedelta(seconds=random.randint(8 * 3600, 19 * 3600))
    return Sale(
        id=BIG_ORDER_ID if number == 0 else 5_612_345_000_000 + number * 1024,
        number=1001 + number,
        person=person,
        lines=lines,
        token=f"{random.getrandbits(128):032x}",
        started=started,
        at=started,
    )


def microseconds(at: datetime) -> int:
    """An instant as the rest of the house counts it."""
    return round(at.timestamp() * SECOND)


def _line(random: Random, article: int) -> Line:
    title, sku, price = _GOODS[article]
    return Line(
        id=random.getrandbits(44),
        title=title,
        sku=sku,
        price=price,
        quantity=random.choice((1, 1, 1, 2, 3)),
        product_id=6_329_100_000 + article * 100,
        left=random.randint(0, 80),
    )
