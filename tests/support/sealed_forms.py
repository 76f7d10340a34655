"""How a person seals a job in the dashboard, and what the browser sends meanwhile."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, Request, expect

from support.service_forms import choose

DIARY = "the quick brown secret"
PROGRAM = """
def predict(input, **parameters):
    text = open(input).read()
    print("a line about", text)
    open("copy.txt", "w").write("an output about " + text)
    return {"read": text}
"""
IN_CLEAR = (b"secret", b"predict", b"diary", b"private.py", b"capital", b"/validate")
"""What no request may contain, of the jobs below."""


class Traffic:
    """The addresses and bodies of all requests of a page."""

    def __init__(self, page: Page) -> None:
        self.sent: list[bytes] = []
        page.on("request", self._record)

    def _record(self, request: Request) -> None:
        self.sent.append(request.url.encode() + (request.post_data_buffer or b""))

    def in_clear(self) -> list[bytes]:
        """Return what was sent in clear, of the words that should not be."""
        everything = b"\n".join(self.sent)
        assert b"/v1/jobs" in everything
        return [word for word in IN_CLEAR if word in everything]


def seal(page: Page) -> None:
    """Seal the job of the open form to the first miner, and read what that protects."""
    page.get_by_label("Seal this job").check()
    expect(page.get_by_text("Choose the miner to which the job is sealed.")).to_be_visible()
    page.get_by_label("Sealed to").select_option(index=1)
    expect(page.get_by_text("signed by this miner's identity")).to_be_visible()
    page.get_by_text("What sealing protects").click()
    expect(page.get_by_text("can read its memory while it runs")).to_be_visible()


def fill_private_program(page: Page, folder: Path) -> None:
    """Choose a program that reads, prints and copies a secret."""
    program, text = folder / "private.py", folder / "diary.txt"
    program.write_text(PROGRAM)
    text.write_text(DIARY)
    choose(page, "Program", program)
    choose(page, "Input file", text)


def see_private_result(page: Page) -> None:
    """Read the opened result, log and output file."""
    result = page.locator("section", has=page.get_by_role("heading", name="Result"))
    expect(result.locator(".json")).to_contain_text(DIARY)
    page.get_by_role("tab", name="Log").click()
    expect(page.get_by_role("list", name="Log")).to_contain_text(f"a line about {DIARY}")
    with page.expect_download() as downloading:
        result.get_by_role("link", name="Download copy.txt").click()
    text = downloading.value.path().read_text()
    assert text == f"an output about {DIARY}", text[:300]
