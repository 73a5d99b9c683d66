"""Gives these tests the registry of the engine's tests."""

from tests.engine.conftest import registry

__all__ = ["registry"]
