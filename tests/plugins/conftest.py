import pytest
from plugins.workbench import Workbench


@pytest.fixture
def workbench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workbench(tmp_path)
