"""Windows of time in which nodes are kept free: for maintenance, or for one tenant."""

from msgspec import Struct

__all__ = ["Reservation"]


class Reservation(Struct, frozen=True, kw_only=True):
    """Whole nodes, by name, from `from_us` until `until_us` (excluded).

    With a `tenant`, it and those below it may use them; without one nobody may: maintenance. A reservation stops
    nobody: whoever would still run when it begins does not start there.
    """

    id: str
    nodes: tuple[str, ...]
    from_us: int
    until_us: int
    tenant: str = ""
    why: str = ""
