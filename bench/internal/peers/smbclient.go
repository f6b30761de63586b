package peers

import (
	"context"
	"os"
	"strconv"

	"imageport/testkit/samba"
)

// SMBClientGet copies a file of the default share of a server with smbclient.
// auth is a path for its credential.
func SMBClientGet(ctx context.Context, s *samba.Server, auth, name, to string) error {
	if err := os.WriteFile(auth, []byte("username = "+s.Username+"\npassword = "+s.Password+"\n"), 0o600); err != nil {
		return err
	}
	return Tool(ctx, "smbclient", "--configfile=/dev/null", "-A", auth, "-p", strconv.Itoa(s.Port),
		"//"+s.Host+"/"+samba.DefaultShare, "-c", "get "+name+" "+to)
}
