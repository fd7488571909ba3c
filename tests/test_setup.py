"""`.ci/setup` does not touch an environment that is not its own."""

import shutil
import subprocess
from pathlib import Path

TOP = Path(__file__).parent.parent


def test_an_environment_that_lies_elsewhere_is_refused_and_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    checkout = tmp_path / "checkout"
    shutil.copytree(TOP / ".ci", checkout / ".ci")
    shutil.copytree(TOP / "locks", checkout / "locks")
    (checkout / ".venv").symlink_to(elsewhere)
    result = subprocess.run(
        [".ci/setup", "runtime"], cwd=checkout, check=False, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"setup: .venv is a symbolic link to {elsewhere}")
    assert result.stdout == ""
    assert list(elsewhere.iterdir()) == []
