"""The Markdown pages of the repository, as their tests read them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("resources/**/*.md")])


def without_code(page: Path) -> str:
    """A page's text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> dict[str, str]:
    """Code blocks that begin with the path of the file they are, by that path."""
    found = re.findall(r"^```\w+\n# (\S+\.\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return dict(found)


def rows(page: Path, heading: str) -> list[list[str]]:
    """Cells of the tables below a heading of a page, their head left out."""
    section = re.split(r"^## ", without_code(page), flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(heading))
    lines = [line.strip() for line in text.splitlines()]
    tables = [line for before, line in zip(["", *lines], lines, strict=False) if line.startswith("|") and before.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables if not line.startswith("|---")]
