"""The commands of the image, run as its Dockerfile says: the default one works, and the health check finds each."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.callsheet.separate_processes import apart
from tests.support.deploy.files import load_image

IMAGE = load_image()


def check_health(admin: str) -> subprocess.CompletedProcess[str]:
    """Run the health check of the image, at the port of a process of this machine."""
    program, *arguments = IMAGE.health_check
    assert program == "python"
    there = [argument.replace("http://127.0.0.1:9000", admin) for argument in arguments]
    assert there != arguments
    return subprocess.run([sys.executable, *there], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [tuple(IMAGE.command), ("serve",), ("work",), ("project",)], ids=" ".join)
def test_a_command_of_the_image_works_and_is_healthy(command: tuple[str, ...], database: str, tmp_path: Path) -> None:
    assert IMAGE.entrypoint == ["python", "-m", "callsheet"]
    free = {"CALLSHEET_HTTP_PORT": "0", "CALLSHEET_ADMIN_PORT": "0"}
    variables = {
        name: value
        for name, value in IMAGE.environment.items()
        if name.startswith("CALLSHEET_") and name != "CALLSHEET_DATA_DIRECTORY"
    }
    assert variables["CALLSHEET_ADMIN_PORT"] == "9000"
    with apart(database, tmp_path, *command, **{**variables, **free}) as started:
        assert started.admin is not None
        done = check_health(started.admin)
    assert done.returncode == 0, done.stderr
    assert check_health(started.admin).returncode != 0
