package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"

	"imageport/job/durable"
)

const (
	// knownWithin is how long a server may take until it knows a search
	// attribute that was registered: its parts look for new ones now and then.
	knownWithin = 30 * time.Second
	knownPoll   = 100 * time.Millisecond
)

// registerAttributes registers the search attributes that the namespace lacks,
// and returns when jobs can use them.
func registerAttributes(ctx context.Context, c client.Client, namespace string) error {
	have, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("look up the search attributes of namespace %s: %w%s", namespace, err, remedy(err, namespace, durable.SearchAttributes()))
	}
	missing := map[string]enums.IndexedValueType{}
	var names []string
	for _, name := range durable.SearchAttributes() {
		switch typ, ok := have.GetCustomAttributes()[name]; {
		case !ok:
			missing[name] = enums.INDEXED_VALUE_TYPE_KEYWORD
			names = append(names, name)
		case typ != enums.INDEXED_VALUE_TYPE_KEYWORD:
			return fmt.Errorf("search attribute %s of namespace %s is of type %s, not Keyword: remove it, and start the worker again", name, namespace, typ)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	if _, exists := errors.AsType[*serviceerror.AlreadyExists](err); err != nil && !exists { // another worker may have been quicker
		return fmt.Errorf("register search attributes in namespace %s: %w%s", namespace, err, remedy(err, namespace, names))
	}
	return awaitAttributes(ctx, c, namespace, names)
}

// awaitAttributes waits until the server lets the attributes be used.
func awaitAttributes(ctx context.Context, c client.Client, namespace string, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, knownWithin)
	defer cancel()
	terms := make([]string, len(names))
	for i, name := range names {
		terms[i] = name + " = 'none'"
	}
	query := &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace, PageSize: 1, Query: strings.Join(terms, " AND ")}
	for {
		_, err := c.ListWorkflow(ctx, query)
		if err == nil {
			return nil
		}
		if _, unknown := errors.AsType[*serviceerror.InvalidArgument](err); !unknown {
			return fmt.Errorf("use the new search attributes of namespace %s: %w", namespace, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("namespace %s does not know its new search attributes %s after %v: %w", namespace, strings.Join(names, ", "), knownWithin, err)
		case <-time.After(knownPoll):
		}
	}
}

// remedy tells what an operator has to run where there is no namespace, or the
// worker has no right to change it.
func remedy(err error, namespace string, names []string) string {
	switch serviceerror.ToStatus(err).Code() {
	case codes.NotFound:
		return "\nName another one, or make it and start the worker again:\n  temporal operator namespace create --namespace " + namespace
	case codes.PermissionDenied, codes.Unimplemented:
	default:
		return ""
	}
	names = slices.Clone(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("\n  temporal operator search-attribute create --namespace %s --name %s --type Keyword", namespace, name)
	}
	return "\nLet somebody who may register them, then start the worker again:" + strings.Join(names, "")
}
