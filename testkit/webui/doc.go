// Package webui drives Temporal's Web UI in a headless Chromium, as somebody does
// who knows nothing but the UI: by its search field, links, tabs and buttons.
//
// It guarantees that what it gives was visible on the page, and that the browser
// ends with the context that it was opened with. It asks the Temporal server for
// nothing, and knows the markup of the UI in the pinned Temporal CLI: with
// another one, its tests (make webui) say what has changed.
package webui
