package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
)

// healthTimeout is how long a process may take to say that it is well.
const healthTimeout = 5 * time.Second

func (a *app) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health url",
		Short: "Ask a process of imageport whether it is well",
		Long: `Ask a process of imageport whether it is well, and exit with 0 if it is: for the
health checks of containers, which have no other program in them. A worker answers at
/healthz of the address that is listen under [metrics] in its configuration.`,
		Example: `  imageport health http://127.0.0.1:9464/healthz`,
		Args:    cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			ctx, cancel := context.WithTimeout(ctx, healthTimeout)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
			if err != nil || request.URL.Host == "" || request.URL.Scheme != "http" && request.URL.Scheme != "https" {
				return job.Errorf(job.BadRequest, "Give a URL such as http://127.0.0.1:9464/healthz", "%q is not the URL of a process", args[0])
			}
			// Not through a proxy of the environment: it is this machine that is asked.
			answer, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
			if err != nil {
				return fmt.Errorf("no answer: %w", err)
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)) // what came before it broke says enough
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("not well: %s: %.200s", answer.Status, bytes.TrimSpace(text))
			}
			if a.output == outputJSON {
				return a.printJSON(map[string]bool{"ok": true})
			}
			_, err = fmt.Fprintln(a.out, "ok")
			return err
		}),
	}
}
