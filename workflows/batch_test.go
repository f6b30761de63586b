package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/suite"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/job"
	"imageport/job/durable"
)

// batchSuite runs Batch with jobs that take an hour and end as the test says.
type batchSuite struct {
	suite.Suite
	testsuite.WorkflowTestSuite
	env *testsuite.TestWorkflowEnvironment

	listed  []string       // by the pattern
	present []string       // outputs that are there
	asked   []int          // bytes of what FindOutputs was given
	taken   map[string]int // times that an image has a job of somebody else
	finds   func(activities.OutputAt) bool
	ends    map[string]error // by image, nil completes
	result  map[string]job.Result
	began   []string       // images, in order
	most    map[string]int // jobs at a time, by host and in all
	running map[string]int
}

func TestBatch(t *testing.T) { suite.Run(t, new(batchSuite)) }

func (s *batchSuite) SetupTest() {
	s.listed, s.present, s.began = nil, nil, nil
	s.ends, s.result, s.most, s.running = map[string]error{}, map[string]job.Result{}, map[string]int{}, map[string]int{}
	s.taken = map[string]int{}
	s.finds = func(o activities.OutputAt) bool { return slices.Contains(s.present, o.File+o.Disk) }
	s.newEnv()
}

func (s *batchSuite) newEnv() {
	s.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	s.env = s.NewTestWorkflowEnvironment()
	s.env.SetStartWorkflowOptions(client.StartWorkflowOptions{TaskQueue: "lab"})
	s.env.RegisterActivity(new(activities.Controller))
	s.env.RegisterWorkflowWithOptions(s.convert, workflow.RegisterOptions{Name: string(job.OpConvertToUEFI)})
	s.env.RegisterWorkflowWithOptions(s.convert, workflow.RegisterOptions{Name: string(job.OpUpgradePVS)})
	s.env.RegisterWorkflowWithOptions(s.convert, workflow.RegisterOptions{Name: string(job.OpReverseImage)})
	s.env.RegisterWorkflowWithOptions(Batch, workflow.RegisterOptions{Name: durable.WorkflowBatch})
	s.env.OnActivity(ctl.ListImages, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.ListImagesInput) ([]string, error) {
		s.Equal("win*", in.Pattern)
		return s.listed, nil
	}).Maybe()
	s.env.OnActivity(ctl.FindOutputs, mock.Anything, mock.Anything).Return(func(_ context.Context, in []activities.OutputAt) ([]int, error) {
		var there []int
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		s.asked = append(s.asked, len(b))
		for i, o := range in {
			if s.finds(o) {
				there = append(there, i)
			}
		}
		return there, nil
	}).Maybe()
}

// convert stands in for a job.
func (s *batchSuite) convert(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	var r job.Request
	if err := json.Unmarshal(body.Payload().GetData(), &r); err != nil {
		return nil, err
	}
	name := r.InputImageFilename
	s.began = append(s.began, name)
	if s.taken[name]--; s.taken[name] >= 0 {
		return nil, &temporal.ChildWorkflowExecutionAlreadyStartedError{} // as if it had not begun
	}
	for _, key := range []string{"all", r.InputStorageLocation.Host, r.InputStorageLocation.Host + "/" + r.InputStorageLocation.SharePath} {
		s.running[key]++
		s.most[key] = max(s.most[key], s.running[key])
		defer func() { s.running[key]-- }()
	}
	if err := workflow.Sleep(ctx, time.Hour); err != nil {
		dctx, cancel := workflow.NewDisconnectedContext(ctx)
		defer cancel()
		_ = workflow.Sleep(dctx, time.Minute) // it cleans up
		return nil, err
	}
	if err := s.ends[name]; err != nil {
		return nil, durable.Failure(err)
	}
	res := s.result[name]
	res.SizeBytes = 7
	return &res, nil
}

const batchFields = `"operation":"convertToUefi","template":{"platform":"local","resourceLocationId":"lab","inputStorageLocation":{"credentialId":"smb","host":"h1","sharePath":"s1"}}`

func batchBody(rest string) string {
	return `{` + batchFields + `,"output":"{name}-uefi",` + rest + `}`
}

// images lists images a-0, a-1 and so on.
func images(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"a-%d"`, i))
	}
	return `"images":[` + strings.Join(list, ",") + `]`
}

// batch runs a batch that has to end without an error.
func (s *batchSuite) batch(body string) job.BatchReport {
	s.env.ExecuteWorkflow(Batch, raw(body), (*job.BatchReport)(nil))
	s.Require().True(s.env.IsWorkflowCompleted())
	s.Require().NoError(s.env.GetWorkflowError())
	var r job.BatchReport
	s.Require().NoError(s.env.GetWorkflowResult(&r))
	return r
}

func states(r job.BatchReport) string {
	var list []string
	for _, item := range r.Items {
		list = append(list, string(item.State))
	}
	return strings.Join(list, " ")
}

func (s *batchSuite) TestOrderAndBounds() {
	far := `{"inputImageFilename":"b-%d","inputStorageLocation":{"credentialId":"smb","host":"h1","sharePath":"s2"}},`
	r := s.batch(batchBody(strings.Replace(images(5), "[", "["+fmt.Sprintf(far+far, 0, 1), 1) + `,"concurrency":{"perShare":2,"perHost":3,"total":9}`))
	s.Equal(job.BatchCounts{Total: 7, Completed: 7}, r.Counts)
	s.Equal(map[string]int{"all": 3, "h1": 3, "h1/s1": 2, "h1/s2": 2}, s.most)
	s.ElementsMatch([]string{"b-0", "b-1", "a-0"}, s.began[:3])
	s.Equal(job.StateCompleted, r.State)
	first := r.Items[0]
	s.Equal(`\\h1\s2\b-0.vhdx`, first.Image)
	s.Equal(`\\h1\s2\b-0-uefi.avhdx`, first.Output)
	s.Equal("ips/h1/s2/b-0.vhdx", first.JobID)
	s.NotEmpty(first.RunID)
	s.Equal(time.Hour, first.Ended.Sub(*first.Started))
	s.EqualValues(7, first.Result.SizeBytes)

	s.SetupTest()
	r = s.batch(batchBody(images(4) + `,"concurrency":{"perShare":4,"total":1}`))
	s.Equal(1, s.most["all"])
	s.Equal([]string{"a-0", "a-1", "a-2", "a-3"}, s.began)
	s.Equal(4*time.Hour, r.Ended.Sub(r.Started))
}

func (s *batchSuite) TestGoesOnPastFailures() {
	s.ends["a-0"] = job.Errorf(job.Hibernated, "Shut it down", "Windows is hibernated")
	r := s.batch(batchBody(images(3) + `,"concurrency":{"total":1}`))
	s.Equal("failed completed completed", states(r))
	s.Equal(&job.Error{Code: job.Hibernated, Message: "Windows is hibernated", Remedy: "Shut it down"}, r.Items[0].Error)
	s.False(r.Stopped)

	s.SetupTest()
	s.ends["a-1"] = job.Errorf(job.Hibernated, "Shut it down", "Windows is hibernated")
	r = s.batch(batchBody(images(4) + `,"concurrency":{"total":1},"continueOnError":false`))
	s.Equal("completed failed left left", states(r))
	s.True(r.Stopped)
	s.Equal([]string{"a-0", "a-1"}, s.began)
	s.Equal(job.StateCompleted, r.State)
}

func (s *batchSuite) TestOnlyWhatIsMissing() {
	s.present = []string{"a-1-uefi.avhdx"}
	r := s.batch(batchBody(images(3)))
	s.Equal("completed there completed", states(r))
	s.NotContains(s.began, "a-1")

	s.SetupTest()
	s.present = []string{"a-1-uefi.avhdx"}
	r = s.batch(batchBody(images(3) + `,"onlyMissing":false`))
	s.Equal(3, r.Counts.Completed)

	// Nothing is left to do.
	s.SetupTest()
	s.present = []string{"a-0-uefi.avhdx", "a-1-uefi.avhdx"}
	r = s.batch(batchBody(images(2)))
	s.Equal(job.BatchCounts{Total: 2, There: 2}, r.Counts)
	s.Empty(s.began)
}

// What a job finds out that the batch could not: there is nothing to do.
func (s *batchSuite) TestThereAfterAll() {
	s.ends["a-0"] = job.Errorf(job.OutputExists, "Choose another", "there is a file")
	s.ends["a-1"] = job.Errorf(job.OutputExists, "Remove it", "there is a file of properties")
	s.ends["a-2"] = job.Errorf(job.AlreadyGPT, "Use it as it is", "it has a GPT")
	s.finds = func(o activities.OutputAt) bool { // somebody made it meanwhile
		return o.File == "a-0-uefi.avhdx" && len(s.began) > 0
	}
	r := s.batch(batchBody(images(3)))
	s.Equal("there failed failed", states(r))

	s.SetupTest()
	s.ends["a-1"] = job.Errorf(job.AlreadyGPT, "Use it as it is", "it has a GPT")
	body := strings.Replace(batchBody(images(2)), `"platform"`, `"pvsVersion":"next","platform"`, 1)
	r = s.batch(strings.Replace(body, `"output":"{name}-uefi",`, "", 1))
	s.Equal("completed there", states(r))
	s.Equal("its latest version has a GPT", r.Items[1].Note)

	s.SetupTest()
	s.result["a-0"] = job.Result{Upgrade: &job.Upgrade{Skipped: true}}
	r = s.batch(`{"operation":"upgradePvs","template":{"platform":"local","resourceLocationId":"lab","inputStorageLocation":{"credentialId":"smb","host":"h1","sharePath":"s1"},"upgradeOptions":{"installPvs":"2311"}},"output":"{name}-2311",` + images(2) + `}`)
	s.Equal("there completed", states(r))
}

func (s *batchSuite) TestPattern() {
	s.listed = []string{"win10.vhdx", "win10-uefi.avhdx", "win7.vhd"}
	r := s.batch(batchBody(`"pattern":"win*"`))
	s.Equal(job.BatchCounts{Total: 2, Completed: 2}, r.Counts)
	s.Equal([]string{"win10.vhdx", "win7.vhd"}, s.began)

	s.SetupTest()
	s.env.ExecuteWorkflow(Batch, raw(batchBody(`"pattern":"win*"`)), (*job.BatchReport)(nil))
	s.Equal(job.ImageNotFound, durable.FromFailure(s.env.GetWorkflowError()).Code)
}

// An image that has a job is tried again, while the others go on.
func (s *batchSuite) TestImageWithAnotherJob() {
	s.taken["a-0"] = 3
	r := s.batch(batchBody(images(3) + `,"concurrency":{"total":1}`))
	s.Equal("completed completed completed", states(r))
	// The second is given its turn at once, the first again when it has ended.
	s.Equal([]string{"a-0", "a-1", "a-0", "a-2", "a-0", "a-0"}, s.began)
	first := r.Items[0]
	s.Equal(3, first.Tries)
	s.Nil(first.NextTry)
	s.Empty(first.Note)
	s.Equal(2*time.Hour+takenFirst<<2, first.Started.Sub(r.Started))

	// It does not keep a batch from being canceled.
	s.SetupTest()
	s.taken["a-0"] = 1 << 30
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, 6*time.Hour)
	s.env.ExecuteWorkflow(Batch, raw(batchBody(images(2))), (*job.BatchReport)(nil))
	var last job.BatchReport
	canceled, ok := errors.AsType[*temporal.CanceledError](s.env.GetWorkflowError())
	s.Require().True(ok, "%v", s.env.GetWorkflowError())
	s.Require().NoError(canceled.Details(&last))
	s.Equal("left completed", states(last))
	s.GreaterOrEqual(last.Items[0].Tries, 50)
	s.LessOrEqual(last.Items[0].Tries, batchStarts, "or its history would grow")
}

func (s *batchSuite) TestCancel() {
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, 90*time.Minute)
	s.env.RegisterDelayedCallback(func() {
		v, err := s.env.QueryWorkflow(durable.QueryBatch)
		s.Require().NoError(err)
		var r job.BatchReport
		s.Require().NoError(v.Get(&r))
		s.Equal(job.BatchCounts{Total: 3, Completed: 1, Running: 1, Pending: 1}, r.Counts)
		s.Equal(job.StateRunning, r.State)
	}, 80*time.Minute)
	s.env.ExecuteWorkflow(Batch, raw(batchBody(images(3)+`,"concurrency":{"total":1}`)), (*job.BatchReport)(nil))
	err := s.env.GetWorkflowError()
	canceled, ok := errors.AsType[*temporal.CanceledError](err)
	s.Require().True(ok, "%v", err)
	var r job.BatchReport
	s.Require().NoError(canceled.Details(&r))
	s.Equal("completed canceled left", states(r))
	s.Equal(job.StateCanceled, r.State)
	s.Equal(91*time.Minute, r.Ended.Sub(r.Started), "the job was waited for")
	s.Empty(s.running["all"])
}

// One job that somebody cancels is not the batch's end.
func (s *batchSuite) TestCanceledJob() {
	s.env.RegisterDelayedCallback(func() { s.env.CancelWorkflowByID("ips/h1/s1/a-0.vhdx", "") }, time.Minute)
	r := s.batch(batchBody(images(2)))
	s.Equal("canceled completed", states(r))
	s.Equal(job.StateCompleted, r.State)
}

// A long batch goes on in another run, when the jobs of this one have ended.
func (s *batchSuite) TestLongBatch() {
	const n = 2*batchStarts + 10
	s.ends["a-3"] = job.Errorf(job.Hibernated, "Shut it down", "Windows is hibernated")
	body := batchBody(images(n) + `,"concurrency":{"perShare":50,"perHost":50,"total":50}`)
	var r *job.BatchReport
	runs := 0
	for {
		runs++
		s.env.ExecuteWorkflow(Batch, raw(body), r)
		s.Empty(s.running["all"])
		again, ok := errors.AsType[*workflow.ContinueAsNewError](s.env.GetWorkflowError())
		if !ok {
			break
		}
		s.Equal(durable.WorkflowBatch, again.WorkflowType.Name)
		r = new(job.BatchReport)
		var sent json.RawMessage
		s.Require().NoError(converter.GetDefaultDataConverter().FromPayloads(again.Input, &sent, r))
		s.JSONEq(body, string(sent))
		s.newEnv()
	}
	s.Require().NoError(s.env.GetWorkflowError())
	var last job.BatchReport
	s.Require().NoError(s.env.GetWorkflowResult(&last))
	s.Equal(3, runs)
	s.Equal(job.BatchCounts{Total: n, Completed: n - 1, Failed: 1}, last.Counts)
	s.Len(s.began, n)
	s.Equal(last.Items[n-1].Image, `\\h1\s1\a-209.vhdx`)
	s.True(last.Started.Before(*last.Items[n-1].Started))
}

// Each output of reverseImage comes with its platform, whose certificates may be
// long: Temporal takes 2 MiB at a time.
func (s *batchSuite) TestManyOutputsAreLookedForInParts() {
	s.asked = nil
	s.present = []string{"disks/a-0.raw", "disks/a-149.raw"}
	body := strings.Replace(batchBody(images(150)+`,"concurrency":{"total":1}`), "convertToUefi", "reverseImage", 1)
	body = strings.Replace(body, `"{name}-uefi"`, `"disks/{name}.raw"`, 1)
	body = strings.Replace(body, `"platform"`, `"vCenterSslCaCertificate":"`+strings.Repeat("x", 10_000)+`","platform"`, 1)
	s.env.RegisterDelayedCallback(s.env.CancelWorkflow, time.Minute)
	s.env.ExecuteWorkflow(Batch, raw(body), (*job.BatchReport)(nil))
	var r job.BatchReport
	canceled, ok := errors.AsType[*temporal.CanceledError](s.env.GetWorkflowError())
	s.Require().True(ok, "%v", s.env.GetWorkflowError())
	s.Require().NoError(canceled.Details(&r))
	s.Equal(2, r.Counts.There)
	s.Equal(job.ItemThere, r.Items[149].State)
	s.Len(s.asked, 2)
	for _, n := range s.asked {
		s.Less(n, 3<<19)
	}
}

func (s *batchSuite) TestDryRun() {
	r := s.batch(batchBody(images(1) + `,"dryRun":true`))
	s.True(r.DryRun)
	s.Equal("completed", states(r))
}

func (s *batchSuite) TestRefused() {
	for body, code := range map[string]job.Code{
		`{}`: job.BadRequest,
		strings.Replace(batchBody(images(1)), `"lab"`, `"elsewhere"`, 1): job.WrongResourceLocation,
	} {
		s.SetupTest()
		s.env.ExecuteWorkflow(Batch, raw(body), (*job.BatchReport)(nil))
		s.Equal(code, durable.FromFailure(s.env.GetWorkflowError()).Code)
		v, err := s.env.QueryWorkflow(durable.QueryBatch)
		s.Require().NoError(err)
		var r job.BatchReport
		s.Require().NoError(v.Get(&r))
		s.Equal(job.StateFailed, r.State)
		s.Equal(code, r.Error.Code)
		s.Empty(s.began)
	}
}
