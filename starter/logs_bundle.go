package starter

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/temporalproto"

	"imageport/job"
)

// bundleReadMe explains a bundle to whoever is sent one.
const bundleReadMe = `What is known of a job of imageport, for those who look into it.

status.json   how it stands, or how it ended; with its result or error
result.json   what it made, where it has completed
logs.json     the ends of its logs, and logs/ the same as text
history.json  what Temporal has recorded of it, step by step
*.png         screens, where there are some

What looked like a password, key or token was replaced by ` + job.Redacted + `. Names of servers,
shares, images and users are in it.
`

// Bundle writes all that is known of a job as a ZIP file, without secrets: what
// to send to somebody who is to find out what went wrong.
func (c *Client) Bundle(ctx context.Context, id string, w io.Writer) error {
	d, err := c.find(ctx, id)
	if err != nil {
		return err
	}
	v := view{client: c}
	status, err := v.status(ctx, d)
	if err != nil {
		return err
	}
	logs, err := c.logs(ctx, d)
	if err != nil {
		return err
	}
	events, err := c.historyJSON(ctx, d)
	if err != nil {
		return err
	}
	b := bundle{zip: zip.NewWriter(w), modified: status.Started}
	b.add("README.txt", []byte(bundleReadMe))
	if g := status.Guest; g != nil && len(g.Screen) > 0 {
		b.add("guest.png", g.Screen)
		report := *g
		report.Screen, status.Guest = nil, &report
	}
	if r := status.Result; r != nil {
		result := *r
		if boot := r.Boot; boot != nil && len(boot.Screenshot) > 0 {
			b.add("boot.png", boot.Screenshot)
			proof := *boot
			proof.Screenshot, result.Boot = nil, &proof
		}
		status.Result = &result
		b.addJSON("result.json", result)
	}
	b.addJSON("status.json", status)
	b.addJSON("logs.json", logs)
	for i, log := range logs.Logs {
		b.add(fmt.Sprintf("logs/%02d-%s-%s.txt", i+1, log.Source, fileName(log.Name)), []byte(log.Text))
	}
	b.add("history.json", events)
	return b.close()
}

// historyJSON is the history with its payloads as the JSON that they hold.
func (c *Client) historyJSON(ctx context.Context, d *description) ([]byte, error) {
	var h history.History
	if err := c.events(ctx, d, func(e *history.HistoryEvent) { h.Events = append(h.Events, e) }); err != nil {
		return nil, err
	}
	options := temporalproto.CustomJSONMarshalOptions{Metadata: map[string]any{common.EnablePayloadShorthandMetadataKey: true}}
	b, err := options.Marshal(&h)
	if err != nil {
		return nil, fmt.Errorf("the history of the job as JSON: %w", err)
	}
	return redacted(b)
}

// redacted gives JSON without secrets, on many lines.
func redacted(b []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(job.RedactJSON(v)); err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	return out.Bytes(), nil
}

// bundle is a ZIP file in the making. It keeps the first error.
type bundle struct {
	zip      *zip.Writer
	modified time.Time
	err      error
}

func (b *bundle) add(name string, content []byte) {
	if b.err != nil {
		return
	}
	f, err := b.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: b.modified.UTC()})
	if err == nil {
		_, err = f.Write(content)
	}
	if err != nil {
		b.err = fmt.Errorf("write %s: %w", name, err)
	}
}

func (b *bundle) addJSON(name string, v any) {
	content, err := json.Marshal(v)
	if err == nil {
		content, err = redacted(content)
	}
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("write %s: %w", name, err)
	}
	b.add(name, content)
}

func (b *bundle) close() error {
	if b.err != nil {
		return b.err
	}
	return b.zip.Close()
}

// fileName makes a name for a file of any system from that of a log, which a
// guest may have chosen.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, path.Base(strings.ReplaceAll(name, `\`, "/")))
	return strings.Trim(name[:min(len(name), 60)], ".")
}
