"""The page as a browser shows it, and how it is served.

A browser is no package of Python's: where the machine has none, those tests are skipped.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from server.api.playground.route import page_files

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"
)
VERDICT = re.compile("Allow|Review|Block")


@pytest.mark.parametrize("path", ["/", *(f"/playground/{name}" for name in page_files())])
async def test_every_file_is_served_under_a_strict_policy(
    client: httpx2.AsyncClient, path: str
) -> None:
    response = await client.get(path)

    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["route.py", "../app.py", "%2e%2e/app.py", "samples/", "samples"])
async def test_nothing_else_is_served(client: httpx2.AsyncClient, name: str) -> None:
    assert (await client.get(f"/playground/{name}")).status_code == 404


async def test_the_page_can_be_switched_off(connect: Callable[..., Any]) -> None:
    async with connect(playground=False) as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/playground/index.html")).status_code == 404


def test_no_file_names_another_host_or_holds_code_in_the_page() -> None:
    for name, path in page_files().items():
        if path.suffix == ".png":
            continue
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.", text), name
    page = page_files()["index.html"].read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", page)


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in page_files().values()) < 64 * 1024


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    # Playwright's own loop must not be that of the tests that run in this thread.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def base_url(serve: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    with serve() as url:
        yield url.removesuffix("/v1")


@pytest.fixture
def page(browser: "Browser", base_url: str) -> Iterator["Page"]:
    """The page, open; whatever it asks of another host or complains about fails the test."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    outside: list[str] = []
    complaints: list[str] = []

    def note_request(url: str) -> None:
        if not url.startswith((base_url, "blob:")):
            outside.append(url)

    page.on("request", lambda request: note_request(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(base_url)
    yield page
    context.close()
    assert outside == []
    assert [one for one in complaints if "Content Security Policy" in one] == []
    assert [one for one in complaints if "Error" in one] == []


def judged(page: "Page", place: int = 0) -> Any:
    from playwright.sync_api import expect

    card = page.locator(".card").nth(place)
    expect(card.locator(".badge")).to_have_text(VERDICT, timeout=60_000)
    return card


@needs_browser
def test_a_sample_is_judged_and_everything_about_it_shown(page: "Page") -> None:
    page.get_by_role("button", name="Bonfire").click()

    card = judged(page)
    assert card.locator(".categories li").count() == 9
    assert card.locator(".concepts li").count() == 5
    assert card.locator(".timings dt").all_inner_texts() == ["Decoding", "Model", "Whole call"]
    assert "Served: stub-vlm" in page.locator("#model").inner_text()


@needs_browser
def test_pictures_that_are_chosen_are_judged_each(
    page: "Page", tmp_path: Path, safe_png: bytes, unsafe_png: bytes
) -> None:
    for name, content in (("safe.png", safe_png), ("un'safe.png", unsafe_png)):
        (tmp_path / name).write_bytes(content)
    page.locator("#files").set_input_files([tmp_path / "safe.png", tmp_path / "un'safe.png"])

    newest, oldest = judged(page, 0), judged(page, 1)
    assert newest.locator(".badge").inner_text() == "Block"
    assert oldest.locator(".badge").inner_text() == "Allow"
    newest.locator(".request summary").click()
    code = newest.locator("pre")
    assert "curl" in code.inner_text()
    assert "un'\\''safe.png" in code.inner_text()
    newest.get_by_role("tab", name="Python").click()
    assert "client.moderations.create" in code.inner_text()
    compile(code.inner_text(), "example.py", "exec")


@needs_browser
def test_pictures_are_pasted_and_dropped(page: "Page") -> None:
    make = """async (kind) => {
        const canvas = document.createElement("canvas");
        const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
        const data = new DataTransfer();
        data.items.add(new File([blob], `${kind}.png`, { type: "image/png" }));
        document.dispatchEvent(kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(make, "paste")
    judged(page, 0)
    page.evaluate(make, "drop")
    judged(page, 1)

    assert sorted(page.locator(".name").all_inner_texts()) == ["drop.png", "paste.png"]


@needs_browser
def test_a_picture_is_blurred_until_it_is_asked_for(page: "Page") -> None:
    page.get_by_role("button", name="Mug").click()
    card = judged(page)
    blur = "getComputedStyle(document.querySelector('.thumb img')).filter"

    assert "blur" in page.evaluate(f"() => {blur}")
    card.get_by_role("button", name="Show mug.png").click()
    assert page.evaluate(f"() => {blur}") == "none"
    card.get_by_role("button", name="Hide mug.png").click()
    assert "blur" in page.evaluate(f"() => {blur}")


@needs_browser
def test_the_keyboard_is_enough(page: "Page") -> None:
    focused = "() => document.activeElement.textContent.trim()"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "Meadow":
            break
    page.keyboard.press("Enter")
    judged(page)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.className") == "thumb":
            break
    page.keyboard.press("Space")

    assert page.locator(".thumb").get_attribute("aria-pressed") == "true"
    assert "Allow" in page.locator("[role=status]").inner_text()


@needs_browser
def test_what_is_no_picture_is_refused_in_words_and_may_be_tried_again(
    page: "Page", tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    (tmp_path / "broken.png").write_bytes(b"<b>no picture</b>")
    page.locator("#files").set_input_files(tmp_path / "broken.png")

    card = page.locator(".card")
    expect(card.locator(".badge")).to_have_text("Not judged", timeout=60_000)
    expect(card.locator(".summary")).to_contain_text("unsupported_image_format")
    assert card.get_by_role("button", name="Try again").is_visible()


@needs_browser
def test_a_key_is_asked_for_where_one_is_needed(
    browser: "Browser", serve: Callable[..., AbstractContextManager[str]]
) -> None:
    from playwright.sync_api import expect

    with serve(api_keys="the-key") as url:
        page = browser.new_page()
        page.goto(url.removesuffix("/v1"))
        page.get_by_role("button", name="Mug").click()
        expect(page.locator(".badge")).to_have_text("Not judged", timeout=60_000)
        expect(page.locator("#key")).to_be_focused()
        page.keyboard.type("the-key")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_contain_text("stub-vlm")
        page.get_by_role("button", name="Try again").click()
        judged(page)
        assert "the-key" not in page.locator("pre").inner_text()
        page.close()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows_and_dark_is_dark(
    browser: "Browser", base_url: str, scheme: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(base_url)
    page.get_by_role("button", name="Skull").click()
    judged(page).locator(".request summary").click()

    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    lightness = sum(int(number) for number in re.findall(r"\d+", ground)) / 3
    assert (lightness < 64) == (scheme == "dark")
    page.close()
