"""Links between the Markdown files of the repository lead to what is there."""

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.paths import ROOT

FOLDERS = ("charts", "docs", "examples", "scripts", "tests")
FILES = sorted(
    [*ROOT.glob("*.*"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*.*"))]
)
PAGES = [file for file in FILES if file.suffix == ".md"]
TEXTS = {".gotmpl", ".json", ".md", ".py", ".tpl", ".txt", ".yaml"}


@cache
def tokens(page: Path) -> list[Token]:
    """The blocks of a page, and what stands in their lines."""
    parser = MarkdownIt("commonmark").enable("table")
    blocks = parser.parse(page.read_text())
    return [token for block in blocks for token in (block, *(block.children or []))]


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead."""
    targets = [token.attrGet("href") or token.attrGet("src") for token in tokens(page)]
    return [str(target) for target in targets if target]


@cache
def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them; those of one name are numbered."""
    found: Counter[str] = Counter()
    for heading, title in pairwise(tokens(page)):
        if heading.type == "heading_open":
            text = "".join(token.content for token in title.children or [])
            found[re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")] += 1
    return set(found) | {f"{name}-{same}" for name in found for same in range(1, found[name])}


def broken(page: Path, link: str) -> bool:
    """Whether a link to a place in the repository leads nowhere."""
    url = urlsplit(link)
    if url.scheme or url.netloc:
        return False
    target = (page.parent / unquote(url.path)).resolve() if url.path else page
    if not target.exists():
        return True
    return bool(url.fragment) and url.fragment not in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if broken(page, link)] == []


def test_every_page_that_is_named_in_a_text_exists() -> None:
    named = {
        (str(text.relative_to(ROOT)), page)
        for text in FILES
        if text.suffix in TEXTS
        for page in re.findall(r"(?<![\w/.-])docs/[\w/-]+\.md\b", text.read_text())
    }
    assert [(text, page) for text, page in sorted(named) if not (ROOT / page).exists()] == []
