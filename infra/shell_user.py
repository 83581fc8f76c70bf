"""Who runs this process, as the operating system says: the name behind a command."""

import os
import pwd
from functools import cache


@cache
def shell_user() -> dict[str, str]:
    """`user` of this process (its number, if it has no name) on `host`; `sudo_user`: who became that user with sudo, as sudo says."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    sudo_user = os.environ.get("SUDO_USER", "")
    found = {"user": user, "host": os.uname().nodename, "sudo_user": sudo_user if sudo_user.isprintable() else ""}
    return {name: text[:100] for name, text in found.items() if text}
