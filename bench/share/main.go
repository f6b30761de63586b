// Command share measures raw reading of a share: this module against smbclient
// on a plain, a signed and an encrypted connection to Samba on loopback, and
// large reads against sequential ones over a network with a round trip of 10 ms.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"imageport/bench/internal/peers"
	"imageport/engine/share"
	"imageport/testkit/proxy"
	"imageport/testkit/samba"
)

const file = "disk"

func main() {
	rounds := flag.Int("n", 5, "rounds to measure, after one to warm up")
	size := flag.Int64("mib", 1024, "size of the file in MiB")
	rtt := flag.Duration("rtt", 10*time.Millisecond, "round trip of the slow network")
	peers.Main(func(ctx context.Context, dir string) error {
		return run(ctx, dir, *rounds, *size<<20, *rtt)
	})
}

func run(ctx context.Context, dir string, rounds int, size int64, rtt time.Duration) error {
	if err := peers.WriteNoise(filepath.Join(dir, file), size); err != nil {
		return err
	}
	var ways []peers.Way
	for _, kind := range []struct {
		name string
		opt  samba.Options
		goal float64
	}{
		{"plain", samba.Options{}, 1.5},
		{"encrypted", samba.Options{Encrypt: true}, 1.5},
		// smbclient signs with AES-GMAC, the library only knows AES-CMAC, which
		// is several times slower: there is no goal.
		{"signed", samba.Options{Signing: "mandatory"}, 0},
	} {
		kind.opt.Shares = map[string]string{samba.DefaultShare: dir}
		server, err := samba.Start(ctx, kind.opt)
		if err != nil {
			return err
		}
		defer server.Stop()
		peer := kind.name + ", smbclient get"
		auth := filepath.Join(dir, kind.name+".auth")
		ways = append(ways, peers.Way{Name: peer, Peer: peer, Bytes: size, Run: func(ctx context.Context) error {
			return peers.SMBClientGet(ctx, server, auth, file, os.DevNull)
		}})
		for _, driver := range []string{share.DriverCloudSoda, share.DriverHirochachacha} {
			if kind.opt.Signing != "" && driver == share.DriverHirochachacha {
				continue // it cannot
			}
			goal := peers.Goal{Peer: peer}
			if driver == share.DriverCloudSoda {
				goal.AtLeast = kind.goal
			}
			ways = append(ways, peers.Way{Name: kind.name + ", " + driver, Goals: []peers.Goal{goal}, Bytes: size,
				Run: ours(server, server.Port, driver, size, 4<<20, 4)})
		}
		if kind.name != "plain" {
			continue
		}
		slow, err := proxy.Start(server.Addr())
		if err != nil {
			return err
		}
		defer slow.Stop()
		slow.Delay(rtt / 2)
		ways = append(ways, distant(server, slow, rtt, min(size, 512<<20))...)
	}
	results, err := peers.Measure(ctx, rounds, ways)
	if err != nil {
		return err
	}
	fmt.Printf("reading a file of %d MiB from Samba on loopback, %d rounds\n\n", size>>20, rounds)
	results.Report(os.Stdout)
	return nil
}

// distant are ways to read through a proxy that delays. The proxy is part of
// this process.
func distant(server *samba.Server, slow *proxy.Proxy, rtt time.Duration, size int64) []peers.Way {
	one := fmt.Sprintf("%v, 1 MiB after 1 MiB", rtt)
	against := func(goal float64) []peers.Goal { return []peers.Goal{{Peer: one, AtLeast: goal}} }
	return []peers.Way{
		{Name: one, Peer: one, Bytes: size, NoCPU: true, Run: ours(server, slow.Port(), "", size, 1<<20, 1)},
		{Name: fmt.Sprintf("%v, one reader of 32 MiB", rtt), Goals: against(0), Bytes: size, NoCPU: true, Run: ours(server, slow.Port(), "", size, 32<<20, 1)},
		{Name: fmt.Sprintf("%v, 8 readers of 4 MiB", rtt), Goals: against(7), Bytes: size, NoCPU: true, Run: ours(server, slow.Port(), "", size, 4<<20, 8)},
	}
}

// ours reads the file with so many readers, which ask for pieces of one size.
func ours(s *samba.Server, port int, driver string, size, piece int64, readers int) func(context.Context) error {
	loc := share.Location{Host: s.Host, Port: port, Share: samba.DefaultShare}
	cred := share.Credential{Username: s.Username, Password: s.Password}
	return func(ctx context.Context) error {
		store, err := share.Dial(ctx, loc, cred, share.Options{Driver: driver})
		if err != nil {
			return err
		}
		defer store.Close()
		f, err := store.Open(ctx, file)
		if err != nil {
			return err
		}
		defer f.Close()
		return readAll(f, size, piece, readers)
	}
}
