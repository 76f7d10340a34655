"""What jobs of the tests work on: recordings, scenes, and models that are real but small."""
