"""The registry of the engine's tests, for these tests."""

from tests.engine.conftest import registry

__all__ = ["registry"]
