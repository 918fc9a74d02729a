"""Configurations of other gateway programs, read into settings of ours; what cannot be taken over, by file and line."""

from gateway.settings.importing.changeover import KNOWN_NAMES, WHAT_IS_READ, import_files
from gateway.settings.importing.draft import Imported, InlineSecret, SecretCopy, Taken, Wishes
from gateway.settings.importing.foreign import MAX_BYTES, ForeignFile
from gateway.settings.importing.writing import write_settings

__all__ = [
    "KNOWN_NAMES",
    "MAX_BYTES",
    "WHAT_IS_READ",
    "ForeignFile",
    "Imported",
    "InlineSecret",
    "SecretCopy",
    "Taken",
    "Wishes",
    "import_files",
    "write_settings",
]
