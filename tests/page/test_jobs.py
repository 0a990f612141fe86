"""The list of jobs."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.page.recordings import FIRST, LONG, SECOND, STEPS, loss
from tests.page.visiting import Visit, query
from tests.recording import until
from tests.serving import Server, create_job, training_rows


def row(page: Page, job: str) -> Locator:
    return page.locator(f'tr[data-id="{job}"]')


def test_a_job_shows_status_model_progress_last_loss_and_a_sparkline(page: Page) -> None:
    page.goto("/?search=first")
    one = row(page, FIRST)
    expect(one.get_by_role("link", name="first")).to_be_visible()
    expect(one.locator(".status")).to_have_text("completed")
    expect(one.locator(".model")).to_have_text("Qwen/Qwen3-0.6B")
    expect(one.locator(".progress")).to_have_text("100%")
    expect(one.locator(".loss")).to_have_text(f"{loss(STEPS) - 0.1:.4f}")
    expect(one.locator("svg path")).to_have_count(1)
    expect(page.locator(".project")).to_have_text("default")


def test_jobs_are_found_by_name_id_model_and_tag_and_the_address_says_so(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("SECOND")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(row(page, SECOND)).to_be_visible()
    expect(page.locator(".tally")).to_have_text("1 job found")
    page.wait_for_url("**/?search=SECOND")


def test_jobs_are_filtered_by_status(page: Page, recorded_job: str) -> None:
    page.goto("/")
    page.get_by_label("Status").select_option("running")
    expect(row(page, recorded_job)).to_be_visible()
    expect(row(page, FIRST)).to_have_count(0)
    page.wait_for_url("**/?status=running")
    expect(row(page, recorded_job).locator(".progress")).to_contain_text("left")


def test_nothing_found_says_what_to_do(page: Page) -> None:
    page.goto("/?search=nobody-has-this")
    expect(page.locator(".state")).to_contain_text("No job is like that.")
    page.get_by_role("button", name="Show all").click()
    expect(row(page, FIRST)).to_be_visible()


def test_the_list_is_live(page: Page, recorded: Server) -> None:
    page.goto("/?search=arrives")
    expect(page.locator(".state")).to_be_visible()
    with recorded.client() as api:
        job = create_job(api, name="arrives late")
        expect(row(page, job.id)).to_be_visible()
        expect(row(page, job.id).locator(".status")).to_have_text("pending")
        rows = training_rows(8)
        api.post(f"/v1/fine-tunes/{job.id}/metrics", json={"metrics": rows})
        expect(row(page, job.id).locator(".status")).to_have_text("running")
        expect(row(page, job.id).locator(".loss")).to_have_text(f"{rows[-1]['train/loss']:.3f}")


def test_a_long_list_comes_in_pages_newest_first(page: Page, recorded: Server) -> None:
    with recorded.client() as api:
        for number in range(120):
            create_job(api, name=f"many {number}")
    page.goto("/?search=many")
    expect(page.locator(".tally")).to_have_text("120 jobs found")
    expect(page.locator("tbody tr").first).to_contain_text("many 119")
    page.locator(".foot").scroll_into_view_if_needed()
    until(lambda: scrolled(page) == 120, "the list's end")
    expect(page.locator("tbody tr").last).to_contain_text("many 0")


def scrolled(page: Page) -> int:
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    return page.locator("tbody tr").count()


def test_chosen_jobs_are_compared(page: Page) -> None:
    page.goto("/?search=sft")
    page.get_by_label("Choose first").check()
    page.get_by_label("Choose second").check()
    expect(page.get_by_role("region", name="Chosen jobs")).to_contain_text("2 chosen")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("h1")).to_have_text("2 jobs")
    assert query(page)["job"] == [FIRST, SECOND]


def test_an_empty_service_shows_the_lines_that_record_a_first_run(
    context: BrowserContext, fresh_server: Server
) -> None:
    context.clear_cookies()
    answer = context.request.post(
        f"{fresh_server.url}/session", data={"api_key": fresh_server.api_key}
    )
    assert answer.status == 204
    with Visit(context) as visit:
        visit.page.goto(fresh_server.url)
        expect(visit.page.locator(".state")).to_contain_text(f"TUNELOG_URL={fresh_server.url}")
        expect(visit.page.locator(".state")).to_contain_text("with tunelog.init(model=")


def test_a_list_that_cannot_be_read_says_so_and_heals(page: Page) -> None:
    page.route("**/v1/fine-tunes?*", lambda route: route.abort())
    page.goto("/?search=long")
    expect(page.locator("h1")).to_have_text("The service does not answer.")
    page.unroute("**/v1/fine-tunes?*")
    expect(row(page, LONG)).to_be_visible()
