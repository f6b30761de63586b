package worker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"imageport/engine/agent"
	"imageport/engine/share"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
	"imageport/starter"
	"imageport/testkit/devserver"
	"imageport/wallet"
	"imageport/worker"
)

func good(t *testing.T) worker.Config {
	t.Helper()
	return worker.Config{
		ResourceLocation: "location-" + strings.ReplaceAll(t.Name(), "/", "-"),
		Namespace:        devserver.Namespace,
		Wallet:           wallet.Dir(t.TempDir()),
		Gateway:          worker.Gateway{Listen: "127.0.0.1:0", KeyFile: filepath.Join(t.TempDir(), "gateway.key")},
		EnrolWithin:      time.Minute,
		CELifetime:       time.Hour,
		SweepEvery:       -1,
		StateDir:         filepath.Join(t.TempDir(), "ce"),
	}
}

// run runs a worker until the test ends.
func run(t *testing.T, c client.Client, cfg worker.Config) {
	t.Helper()
	w, err := worker.New(c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	if err := good(t).Validate(); err != nil {
		t.Fatal(err)
	}
	for says, spoil := range map[string]func(*worker.Config){
		"no resource location":      func(c *worker.Config) { c.ResourceLocation = "" },
		"printable ASCII":           func(c *worker.Config) { c.ResourceLocation = "München" },
		"no Temporal namespace":     func(c *worker.Config) { c.Namespace = "" },
		"no wallet":                 func(c *worker.Config) { c.Wallet = nil },
		`no SMB driver "samba"`:     func(c *worker.Config) { c.ShareDriver = "samba" },
		`listen on "7443"`:          func(c *worker.Config) { c.Gateway.Listen = "7443" },
		`address is "worker"`:       func(c *worker.Config) { c.Gateway.Address = "worker" },
		"file for the gateway's":    func(c *worker.Config) { c.Gateway.KeyFile = "" },
		"to enrol is 0s":            func(c *worker.Config) { c.EnrolWithin = 0 },
		"no longer than":            func(c *worker.Config) { c.CELifetime = time.Minute },
		"no state directory":        func(c *worker.Config) { c.StateDir = "" },
		"no state directory for th": func(c *worker.Config) { c.StateDir = ""; c.Platforms = platforms.Registry{"xen": nil} },
	} {
		c := good(t)
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
		if _, err := worker.New(nil, c); err == nil {
			t.Errorf("%s: New took it", says)
		}
	}
	c := good(t)
	c.StateDir, c.Platforms = "", platforms.Registry{"Local": nil}
	if err := c.Validate(); err != nil {
		t.Errorf("a replaced local platform needs no state directory: %v", err)
	}
}

// A namespace that has never seen us gets the search attributes, and the first
// job runs at once.
func TestNewNamespace(t *testing.T) {
	s, err := devserver.Run(t.Context(), devserver.Options{Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	begin := time.Now()
	cfg := good(t)
	run(t, s.Client(), cfg)
	run(t, s.Client(), cfg) // a second worker at the same time
	c := starter.New(s.Client())
	body := fmt.Appendf(nil, `{"platform":"local","resourceLocationId":%q,"inputStorageLocation":{"credentialId":"files","host":"files.example.com","sharePath":"pvs"},
		"inputImageFilename":"win10","outputImageFilename":"win10-uefi"}`, cfg.ResourceLocation)
	started, err := c.Start(t.Context(), job.OpConvertToUEFI, body)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Result(t.Context(), started.RunID)
	if job.CodeOf(err) != job.UnknownCredential || !strings.Contains(err.Error(), `"files"`) {
		t.Errorf("got %v", err)
	}
	t.Logf("from nothing to the first job's end: %v", time.Since(begin).Round(time.Millisecond))
	got, err := c.Get(t.Context(), started.RunID)
	if err != nil || got.State != job.StateFailed || got.Phase != job.PhasePreflight || got.Image != `\\files.example.com\pvs\win10.vhdx` {
		t.Errorf("status %+v, %v", got, err)
	}
	attrs, err := s.Client().OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: devserver.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range durable.SearchAttributes() {
		if attrs.GetCustomAttributes()[name] != enums.INDEXED_VALUE_TYPE_KEYWORD {
			t.Errorf("%s is missing", name)
		}
	}
}

// denying gives a client to whose server the method is forbidden, and which
// sees the search attributes that list gives.
func denying(t *testing.T, method string, list map[string]enums.IndexedValueType) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: devserver.Shared(t).Address,
		ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{grpc.WithUnaryInterceptor(
			func(ctx context.Context, full string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				switch {
				case strings.HasSuffix(full, "/"+method):
					return status.Error(codes.PermissionDenied, "Request unauthorized.")
				case list != nil && strings.HasSuffix(full, "/ListSearchAttributes"):
					reply.(*operatorservice.ListSearchAttributesResponse).CustomAttributes = list
					return nil
				}
				return next(ctx, full, req, reply, cc, opts...)
			})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAttributesThatCannotBeRegistered(t *testing.T) {
	keyword := enums.INDEXED_VALUE_TYPE_KEYWORD
	for _, tc := range []struct {
		name, method string
		list         map[string]enums.IndexedValueType
		says         []string
		saysNot      string
	}{
		{name: "no right to add", method: "AddSearchAttributes",
			list: map[string]enums.IndexedValueType{"ImageportOperation": keyword, "ImageportPlatform": keyword, "ImageportImage": keyword, "ImageportOutput": keyword},
			says: []string{"Request unauthorized", "temporal operator search-attribute create --namespace default --name ImageportPhase --type Keyword"}, saysNot: "--name ImageportImage"},
		{name: "no right to look", method: "ListSearchAttributes",
			says: []string{"Request unauthorized", "--name ImageportPhase --type Keyword", "--name ImageportImage --type Keyword"}},
		{name: "another type", list: map[string]enums.IndexedValueType{"ImageportOperation": enums.INDEXED_VALUE_TYPE_TEXT},
			says: []string{"ImageportOperation", "Text, not Keyword"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			method := tc.method
			if method == "" {
				method = "none"
			}
			w, err := worker.New(denying(t, method, tc.list), good(t))
			if err != nil {
				t.Fatal(err)
			}
			err = w.Run(t.Context())
			if err == nil {
				t.Fatal("it ran")
			}
			for _, part := range tc.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nlacks %q", err, part)
				}
			}
			if tc.saysNot != "" && strings.Contains(err.Error(), tc.saysNot) {
				t.Errorf("%v\nhas %q", err, tc.saysNot)
			}
		})
	}
}

func TestNoNamespace(t *testing.T) {
	cfg := good(t)
	cfg.Namespace = "nowhere"
	w, err := worker.New(devserver.Start(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "temporal operator namespace create --namespace nowhere") {
		t.Errorf("got %v", err)
	}
}

// counting counts the activities that pass it.
type counting struct {
	interceptor.WorkerInterceptorBase
	seen chan string
}

func (c *counting) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &countingActivity{interceptor.ActivityInboundInterceptorBase{Next: next}, c.seen}
}

type countingActivity struct {
	interceptor.ActivityInboundInterceptorBase
	seen chan string
}

func (c *countingActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	result, err := c.Next.ExecuteActivity(ctx, in)
	c.seen <- fmt.Sprint(err)
	return result, err
}

func TestExtraInterceptorsAreOutside(t *testing.T) {
	c := devserver.Start(t)
	cfg := good(t)
	extra := &counting{seen: make(chan string, 10)}
	cfg.Interceptors = []interceptor.WorkerInterceptor{extra}
	cfg.StateDir, cfg.Platforms = "", platforms.Registry{"local": nil}
	run(t, c, cfg)
	s := starter.New(c)
	started, err := s.Start(t.Context(), job.OpConvertToUEFI, fmt.Appendf(nil, `{"platform":"vSphere","platformCredentialId":"v","vCenterHost":"v","datacenter":"d","datastore":"s","cluster":"c","network":"n",
		"resourceLocationId":%q,"inputStorageLocation":{"credentialId":"files","host":"files.example.com","sharePath":"pvs"},"inputImageFilename":"win10","outputImageFilename":"win10-uefi"}`, cfg.ResourceLocation))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Result(t.Context(), started.RunID); job.CodeOf(err) != job.UnknownPlatform {
		t.Errorf("got %v", err)
	}
	select {
	case got := <-extra.seen:
		if !strings.Contains(got, string(job.UnknownPlatform)) {
			t.Errorf("it saw %q, not what Temporal is told", got)
		}
	default:
		t.Error("it was not called")
	}
}

func TestDialer(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "files.json"), []byte(`{"username":"u","password":"p"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	dial := agent.Dialer(func(ctx context.Context, id, _ string) (share.Credential, error) {
		_, err := wallet.Dir(dir).Credential(ctx, id)
		return share.Credential{Username: "u", Password: "p"}, err
	}, share.Options{DialTimeout: time.Second})
	for _, tc := range []struct {
		where job.StorageLocation
		code  job.Code
	}{
		{job.StorageLocation{CredentialID: "files"}, job.BadRequest},
		{job.StorageLocation{CredentialID: "other", Host: "127.0.0.1", Port: 1, SharePath: "pvs"}, job.UnknownCredential},
		{job.StorageLocation{CredentialID: "files", Host: "127.0.0.1", Port: 1, SharePath: "pvs"}, job.ShareUnreachable},
	} {
		store, err := dial(t.Context(), tc.where)
		if job.CodeOf(err) != tc.code {
			t.Errorf("%+v: %v", tc.where, err)
		}
		if store != nil {
			_ = store.Close()
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	c := devserver.Start(t)
	w, err := worker.New(c, good(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := w.Run(ctx); err != nil {
		t.Error(err)
	}
}
