"""What a device-hour costs: the dated price book. Money is in fen; a price of a lot goes before its accelerator's."""

from collections.abc import Sequence

from scheduler.model.rules import Lot, Price
from scheduler.model.units import FOREVER_US, US_PER_S

__all__ = ["PriceBook"]

US_PER_HOUR = 3_600 * US_PER_S


class PriceBook:
    """Prices by what they are of, each in force from its date until the next one of the same begins."""

    def __init__(self, prices: Sequence[Price], lots: Sequence[Lot] = ()) -> None:
        self._dated: dict[str, list[tuple[int, int]]] = {}
        for price in prices:
            self._dated.setdefault(price.of, []).append((price.from_us, price.fen_per_device_hour))
        for dated in self._dated.values():
            dated.sort()
        self._lots: dict[str, list[str]] = {}
        for lot in lots:
            self._lots.setdefault(lot.accelerator, []).append(lot.id)

    def __bool__(self) -> bool:
        return bool(self._dated)

    def fen_per_device_hour(self, accelerator: str, now_us: int, lot: str | None = None) -> int:
        """The price in force at `now_us`; 0 where the book has none.

        `lot` is that of the node, empty for a node of no lot. Where it is not known yet (None), it is the accelerator's
        own price, else the dearest of its lots: no budget is exceeded because a node turns out to be dear.
        """
        own = self._at(accelerator, now_us)
        if lot:
            found = self._at(lot, now_us)
            return found if found is not None else own or 0
        if own is not None or lot is not None:
            return own or 0
        dear = (self._at(name, now_us) or 0 for name in self._lots.get(accelerator, ()))
        return max(dear, default=0)

    def next_change_us(self, now_us: int) -> int:
        """When the next price comes into force; FOREVER_US if none does."""
        later = (from_us for dated in self._dated.values() for from_us, _ in dated if from_us > now_us)
        return min(later, default=FOREVER_US)

    def cost(self, held: Sequence[tuple[str, str, int]], granted_us: int, since_us: int, until_us: int) -> int:
        """Fen for `held` (accelerator, lot, devices) between two times, at the prices in force when it was granted.

        Rounded down; an allocation keeps its prices, as it keeps its charge.
        """
        rate = sum(count * self.fen_per_device_hour(name, granted_us, lot) for name, lot, count in held)
        return rate * max(0, until_us - since_us) // US_PER_HOUR

    def _at(self, name: str, now_us: int) -> int | None:
        found = None
        for from_us, fen in self._dated.get(name, ()):
            if from_us > now_us:
                break
            found = fen
        return found
