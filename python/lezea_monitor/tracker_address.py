"""Addresses of trackers, as they may be told to others, and whether there is a secret with them.

Reads the MLFLOW_* variables, and whether mlflow's file of saved credentials is there. A secret is
never taken up: it stays in the process that has it.
"""

import os
import pathlib
import re

# Whoever has one of these talks to the tracker in a way that the agent cannot.
SECRETS = tuple(
    "MLFLOW_TRACKING_" + word
    for word in (
        "USERNAME PASSWORD TOKEN AUTH AWS_SIGV4 INSECURE_TLS SERVER_CERT_PATH CLIENT_CERT_PATH"
    ).split()
)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def clean_address(raw: str) -> str:
    """`raw` without user, password and query, and with a whole path where it names a file.

    Empty where there is no saying: the current folder is gone.
    """
    parts = _ADDRESS.match(raw)
    try:
        if parts is not None:
            scheme, host, path = parts.groups()
            if scheme.startswith("sqlite") and path[1:2] not in ("/", ":", ""):
                path = "/" + os.path.abspath(path[1:])
            return "%s://%s%s" % (scheme, host.rpartition("@")[2], path)
        if raw.startswith("file:/"):
            return "file://" + raw[len("file:") :]
        path = raw[len("file:") :] if raw.startswith("file:") else raw
        if path.startswith("databricks") or _SCHEME.match(path):
            return raw  # a name that mlflow knows, or dbfs:/…, mlflow-artifacts:/…
        return pathlib.Path(os.path.abspath(path)).as_uri()
    except (OSError, ValueError):
        return ""


def has_credentials(raw: str) -> bool:
    """Whether this process has what the tracker asks for and the agent does not have."""
    parts = _ADDRESS.match(raw)
    if parts is not None and "@" in parts.group(2):
        return True
    saved = os.path.expanduser("~/.mlflow/credentials")
    return any(os.environ.get(name) for name in SECRETS) or os.path.exists(saved)
