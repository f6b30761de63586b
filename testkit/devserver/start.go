package devserver

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

var describeNamespace = &workflowservice.DescribeNamespaceRequest{Namespace: Namespace}

// shared is the one server of a test binary. Nobody stops it: it ends with the
// binary.
var shared = sync.OnceValues(func() (*Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return Run(ctx, Options{})
})

// Shared gives the server that all tests of the binary share. It fails the
// test if there is none. Tests keep apart by task queues and workflow ids.
func Shared(t testing.TB) *Server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Start gives a client of the shared server.
func Start(t testing.TB) client.Client {
	t.Helper()
	return Shared(t).Client()
}
