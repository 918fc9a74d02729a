"""The TOML file as frozen types; every problem at once, with file and line."""

from gateway.settings.load import Examination, examine, examine_draft, load, load_for_run
from gateway.settings.models import Settings
from gateway.settings.values import Address, Prefix, Secret, Url, secret, secret_path

__all__ = [
    "Address",
    "Examination",
    "Prefix",
    "Secret",
    "Settings",
    "Url",
    "examine",
    "examine_draft",
    "load",
    "load_for_run",
    "secret",
    "secret_path",
]
