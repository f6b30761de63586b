package webui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Tab is a tab of a workflow's page.
type Tab string

// The tabs that tell of a job.
const (
	History           Tab = "history"
	PendingActivities Tab = "pending-activities"
	UserMetadata      Tab = "user-metadata"
	SearchAttributes  Tab = "search-attributes"
	Queries           Tab = "queries"
)

// testID selects an element by the name that the UI gives it for tests.
func testID(id string) string { return fmt.Sprintf("[data-testid=%q]", id) }

// List opens the list of workflows.
func (u *UI) List() error {
	if err := u.do("open the list of workflows", chromedp.Navigate(u.namespaceURL+"/workflows")); err != nil {
		return err
	}
	// What is typed before the answer comes is lost.
	_, err := await(u, "how many workflows there are", fmt.Sprintf(`document.querySelector(%s)?.innerText.trim() ?? ""`, quote(testID("workflow-count"))), func(count string) bool { return count != "" })
	return err
}

// queryField is where a query is typed; the button beside the filters shows and
// hides it.
const queryField = `input[placeholder="Enter a query"]`

// Search types a query ("ImageportPhase = 'compose'") into the field of the list,
// and gives the rows as Rows does.
func (u *UI) Search(query string, wanted ...string) ([]map[string]string, error) {
	shown, err := read[bool](u, fmt.Sprintf(`!!document.querySelector(%s)?.offsetParent`, quote(queryField)))
	if err != nil {
		return nil, err
	}
	if !shown {
		if err := u.do("show the query field", chromedp.Click(chromedp.CSS(testID("toggle-manual-query")))); err != nil {
			return nil, err
		}
	}
	if err := u.settle(queryField); err != nil {
		return nil, err
	}
	// A page that is still at something forgets what is typed: then it is typed again.
	const tries = 5
	for range tries {
		if err := u.do("type the query", chromedp.Click(chromedp.CSS(queryField)),
			chromedp.KeyEvent("a", chromedp.KeyModifiers(kb.ModifierCtrl)), // over the one before
			chromedp.KeyEvent(query+kb.Enter),
			chromedp.Sleep(time.Second)); err != nil {
			return nil, err
		}
		asked, err := read[string](u, `new URL(location.href).searchParams.get("query") ?? ""`)
		if err != nil {
			return nil, err
		}
		if asked == query {
			return u.Rows(wanted...)
		}
	}
	return nil, fmt.Errorf("the list does not take the query %s; %s", query, u.excerpt())
}

// Rows gives the rows of the list, text by column heading, when it has just the
// wanted workflow ids, in whatever order.
func (u *UI) Rows(wanted ...string) ([]map[string]string, error) {
	wanted = slices.Sorted(slices.Values(wanted))
	const script = `(() => {
		const head = [...document.querySelectorAll('[data-testid^="workflows-summary-table-header-cell-"]')].map(e => e.innerText.trim())
		return [...document.querySelectorAll('[data-testid="workflows-summary-configurable-table-row"]')].map(row => {
			const cells = [...row.querySelectorAll('[data-testid="workflows-summary-table-body-cell"]')]
			return Object.fromEntries(cells.map((cell, i) => [head[i], cell.innerText.trim()]))
		})
	})()`
	return await(u, fmt.Sprintf("just %q", wanted), script, func(rows []map[string]string) bool {
		var ids []string
		for _, row := range rows {
			ids = append(ids, row["Workflow ID"])
		}
		slices.Sort(ids)
		return slices.Equal(ids, wanted)
	})
}

// ShowColumn adds a column to the list, or takes it away. The browser keeps them.
func (u *UI) ShowColumn(heading string, shown bool) error {
	button := testID("orderable-list-item-"+heading) + " > button"
	what := "choose the column " + heading
	if err := u.do(what, chromedp.Click(chromedp.CSS(testID("workflows-summary-table-configuration-button"))),
		chromedp.WaitVisible(chromedp.CSS(button)), chromedp.ScrollIntoView(chromedp.CSS(button))); err != nil {
		return err
	}
	if err := u.settle(button); err != nil { // it slides in
		return err
	}
	if err := u.do(what, chromedp.Click(chromedp.CSS(button))); err != nil {
		return err
	}
	if _, err := await(u, "what was chosen of column "+heading, `[...document.querySelectorAll("th")].map(e => e.innerText.trim())`, func(head []string) bool {
		return slices.Contains(head, heading) == shown
	}); err != nil {
		return err
	}
	return u.List()
}

// OpenJob follows the list's link to a workflow.
func (u *UI) OpenJob(id string) error {
	return u.do("open "+id, chromedp.Click(fmt.Sprintf(`//td//a[normalize-space()=%q]`, id)),
		chromedp.WaitVisible(chromedp.CSS(testID("workflow-id-heading"))))
}

// AwaitStatus waits until the head of a workflow's page shows a status.
func (u *UI) AwaitStatus(status string) error {
	const script = `document.querySelector('[data-testid="workflow-id-heading"]')?.parentElement.parentElement.querySelector("span").innerText.trim() ?? ""`
	_, err := await(u, "status "+status, script, func(shown string) bool { return shown == status })
	return err
}

// Open opens a tab of a workflow's page.
func (u *UI) Open(tab Tab) error {
	selector := testID(string(tab) + "-tab")
	return u.do("open the tab "+string(tab), chromedp.WaitVisible(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// Await waits until the page shows all of these texts, and gives all that it
// shows. What it shows of Markdown lies in frames, and counts.
func (u *UI) Await(texts ...string) (string, error) {
	const script = `[document.querySelector("#content, body"), ...[...document.querySelectorAll("iframe")].map(f => f.contentDocument?.body)]
		.map(e => e?.innerText ?? "").join("\n").replaceAll("\u00a0", " ")`
	return await(u, strings.Join(texts, " | "), script, func(page string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(page, text) })
	})
}

// Cancel asks for a workflow's cancellation by the button on its page, and
// confirms it. Between the two there is the dialog to be photographed.
func (u *UI) Cancel(photograph func() error) error {
	// The page has a second button for narrow windows, which is hidden in ours.
	const button = `//div[contains(@class, "max-xl:hidden")]//button[contains(., "Request Cancellation")]`
	confirm := testID("cancel-confirmation-modal") + "[open] " + testID("confirm-modal-button")
	if err := u.do("request the cancellation", chromedp.Click(button), chromedp.WaitVisible(chromedp.CSS(confirm))); err != nil {
		return err
	}
	if err := u.settle(confirm); err != nil {
		return err
	}
	if err := photograph(); err != nil {
		return err
	}
	return u.do("confirm the cancellation", chromedp.Click(chromedp.CSS(confirm)))
}

// Query asks a workflow, on its page's tab Queries. Await tells when the answer is
// there.
func (u *UI) Query(name string) error {
	const unfolding = time.Second // of the menu
	return u.do("run the query "+name,
		chromedp.Click(chromedp.CSS(testID("query-select-button"))), chromedp.Sleep(unfolding),
		chromedp.Click(fmt.Sprintf(`//li[@role="option"][.//span[normalize-space()=%q]]`, name)), chromedp.Sleep(unfolding),
		chromedp.Click(`//button[normalize-space()="Run Query"]`))
}
