"""What the tests of the command line share."""

import os

import pytest


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Without the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("ABRUZZI_", "NOTIFY_")) and name != "ABRUZZI_BUILD":
            monkeypatch.delenv(name)
