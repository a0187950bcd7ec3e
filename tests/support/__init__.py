"""What the tests share that is no fixture. `tests` is on the path (see pyproject.toml)."""
