package webui

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/chromedp/chromedp"
)

// The page's size, in pixels: the least that shows a job's head and the details
// under it without scrolling.
const width, height = 1280, 800

const (
	// patience is how long the page may take to show what it should. It asks the
	// server every few seconds.
	patience = 30 * time.Second
	// glance is the time between two looks at it.
	glance = 100 * time.Millisecond
	// maxExcerpt is how much of a page an error tells, in bytes.
	maxExcerpt = 2 << 10
)

// UI is Temporal's Web UI in a browser of its own, with one page.
type UI struct {
	namespaceURL string // without a slash at the end
	page         context.Context
	close        func()
}

// Open starts a Chromium for the UI at an address ("http://host:port"). It ends
// with the context, or by Close.
func Open(ctx context.Context, address, namespace string) (*UI, error) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("no Chromium (%w): run make webui, which installs it", err)
	}
	browser, endBrowser := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program),
		chromedp.WSURLReadTimeout(patience), // a busy machine starts it slowly
	)...)
	page, endPage := chromedp.NewContext(browser)
	u := &UI{
		namespaceURL: address + "/namespaces/" + namespace,
		page:         page,
		close:        func() { endPage(); endBrowser() },
	}
	// The first action starts the browser, which lives as long as its context.
	if err := chromedp.Do(page, chromedp.EmulateViewport(width, height)); err != nil {
		u.close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return u, nil
}

// Close ends the browser, and returns when it is gone.
func (u *UI) Close() error {
	defer u.close()
	if err := chromedp.Cancel(u.page); err != nil {
		return fmt.Errorf("end Chromium: %w", err)
	}
	return nil
}

// do does something on the page, within patience.
func (u *UI) do(what string, steps ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(u.page, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		return fmt.Errorf("%s: %w; %s", what, err, u.excerpt())
	}
	return nil
}

// read evaluates JavaScript on the page.
func read[T any](u *UI, script string) (T, error) {
	ctx, cancel := context.WithTimeout(u.page, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		return value, fmt.Errorf("read the page with %s: %w", script, err)
	}
	return value, nil
}

// await reads the page until it shows what is wanted, and gives that.
func await[T any](u *UI, what, script string, wanted func(T) bool) (T, error) {
	for deadline := time.Now().Add(patience); ; {
		value, err := read[T](u, script)
		switch {
		// While a page gives way to the next one, there may be nothing to read.
		case err != nil && !errors.Is(err, chromedp.ErrJSNull) && time.Now().After(deadline):
			return value, err
		case err == nil && wanted(value):
			return value, nil
		case time.Now().After(deadline):
			return value, fmt.Errorf("the page does not show %s: it has %v; %s", what, value, u.excerpt())
		}
		select {
		case <-u.page.Done():
			return value, fmt.Errorf("wait for %s: %w", what, context.Cause(u.page))
		case <-time.After(glance):
		}
	}
}

// settle waits until an element has stopped moving: a click on one that slides in
// would miss it.
func (u *UI) settle(selector string) error {
	last := ""
	_, err := await(u, selector+" at rest", fmt.Sprintf(`JSON.stringify(document.querySelector(%s)?.getBoundingClientRect() ?? "")`, quote(selector)), func(place string) bool {
		before := last
		last = place
		return place == before
	})
	return err
}

// excerpt is where the page is and the beginning of what it shows, for errors.
func (u *UI) excerpt() string {
	text, err := read[string](u, `location.href + "\n" + document.querySelector("#content, body").innerText`)
	if err != nil {
		return "the page cannot be read"
	}
	return "the page is " + text[:min(len(text), maxExcerpt)]
}

// quote makes a JavaScript string.
func quote(s string) string { return strconv.QuoteToASCII(s) }
