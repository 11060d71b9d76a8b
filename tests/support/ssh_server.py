"""An ssh server on loopback that accepts any host name, for tests of launchers."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

_SSHD = shutil.which("sshd", path="/usr/sbin:/sbin:" + os.environ.get("PATH", ""))


def missing() -> str | None:
    """Return why no server can be started, or None."""
    if _SSHD is None or shutil.which("ssh") is None:
        return "no ssh server is installed: apt-get install openssh-server"
    return None if os.geteuid() == 0 else "an ssh server needs root to accept a login"


class SshServer:
    """`ssh -F CONFIG HOST` connects to this machine for any host name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.config = directory / "ssh_config"

    def start(self) -> None:
        directory = self._directory
        directory.chmod(0o700)
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True)
        shutil.copy(directory / "user_key.pub", directory / "authorized_keys")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (directory / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nPermitRootLogin yes\n"
        )
        self.config.write_text(
            f"Host *\nHostName 127.0.0.1\nPort {port}\nIdentityFile {directory}/user_key\nIdentitiesOnly yes\n"
            "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        assert _SSHD is not None
        self._process = subprocess.Popen([_SSHD, "-D", "-f", str(directory / "sshd_config")], stderr=subprocess.DEVNULL)
        ready = ["ssh", "-F", str(self.config), "-o", "ConnectionAttempts=30", "x", "true"]
        subprocess.run(ready, check=True, timeout=60)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
