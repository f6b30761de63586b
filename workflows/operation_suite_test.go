package workflows

import (
	"log/slog"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/suite"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"imageport/activities"
	"imageport/engine/agent"
	"imageport/job"
	"imageport/job/durable"
)

// operationSuite runs an operation with activities that the test replaces, to see
// what the workflow itself decides.
type operationSuite struct {
	suite.Suite
	testsuite.WorkflowTestSuite
	env *testsuite.TestWorkflowEnvironment
}

func (s *operationSuite) newEnv() {
	s.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	s.env = s.NewTestWorkflowEnvironment()
	s.env.SetStartWorkflowOptions(client.StartWorkflowOptions{TaskQueue: "lab"})
	s.env.RegisterActivity(new(activities.Controller))
	s.env.RegisterActivity(new(agent.Engine))
	s.env.OnUpsertTypedSearchAttributes(mock.Anything).Return(nil).Maybe()
}

// perform runs the workflow to its end.
func (s *operationSuite) perform(workflow any, body string) (*job.Result, error) {
	s.env.ExecuteWorkflow(workflow, raw(body))
	s.True(s.env.IsWorkflowCompleted())
	if err := s.env.GetWorkflowError(); err != nil {
		return nil, err
	}
	var res *job.Result
	s.NoError(s.env.GetWorkflowResult(&res))
	return res, nil
}

func raw(body string) converter.RawValue {
	return converter.NewRawValue(&commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(body)})
}

func (s *operationSuite) status() job.Status {
	answer, err := s.env.QueryWorkflow(durable.QueryStatus)
	s.Require().NoError(err)
	var status job.Status
	s.Require().NoError(answer.Get(&status))
	return status
}
