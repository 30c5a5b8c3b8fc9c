"""The code pages in which programs write names that they do not say to be UTF-8."""

import codecs

from shared.cutting import shown

CODE_PAGES = (
    *(f"cp{page}" for page in (437, 720, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 864, 865)),
    *(f"cp{page}" for page in (866, 869, 874, 932, 949, 950)),
    "gbk",
    "gb18030",
    *(f"cp{page}" for page in range(1250, 1259)),
    "utf-8",
)
"""Those of Windows and DOS, by Python's names; `cp936` is `gbk`.
https://learn.microsoft.com/en-us/windows/win32/intl/code-page-identifiers"""

LIKELY = ("cp850", "cp1252", "cp437", "cp866", "cp932", "gbk")
"""Those that are tried to show how a name could read, the most frequent first."""


def canonical(name: str) -> str:
    """The name in CODE_PAGES of a code page by any name that Python knows, or by its number: `850`, `CP850`,
    `windows-1252`, `936`. ValueError where it is none of them."""
    asked = name.strip()
    try:
        found = codecs.lookup(f"cp{asked}" if asked.isdecimal() else asked).name
    except (LookupError, ValueError):
        found = ""
    if found not in CODE_PAGES:
        raise ValueError(
            f"must be a code page of Windows, such as cp850 or windows-1252, or utf-8; got {shown(name)}"
        )
    return found
