"""A state as bytes and back: canonical, so that equal states are equal bytes."""

import msgspec

from scheduler.engine.state import State, StateImage

__all__ = ["decode", "encode"]

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(StateImage)


def encode(state: State) -> bytes:
    return _ENCODER.encode(state.image())


def decode(image: bytes) -> State:
    """Raises msgspec.DecodeError for bytes that are no image."""
    return State.from_image(_DECODER.decode(image))
