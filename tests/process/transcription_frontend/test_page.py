"""The page of the transcription service in a real browser, against answers of the documented kind."""

import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from images.catalog import CATALOG
from tests.process.transcription_frontend.recorded import CLIP, MEDIUM, TOKEN, Running, Service, heard

PHONE = {"width": 360, "height": 740}
PLACES = ("/#/", "/#/jobs/job-a", "/#/jobs/job-a/0")


def test_sources_are_typed_linted_formatted_and_tested(workshop: Path):
    done = subprocess.run(["npm", "run", "check"], cwd=workshop, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lock_names_no_registry_and_has_all_hashes():
    lock = (CATALOG["transcription-frontend"].folder / "package-lock.json").read_text()
    assert "://registry" not in lock
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('    "node_modules/')


class TestSigningIn:
    def test_wrong_token_is_told_and_the_right_one_leads_in(self, stranger: Page):
        stranger.get_by_label("Token").fill("wrong")
        stranger.keyboard.press("Enter")
        expect(stranger.get_by_role("alert")).to_contain_text("not this stack's token")
        stranger.get_by_label("Token").fill(TOKEN)
        stranger.keyboard.press("Enter")
        expect(stranger.get_by_text("dev", exact=True)).to_be_visible()

    def test_token_of_a_link_leaves_the_address(self, page: Page):
        assert TOKEN not in page.url

    def test_script_cannot_read_the_session(self, page: Page):
        assert page.evaluate("document.cookie") == ""

    def test_signing_out_ends_it(self, page: Page):
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()


class TestNewJob:
    def test_file_of_the_dataset_with_its_subtitles(self, page: Page, service: Service):
        page.get_by_role("tab", name="Dataset folder").click()
        page.get_by_role("button", name="day1", exact=True).click()
        page.get_by_label("talk.webm", exact=True).check()
        page.get_by_label("talk.vtt", exact=True).check()
        expect(page.get_by_label("Subtitles of talk.webm")).to_have_value("dataset/day1/talk.vtt")
        page.get_by_label("Language").select_option("de")
        page.get_by_text("More options").click()
        page.get_by_role("button", name="As SEA for BOBSL").click()
        page.get_by_role("button", name="Transcribe").click()
        expect(page.get_by_role("heading", name="talk.webm")).to_be_visible()
        (request,) = service.requests
        assert request["paths"] == [MEDIUM]
        assert request["language"] == "de"
        assert request["subtitles"] == {MEDIUM: "dataset/day1/talk.vtt"}
        assert request["shift"] == {"start": 2.6, "end": 2.1}

    def test_upload_is_transcribed_and_opened(self, page: Page, service: Service):
        page.get_by_label("Files to upload").set_input_files(CLIP)
        page.get_by_role("list", name="Chosen").get_by_text("talk.webm").wait_for()
        assert list(service.uploads.values()) == [CLIP.read_bytes()]
        page.get_by_role("button", name="Transcribe").click()
        # The start page has a "Done" and a link of that name as well: those of the job that was there before.
        expect(page.get_by_role("heading", name="talk.webm")).to_be_visible()
        page.get_by_role("list", name="Files").get_by_role("link", name="talk.webm").click()
        expect(page.get_by_text("Vorhersage")).to_be_visible()

    def test_whole_folder(self, page: Page, service: Service):
        page.get_by_role("tab", name="Upload").press("ArrowRight")
        page.get_by_label("All media in day1").check()
        page.get_by_role("button", name="Transcribe").click()
        expect(page.get_by_role("heading", name="dataset/day1")).to_be_visible()
        assert service.requests[0]["paths"] == ["dataset/day1"]


class TestJobs:
    def test_failed_one_says_why(self, page: Page, service: Service):
        service.add_job("job-b", ["dataset/b.mp4"], "failed")
        page.goto("/#/jobs/job-b")
        expect(page.get_by_text("The file holds no sound.")).to_be_visible()

    def test_cancelling_a_running_one(self, page: Page, service: Service):
        service.pace = 30
        service.add_job("job-b", ["dataset/b.mp4"], "running")
        page.reload()
        page.get_by_role("button", name="Cancel dataset/b.mp4").click()
        expect(page.get_by_text("Cancelled")).to_be_visible()

    def test_removing_asks_first(self, page: Page, service: Service):
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("button", name=f"Remove {MEDIUM} and its results").click()
        assert "job-a" in service.jobs
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name=f"Remove {MEDIUM} and its results").click()
        expect(page.get_by_text("None yet")).to_be_visible()


class TestPlayer:
    def test_word_that_is_spoken_is_marked(self, editor: Page):
        editor.get_by_text("regnet", exact=True).click()
        expect(editor.locator(".word.heard")).to_have_text("regnet")
        expect(editor.locator(".segment.now")).to_contain_text("Im Norden regnet es")

    def test_words_follow_the_sound(self, editor: Page):
        """Each marked word is the one whose time it is, by the clock of the medium itself."""
        spoken = [word for segment in heard()["segments"] for word in segment["words"]]
        editor.get_by_role("button", name="Play", exact=True).click()
        seen = []
        for _ in range(12):
            editor.wait_for_timeout(300)
            seen.append(
                editor.evaluate(
                    "[document.querySelector('video').currentTime, document.querySelector('.heard')?.textContent]"
                )
            )
        right = [
            text
            for time, text in seen
            if any(word["word"] == text and word["start"] - 0.1 <= time <= word["end"] + 0.35 for word in spoken)
        ]
        assert len(right) >= 6
        assert len(right) == len([text for _, text in seen if text])

    def test_keyboard_plays_and_goes_through_segments(self, editor: Page):
        editor.keyboard.press("ArrowDown")
        expect(editor.locator(".segment.now")).to_contain_text("Vorhersage")
        editor.keyboard.press("n")
        expect(editor.locator(".word.heard")).to_have_text("Süten")
        editor.keyboard.press("Space")
        expect(editor.get_by_role("button", name="Pause")).to_be_visible()
        editor.keyboard.press("?")
        expect(editor.get_by_role("heading", name="Keyboard")).to_be_visible()

    def test_captions_are_drawn_over_the_picture(self, editor: Page):
        editor.get_by_text("Vorhersage").click()
        expect(editor.locator(".captions")).to_contain_text("Die Vorhersage für morgen")

    def test_medium_that_the_browser_cannot_play_is_told(self, page: Page, service: Service):
        service.results["job-a", 0]["source"]["path"] = "dataset/gone.mpg"
        page.goto("/#/jobs/job-a/0")
        expect(page.get_by_role("alert")).to_contain_text("cannot play")


class TestEditing:
    def test_correction_is_saved(self, editor: Page, service: Service):
        editor.get_by_role("button", name="Edit: Im Norden").click()
        editor.get_by_label("Text of the segment").fill("Im Norden regnet es, im Süden bleibt es freundlich.")
        editor.get_by_role("button", name="Done").click()
        expect(editor.get_by_text("Saved", exact=True)).to_be_visible()
        assert [one["text"] for one in service.saved[-1]][2] == "Im Norden regnet es, im Süden bleibt es freundlich."
        assert set(service.saved[-1][0]) == {"start", "end", "text"}

    def test_by_keyboard_alone(self, editor: Page, service: Service):
        editor.keyboard.press("e")
        editor.keyboard.press("End")
        editor.keyboard.type(" Hallo")
        editor.keyboard.press("Enter")
        expect(editor.get_by_label("Text of the segment")).to_have_value(
            "Die Vorhersage für morgen, Sonntag, den sechsten."
        )
        editor.keyboard.press("Escape")
        expect(editor.get_by_text("Saved", exact=True)).to_be_visible()
        assert service.saved[-1][0]["text"] == "Guten Abend. Hallo"

    def test_escape_drops_the_change(self, editor: Page, service: Service):
        editor.keyboard.press("e")
        editor.keyboard.type("x")
        editor.keyboard.press("Escape")
        expect(editor.get_by_text("Guten")).to_be_visible()
        assert not service.saved

    def test_split_join_undo(self, editor: Page, service: Service):
        editor.get_by_role("button", name="Edit: Guten Abend.").click()
        area = editor.get_by_label("Text of the segment")
        area.evaluate("area => area.setSelectionRange(6, 6)")
        editor.keyboard.press("Control+Enter")
        expect(editor.locator(".transcript > li")).to_have_count(5)
        editor.get_by_role("button", name="Join with next").click()
        expect(editor.locator(".transcript > li")).to_have_count(4)
        editor.keyboard.press("Escape")
        editor.get_by_role("button", name="Undo").click()
        expect(editor.locator(".transcript > li")).to_have_count(5)
        editor.keyboard.press("Control+z")
        expect(editor.locator(".transcript > li")).to_have_count(4)
        expect(editor.get_by_text("Saved", exact=True)).to_be_visible()
        assert service.saved[-1][0]["text"] == "Guten Abend."

    def test_times(self, editor: Page, service: Service):
        editor.get_by_role("button", name="Edit: Guten Abend.").click()
        editor.get_by_label("End", exact=True).fill("0:01.80")
        editor.keyboard.press("Enter")
        expect(editor.get_by_text("Saved", exact=True)).to_be_visible()
        assert service.saved[-1][0]["end"] == 1.8

    def test_conflict_is_for_the_person_to_settle(self, editor: Page, service: Service):
        service.results["job-a", 0]["revision"] = 5
        editor.keyboard.press("e")
        editor.keyboard.press("End")
        editor.keyboard.type(" Meins")
        editor.keyboard.press("Enter")
        expect(editor.get_by_text("Another person has changed")).to_be_visible()
        editor.get_by_role("button", name="Keep mine").click()
        expect(editor.get_by_text("Saved", exact=True)).to_be_visible()
        assert service.saved[-1][0]["text"] == "Guten Abend. Meins"

    def test_failure_keeps_the_text(self, editor: Page, service: Service):
        service.refuse_saving = True
        editor.keyboard.press("e")
        editor.keyboard.press("End")
        editor.keyboard.type(" Neu")
        editor.keyboard.press("Enter")
        expect(editor.get_by_text("Not saved: The disk is full.")).to_be_visible()
        service.refuse_saving = False
        editor.get_by_role("button", name="Try again").click()
        expect(editor.get_by_text("Saved", exact=True)).to_be_visible()
        assert service.saved[-1][0]["text"] == "Guten Abend. Neu"

    @pytest.mark.parametrize("form", ["VTT", "SRT", "EAF", "TXT", "JSON"])
    def test_download(self, editor: Page, form: str):
        with editor.expect_download() as download:
            editor.get_by_role("link", name=form, exact=True).click()
        assert download.value.suggested_filename == f"talk.{form.lower()}"


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("place", PLACES)
    def test_nothing_for_axe_to_find(self, page: Page, axe: str, place: str, scheme):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.goto(place)
        expect(page.get_by_role("heading").first).to_be_visible()
        if place.endswith("/0"):
            page.get_by_role("button", name="Edit: Guten Abend.").click()
        page.wait_for_timeout(500)
        page.evaluate(axe)
        found = page.evaluate("axe.run()")
        wrong = [(one["id"], one["help"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
        assert not wrong

    def test_sign_in_has_nothing_for_axe_to_find(self, stranger: Page, axe: str):
        expect(stranger.get_by_label("Token")).to_be_visible()
        stranger.evaluate(axe)
        assert not stranger.evaluate("axe.run()")["violations"]

    @pytest.mark.parametrize("place", PLACES)
    def test_fits_a_phone(self, page: Page, place: str):
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        page.goto(place)
        expect(page.get_by_role("heading").first).to_be_visible()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    def test_choice_of_colours_is_kept(self, page: Page):
        page.get_by_role("button", name="Colours: as the system").click()
        page.get_by_role("button", name="Colours: light").click()
        page.reload()
        expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"

    def test_colours_follow_the_system_until_one_is_chosen(self, page: Page):
        def background() -> str:
            return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

        page.emulate_media(color_scheme="light")
        light = background()
        page.emulate_media(color_scheme="dark")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert background() != light
        page.get_by_role("button", name="Colours: as the system").click()
        assert background() == light

    def test_works_below_a_path(self, browser: Browser, running: Running):
        """All addresses are relative, for a reverse proxy that takes a path off."""
        page = browser.new_page()
        page.route("**/talk/**", lambda route: route.continue_(url=route.request.url.replace("/talk/", "/")))
        page.goto(f"{running.origin}/talk/")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="New transcription")).to_be_visible()
        page.close()
