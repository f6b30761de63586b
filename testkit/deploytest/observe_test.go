package deploytest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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
			Panels  []any // of a row that is folded, in which nobody would look here
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
		if len(p.Panels) > 0 {
			t.Errorf("the row %s is folded", p.Title)
		}
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
	if alerts := strings.Count(string(rules), "- alert: "); alerts != strings.Count(string(rules), " expr: ") || regexp.MustCompile(`expr: *[|>]`).Match(rules) {
		t.Fatal("an alert has no expression on one line")
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
	"imageport_ces", "imageport_ce_oldest_seconds", "imageport_sweep_findings_total", "imageport_sweep_last_timestamp_seconds",
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

// known are the labels of our metrics, by the metric, and the words that the
// package knows, as it has them in its source.
func known(t *testing.T) (labels map[string][]string, words map[string]bool) {
	t.Helper()
	labels, words = map[string][]string{}, map[string]bool{}
	texts := func(n ast.Node) (all []string) {
		ast.Inspect(n, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value) // the parser has read it
				all = append(all, text)
			}
			return true
		})
		return all
	}
	for _, room := range []string{"observe", "job"} {
		files, err := filepath.Glob(filepath.Join(root, room, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range texts(file) {
				words[text] = true
			}
			ast.Inspect(file, func(n ast.Node) bool {
				// Of a name, a help and labels.
				if call, ok := n.(*ast.CallExpr); ok {
					if all := texts(call); len(all) > 1 && strings.HasPrefix(all[0], "imageport_") {
						labels[all[0]] = all[2:]
					}
				}
				return true
			})
		}
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		words[strings.ToLower(level.String())] = true
	}
	if len(labels) < 15 {
		t.Fatalf("only %d metrics were found", len(labels))
	}
	return labels, words
}

var (
	grouping  = regexp.MustCompile(`\b(?:by|without|on|ignoring) \(([^)]*)\)`)
	matcher   = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"([^"]*)"`)
	annotated = regexp.MustCompile(`\$labels\.([a-z_]+)`)
)

// The labels that the dashboard and the alerts want are those of the metrics that
// they are about, and may be what they want them to be. What an alert says is of
// labels that its expression leaves.
func TestLabels(t *testing.T) {
	ours, words := known(t)
	theirs := map[string][]string{ // of others' metrics
		"temporal_workflow_task_execution_failed_total": {"workflow_type"},
		"http_server_request_duration_seconds_count":    {"http_response_status_code"},
	}
	target := []string{"instance", "job"} // of every metric
	for where, expr := range expressions(t) {
		labels := slices.Clone(target)
		for _, name := range metricName.FindAllString(expr, -1) {
			of, ok := ours[name]
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				if base, is := strings.CutSuffix(name, suffix); is && !ok {
					of = ours[base]
				}
			}
			if labels = append(append(labels, of...), theirs[name]...); strings.HasSuffix(name, "_bucket") {
				labels = append(labels, "le")
			}
		}
		left := labels
		for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
			left = strings.FieldsFunc(group[1], func(r rune) bool { return r == ',' || r == ' ' })
			for _, label := range left {
				if !slices.Contains(labels, label) {
					t.Errorf("%s: there is no label %s to group by", where, label)
				}
			}
		}
		for _, m := range matcher.FindAllStringSubmatch(expr, -1) {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("%s: there is no label %s to look for", where, m[1])
			}
			for _, word := range strings.Split(m[2], "|") {
				if !slices.Contains([]string{"job", "activity"}, m[1]) && !words[word] {
					t.Errorf("%s: %s is never %q", where, m[1], word)
				}
			}
		}
		for _, label := range annotated.FindAllStringSubmatch(annotations(t)[where], -1) {
			if !slices.Contains(left, label[1]) {
				t.Errorf("%s tells of the label %s, which it does not have", where, label[1])
			}
		}
	}
}

// annotations are the texts of the alerts.
func annotations(t *testing.T) map[string]string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, rule := range strings.Split(string(rules), "- alert: ")[1:] {
		name, text, _ := strings.Cut(rule, "\n")
		found["alert "+name] = text[strings.Index(text, "annotations:"):]
	}
	return found
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
