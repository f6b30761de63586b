package agent

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/proxy"
)

// A storage location on localhost is on the worker's machine; elsewhere the
// host stays as it is.
func TestOutside(t *testing.T) {
	for _, tc := range []struct{ gateway, host, want string }{
		{"10.0.2.2:7443", "localhost", "10.0.2.2"},
		{"10.0.2.2:7443", "127.0.0.1", "10.0.2.2"},
		{"[fd00::2]:7443", "::1", "fd00::2"},
		{"worker.example.com:7443", "files.example.com", "files.example.com"},
		{"127.0.0.1:7443", "localhost", "localhost"},
		{"nonsense", "localhost", "localhost"},
	} {
		if got := outside(tc.gateway)(tc.host); got != tc.want {
			t.Errorf("from the gateway at %s, %s is %s; want %s", tc.gateway, tc.host, got, tc.want)
		}
	}
}

// The credential is asked for by what the request calls the host, before
// anybody is dialled, and for nothing where the location is none.
func TestDialerAsksFirst(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	door := proxy.New(t, silent.Addr().String())
	for _, refuses := range []bool{true, false} {
		var asked []string
		refused := errors.New("not for that host")
		dial := dialer(func(_ context.Context, id, host string) (share.Credential, error) {
			asked = append(asked, id+" for "+host)
			if refuses {
				return share.Credential{Username: "u", Password: "p"}, refused
			}
			return share.Credential{Username: "u", Password: "p"}, nil
		}, share.Options{DialTimeout: 500 * time.Millisecond}, func(string) string { return "127.0.0.1" })
		_, err := dial(t.Context(), job.StorageLocation{CredentialID: "files", Host: "Files.example.com", Port: door.Port(), SharePath: "pvs"})
		if err == nil || errors.Is(err, refused) != refuses || len(asked) != 1 || asked[0] != "files for Files.example.com" {
			t.Errorf("%q, %v", asked, err)
		}
		if dialled := door.Connections() > 0; dialled == refuses {
			t.Errorf("refused %v, dialled %v", refuses, dialled)
		}
	}
}
