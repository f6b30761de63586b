package durable

// WorkflowBatch is the workflow type of a batch of jobs; its input is a
// job.BatchRequest.
const WorkflowBatch = "batch"

// QueryBatch is the query that a batch answers with a job.BatchReport.
const QueryBatch = "batch"
