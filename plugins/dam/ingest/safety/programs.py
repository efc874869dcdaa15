"""What runs where it is opened, known by its first bytes and its name."""

from __future__ import annotations

from pathlib import PurePosixPath

from dam.ingest.formats import PROGRAMS, known

#: Names that Windows and macOS run when they are opened.
_RUN = {
    "exe", "dll", "scr", "com", "pif", "cpl", "msi", "msp", "bat", "cmd", "ps1", "psm1", "vbs", "vbe", "js", "jse",
    "wsf", "wsh", "hta", "lnk", "url", "jar", "reg", "inf", "chm", "gadget", "application", "sct", "sh", "command",
    "app", "workflow", "scpt", "desktop", "iso", "img", "vhd", "vhdx",
}  # fmt: skip
_STARTS = (
    (b"MZ", known.PE),
    (b"\x7fELF", known.ELF),
    (b"\xfe\xed\xfa\xce", known.MACH_O),
    (b"\xfe\xed\xfa\xcf", known.MACH_O),
    (b"\xce\xfa\xed\xfe", known.MACH_O),
    (b"\xcf\xfa\xed\xfe", known.MACH_O),
    (b"\xca\xfe\xba\xbe", known.MACH_O),
    (b"#!", known.SCRIPT),
    (b"L\x00\x00\x00\x01\x14\x02\x00", known.SHORTCUT),
)


def is_program(start: bytes, name: str) -> str:
    """Return what a program is called, by its first bytes or its name; empty for what is none."""
    for magic, found in _STARTS:
        if start.startswith(magic):
            return PROGRAMS[found]
    suffix = PurePosixPath(name.replace("\\", "/")).suffix.lower().lstrip(".")
    return "a program or script" if suffix in _RUN else ""
