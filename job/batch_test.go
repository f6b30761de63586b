package job

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const batchTemplate = `{"platform":"local","resourceLocationId":"lab","inputStorageLocation":{"credentialId":"smb","host":"Files","sharePath":"PVS/Store"}}`

func parseBatch(t *testing.T, body string) (BatchRequest, []string) {
	t.Helper()
	r, warnings, err := ParseBatch([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return r, warnings
}

func TestBatchJobs(t *testing.T) {
	r, warnings := parseBatch(t, `{"name":"floor-3","Operation":"CONVERTTOUEFI","template":`+batchTemplate+`,"output":"{name}-uefi","extra":1,
		"images":["win10", "old.vhd", {"InputImageFilename":"win11.3.avhdx","outputImageFilename":"mine","colour":"blue"},
			{"inputImageFilename":"far","inputStorageLocation":{"credentialId":"smb","host":"other","sharePath":"x"}}]}`)
	jobs, more, err := r.Jobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{`unknown key "extra" was ignored`, `unknown key "colour" was ignored`}; !slices.Equal(warnings, want) || !slices.Equal(more, want[1:]) {
		t.Errorf("warnings %q and %q", warnings, more)
	}
	var got []string
	for _, j := range jobs {
		got = append(got, fmt.Sprintf("%s -> %s [%s|%s] %s %s", j.Image, j.Output, j.Share, j.Host, j.JobID, j.Summary(r.Operation)))
	}
	want := []string{
		`\\Files\PVS\Store\win10.vhdx -> \\Files\PVS\Store\win10-uefi.avhdx [files/pvs|files] ips/files/pvs/store/win10.vhdx convertToUefi win10.vhdx -> win10-uefi.avhdx`,
		`\\Files\PVS\Store\old.vhd -> \\Files\PVS\Store\old-uefi.avhd [files/pvs|files] ips/files/pvs/store/old.vhd convertToUefi old.vhd -> old-uefi.avhd`,
		`\\Files\PVS\Store\win11.3.avhdx -> \\Files\PVS\Store\mine.avhdx [files/pvs|files] ips/files/pvs/store/win11.3.avhdx convertToUefi win11.3.avhdx -> mine.avhdx`,
		`\\other\x\far.vhdx -> \\other\x\far-uefi.avhdx [other/x|other] ips/other/x/far.vhdx convertToUefi far.vhdx -> far-uefi.avhdx`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("jobs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Concurrency != (BatchConcurrency{DefaultBatchPerShare, DefaultBatchPerHost, DefaultBatchTotal}) || !r.ContinuesOnError() || !r.SkipsPresent() || r.DryRun {
		t.Errorf("defaults: %+v", r)
	}
	if id, err := r.WorkflowID(); err != nil || id != "batch/lab/floor-3" {
		t.Errorf("id %q, %v", id, err)
	}
	// The body of each job is a request that starts alone as well.
	if _, _, err := Parse[ConvertToUEFI](jobs[2].Body); err != nil {
		t.Error(err)
	}
}

func TestBatchOfEveryOperation(t *testing.T) {
	for op, c := range map[Operation]struct{ fields, output, want string }{
		OpReverseImage:  {"", "[ds1] images/{name}.vmdk", "[ds1] images/win10.vmdk"},
		OpConvertToUEFI: {`,"pvsVersion":"next"`, "", ""},
		OpUpgradePVS:    {`,"upgradeOptions":{"installPvs":"2311"}`, "{name}-2311", `\\Files\PVS\Store\win10-2311.vhdx`},
	} {
		template := strings.TrimSuffix(batchTemplate, "}") + c.fields + "}"
		output, _ := json.Marshal(c.output)
		r, _ := parseBatch(t, fmt.Sprintf(`{"operation":%q,"template":%s,"pattern":"win*","output":%s,"dryRun":true}`, op, template, output))
		jobs, _, err := r.Jobs([]string{"win10.vhdx"})
		if err != nil {
			t.Errorf("%s: %v", op, err)
			continue
		}
		if j := jobs[0]; j.Output != c.want || (j.OutputFile == "") != (op != OpUpgradePVS) || j.NextVersion != (op == OpConvertToUEFI) || !strings.Contains(string(j.Body), `"dryRun":true`) {
			t.Errorf("%s: %+v", op, j)
		}
	}
}

func TestBatchDefaults(t *testing.T) {
	overwriting := strings.Replace(batchTemplate, "{", `{"overwriteOutput":true,`, 1)
	r, _ := parseBatch(t, `{"operation":"convertToUefi","template":`+overwriting+`,"images":["a"],"output":"{name}-u","continueOnError":false,"concurrency":{"total":1}}`)
	if r.SkipsPresent() || r.ContinuesOnError() || r.Concurrency != (BatchConcurrency{DefaultBatchPerShare, DefaultBatchPerHost, 1}) {
		t.Errorf("%+v", r)
	}
	again, _ := parseBatch(t, `{"continueOnError":false,"images":["a"], "output":"{name}-u","operation":"convertToUefi","concurrency":{"total":1},"template": `+overwriting+`}`)
	first, err := r.WorkflowID()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.WorkflowID(); err != nil || first != second || !strings.HasPrefix(first, "batch/lab/convertToUefi-") {
		t.Errorf("ids %q and %q, %v", first, second, err)
	}
}

func TestBatchRefused(t *testing.T) {
	body := func(rest string) string {
		return `{"operation":"convertToUefi","template":` + batchTemplate + `,` + rest + `}`
	}
	many := `"images":[` + strings.TrimSuffix(strings.Repeat(`"x",`, MaxBatchImages+1), ",") + `]`
	for body, says := range map[string]string{
		``:   "empty",
		`[]`: "not an object",
		`{"operation":"export","template":{},"images":["a"]}`:                                                           `operation "export" is none of`,
		`{"operation":"convertToUefi","images":["a"]}`:                                                                  "template is not the JSON object",
		`{"operation":"convertToUefi","template":{"inputImageFilename":"x","dryRun":true,"platform":4},"images":["a"]}`: "template.inputImageFilename: that is what images or pattern is for; template.dryRun: that is what dryRun of the batch is for; template: ",
		`{"operation":"convertToUefi","template":{"platform":"local","resourceLocationId":"l"},"images":["a"]}`:         "images[0] (a): inputStorageLocation.credentialId is missing",
		body(`"output":"{name}-u"`):                                                                          "give images, or a pattern",
		body(`"output":"{name}-u","images":["a"],"pattern":"*"`):                                             "either images or a pattern",
		body(`"output":"{name}-u","images":[5]`):                                                             "an image is a name, or an object",
		body(`"output":"u","pattern":"*"`):                                                                   "gives every image the same output",
		body(`"output":"{name}-{date}","pattern":"*"`):                                                       "the only thing that stands for something is {name}",
		body(`"output":"{name}-u","pattern":"a/*"`):                                                          "without a path",
		body(`"output":"{name}-u","pattern":"[a"`):                                                           "is no pattern",
		body(`"pattern":"*"`):                                                                                "outputImageFilename is missing",
		body(`"output":"{name}:u","pattern":"*"`):                                                            `{name}.vhdx: outputImageFilename "{name}:u" holds ":"`,
		body(`"output":"{name}-u","images":["a","A.vhdx"]`):                                                  "is given twice",
		body(`"output":"u","images":["a","b"]`):                                                              "have the same output",
		body(`"images":["a",{"inputImageFilename":"b","outputImageFilename":"c"}]`):                          "outputImageFilename is missing",
		body(`"output":"{name}-u","images":[{"inputImageFilename":"a","outputImageFilename":"b.vhdx"},"b"]`): "which is an image of the batch",
		body(`"output":"{name}-u","images":["../a"]`):                                                        `holds "/"`,
		body(`"output":"{name}-u","images":[{"outputImageFilename":"x"}]`):                                   "images[0]: inputImageFilename is missing",
		body(`"output":"{name}-u","images":[{"inputImageFilename":"x","dryRun":true}]`):                      "say it beside template",
		body(`"output":"{name}-u","images":[{"inputImageFilename":"x","resourceLocationId":"y"}]`):           "a batch has one resource location",
		body(`"output":"{name}-u","images":["a"],"concurrency":{"perHost":-1,"total":1000}`):                 "concurrency.perHost is -1: give a number from 1 to 200, or leave it out for 4; concurrency.total is 1000",
		body(`"output":"{name}-u","images":["a"],"name":"a/b"`):                                              "is no name of a batch",
		body(`"output":"{name}-u","images":["a"],"allVersions":true`):                                        "of use with a pattern only",
		body(`"output":"{name}-u",` + many):                                                                  "a batch may have 500",
		`{"operation":"convertToUefi","output":"{name}-u","images":["a"],"onlyMissing":true,"template":` + strings.Replace(batchTemplate, "{", `{"overwriteOutput":true,`, 1) + `}`:       "give one of them",
		`{"operation":"convertToUefi","output":"{name}-u","images":["a"],"template":` + strings.Replace(batchTemplate, "{", `{"x":"`+strings.Repeat("x", maxTemplateBytes)+`",`, 1) + `}`: "it may have 32768",
		strings.Repeat(" ", maxBatchBytes+1): "bytes long",
	} {
		_, _, err := ParseBatch([]byte(body))
		if CodeOf(err) != BadRequest || !strings.Contains(err.Error(), says) {
			t.Errorf("%.300s: got %v; want %q", body, err, says)
		}
	}
	r, _ := parseBatch(t, body(`"output":"{name}-u","pattern":"*"`))
	if _, _, err := r.Jobs(make([]string, MaxBatchImages+1)); CodeOf(err) != BadRequest || !strings.Contains(err.Error(), "narrower") {
		t.Errorf("too many: %v", err)
	}
	var images []string
	for i := range 20 {
		images = append(images, fmt.Sprintf(`"a:%d"`, i))
	}
	_, _, err := ParseBatch([]byte(body(`"output":"u","images":[` + strings.Join(images, ",") + `]`)))
	if err == nil || !strings.Contains(err.Error(), "and 10 more") {
		t.Errorf("many problems: %v", err)
	}
}

// A report of the largest batch, with the longest texts, fits into what Temporal
// gives back.
func TestLargestBatchReport(t *testing.T) {
	const limit = 2 << 20
	r := BatchReport{}
	long := strings.Repeat("x", 1000)
	now := time.Now()
	for range MaxBatchImages {
		item := BatchItem{Image: long[:127], Output: long[:127], JobID: long[:130], RunID: long[:36], Started: &now, Ended: &now, Tries: 9}
		item.Complete(&Result{Output: long[:127], SHA256: long[:64], WindowsProduct: "Windows Server 2025 Datacenter", PVSTarget: "7.44.0", Warnings: []string{long, long, long, long}})
		item.Fail(ItemFailed, Errorf(Internal, long, "%s", long))
		r.Items = append(r.Items, item)
	}
	r.Count()
	b, err := json.Marshal(r)
	if err != nil || len(b)+maxBatchBytes > limit*3/2 || len(b) > limit*9/10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if r.Counts != (BatchCounts{Total: MaxBatchImages, Failed: MaxBatchImages}) || r.Counts.Done() != MaxBatchImages {
		t.Errorf("counts %+v", r.Counts)
	}
}

func TestBatchCounts(t *testing.T) {
	r := BatchReport{}
	for _, s := range []ItemState{ItemPending, ItemWaiting, ItemRunning, ItemCompleted, ItemThere, ItemFailed, ItemTerminated, ItemCanceled, ItemLeft} {
		r.Items = append(r.Items, BatchItem{State: s})
	}
	r.Count()
	if want := (BatchCounts{9, 1, 1, 1, 1, 1, 2, 1, 1}); r.Counts != want || r.Counts.Done() != 6 {
		t.Errorf("counts %+v", r.Counts)
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add([]byte(`{"operation":"convertToUefi","template":`+batchTemplate+`,"output":"{name}-u","images":["a",{"InputImageFilename":"b","vspherePort":4}]}`), "x.vhd")
	f.Add([]byte(`{"operation":"reverseImage","template":`+batchTemplate+`,"output":"{name}.raw","pattern":"[a-c]*?"}`), "c.3.avhdx")
	f.Add([]byte(`{"operation":"upgradePvs","template":{"platform":"x","Platform":"y"},"images":[null]}`), "")
	f.Fuzz(func(t *testing.T, body []byte, name string) {
		r, _, err := ParseBatch(body)
		if err != nil {
			if CodeOf(err) == "" {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		if id, err := r.WorkflowID(); err != nil || printable(id) != id && !strings.Contains(id, "%") {
			t.Errorf("id %q, %v", id, err)
		}
		jobs, _, err := r.Jobs([]string{name})
		if err != nil {
			if r.Pattern == "" {
				t.Errorf("valid, and then: %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, j := range jobs {
			if seen[j.JobID] || seen[j.OutputID] && j.OutputID != "" {
				t.Errorf("%q twice", j.JobID)
			}
			seen[j.JobID], seen[j.OutputID] = true, true
			if _, _, err := parseJob(r.Operation, j.Body); err != nil {
				t.Errorf("job %s: %v", j.Body, err)
			}
		}
	})
}
