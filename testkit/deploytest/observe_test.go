package deploytest

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imageport/activities"
	"imageport/engine/agent"
	"imageport/testkit/disktest"
)

// metricName finds the names of metrics in a PromQL expression.
var metricName = regexp.MustCompile(`\b(?:imageport|temporal|http|process|go)_[a-z0-9_]+\b`)

// expressions are those of the dashboard and of the alert rules, by where they are.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	var dashboard struct {
		UID    string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy/grafana/imageport.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for i, target := range p.Targets {
			found[p.Title+" "+string(rune('A'+i))] = target.Expr
		}
	}
	rules, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	alert := ""
	for line := range strings.Lines(string(rules)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "- alert: "); ok {
			alert = name
		}
		if expr, ok := strings.CutPrefix(line, "expr: "); ok {
			found["alert "+alert] = expr
		}
	}
	if len(found) < 30 {
		t.Fatalf("only %d expressions", len(found))
	}
	return found
}

// rare are metrics that a worker has while jobs run, after something went wrong, or after a
// while.
var rare = []string{
	"imageport_jobs_running", "imageport_activity_failures_total", "imageport_gateway_denials_total", "imageport_activity_progress_bytes_total",
	"imageport_ces", "imageport_ce_oldest_seconds", "imageport_sweep_findings_total",
	"temporal_workflow_task_execution_failed_total", "http_server_request_duration_seconds_count",
}

// unknownNames fails the test for metrics that the dashboard or the alerts want,
// and that a worker which has done a job does not have.
func unknownNames(t *testing.T, metrics string) {
	t.Helper()
	var source strings.Builder
	for _, file := range []string{"measures.go", "jobs.go"} {
		text, err := os.ReadFile(filepath.Join(root, "observe", file))
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for where, expr := range expressions(t) {
		for _, name := range metricName.FindAllString(expr, -1) {
			switch name {
			case "http_response_status_code": // a label
				continue
			}
			have := strings.Contains(metrics, "\n"+name+"{") || strings.Contains(metrics, "\n"+name+" ")
			if have {
				continue
			}
			if !slices.Contains(rare, name) {
				t.Errorf("%s wants %s, which a worker does not have", where, name)
			} else if strings.HasPrefix(name, "imageport_") && !strings.Contains(source.String(), `"`+name+`"`) {
				t.Errorf("%s wants %s, which there is not", where, name)
			}
		}
	}
}

// Activities that the dashboard names are there.
func TestDashboardActivities(t *testing.T) {
	var names []string
	for _, of := range []reflect.Type{reflect.TypeFor[*activities.Controller](), reflect.TypeFor[*agent.Engine]()} {
		for i := range of.NumMethod() {
			names = append(names, of.Method(i).Name)
		}
	}
	for where, expr := range expressions(t) {
		for _, matched := range regexp.MustCompile(`activity=~?"([^"]*)"`).FindAllStringSubmatch(expr, -1) {
			for _, name := range strings.Split(matched[1], "|") {
				if !slices.Contains(names, name) {
					t.Errorf("%s is about activity %s, which there is not", where, name)
				}
			}
		}
	}
}

// Prometheus takes the alert rules, and they fire when they should; and it takes
// the expressions of the dashboard, as rules.
func TestPromtool(t *testing.T) {
	promtool := filepath.Join(root, "bin/promtool")
	if _, err := os.Stat(promtool); err != nil {
		t.Fatalf("%v: run make tools", err)
	}
	dir := filepath.Join(root, "deploy/prometheus")
	disktest.Run(t, promtool, "check", "rules", filepath.Join(dir, "alerts.yml"))
	disktest.Run(t, promtool, "test", "rules", filepath.Join(dir, "alerts_test.yml"))
	disktest.Run(t, promtool, "check", "config", filepath.Join(dir, "prometheus.yml"))
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, expr := range expressions(t) {
		rules = append(rules, rule{"expression:" + strings.Repeat("x", len(rules)+1), expr})
	}
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, promtool, "check", "rules", file)
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
