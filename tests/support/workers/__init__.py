"""The processes that run the tests."""
