package activities_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.temporal.io/sdk/testsuite"

	"imageport/activities"
	"imageport/engine/share"
	"imageport/job"
	"imageport/platforms"
)

// folders are the activities of a worker whose shares are directories: by host,
// "gone" is none.
func folders(t *testing.T, byHost map[string][]string, registry platforms.Registry) (*testsuite.TestActivityEnvironment, *activities.Controller, map[string]int) {
	t.Helper()
	dirs := map[string]string{}
	for host, files := range byHost {
		dirs[host] = t.TempDir()
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(dirs[host], name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	dialed := map[string]int{}
	c := &activities.Controller{Platforms: registry, Dial: func(_ context.Context, where job.StorageLocation) (share.Store, error) {
		dialed[where.Host]++
		dir, ok := dirs[where.Host]
		if !ok {
			return nil, job.Errorf(job.ShareUnreachable, "", "%s does not answer", where.Host)
		}
		return share.Dir(dir)
	}}
	env := new(testsuite.WorkflowTestSuite).NewTestActivityEnvironment()
	env.RegisterActivity(c)
	return env, c, dialed
}

func TestListImages(t *testing.T) {
	files := []string{
		"Win10.vhdx", "Win10.1.avhdx", "Win10.2.avhdx", "Win10.2.pvp", "Win10.2.avhdx.lok", "Win10.xml",
		"win11.vhd", "win11.1.avhd", "win7.vhdx", "win7-uefi.avhdx", "win8.vhdx.ab12.partial",
		"server.2016.vhdx", "server.2019.vhdx", "core.vhdx", "core.1.vhdx", "readme.txt", "été.vhdx",
	}
	env, c, _ := folders(t, map[string][]string{"h": files}, nil)
	for _, tc := range []struct {
		in   activities.ListImagesInput
		want []string
	}{
		{activities.ListImagesInput{Pattern: "*"}, []string{"core.1.vhdx", "server.2016.vhdx", "server.2019.vhdx", "Win10.2.avhdx", "win11.1.avhd", "win7-uefi.avhdx", "win7.vhdx", "été.vhdx"}},
		{activities.ListImagesInput{Pattern: "win*", Format: job.FormatVHD}, []string{"win11.1.avhd"}},
		{activities.ListImagesInput{Pattern: "WIN1?.VHD*", AllVersions: true}, []string{"Win10.vhdx", "win11.vhd"}},
		{activities.ListImagesInput{Pattern: "win10*", AllVersions: true}, []string{"Win10.1.avhdx", "Win10.2.avhdx", "Win10.vhdx"}},
		{activities.ListImagesInput{Pattern: "win[7-8]"}, []string{"win7.vhdx"}},
		{activities.ListImagesInput{Pattern: "ÉT?"}, []string{"été.vhdx"}},
		{activities.ListImagesInput{Pattern: "nothing"}, nil},
	} {
		tc.in.Storage = job.StorageLocation{Host: "h", SharePath: "s"}
		value, err := env.ExecuteActivity(c.ListImages, tc.in)
		if err != nil {
			t.Errorf("%+v: %v", tc.in, err)
			continue
		}
		var got []string
		if err := value.Get(&got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%+v: got %q; want %q", tc.in, got, tc.want)
		}
	}
	if _, err := env.ExecuteActivity(c.ListImages, activities.ListImagesInput{Storage: job.StorageLocation{Host: "gone"}, Pattern: "*"}); err == nil {
		t.Error("a share that does not answer was listed")
	}
}

// diskPlatform has the disks of these names.
type diskPlatform struct {
	*plant
	disks  []string
	fails  error
	looked int
}

func (p *diskPlatform) CheckOutputDisk(_ context.Context, d platforms.OutputDisk) error {
	p.looked++
	if p.fails != nil {
		return p.fails
	}
	if slices.Contains(p.disks, d.Name) {
		return platforms.Errorf(platforms.Foreign, "there is a disk %s", d.Name)
	}
	return nil
}

func (p *diskPlatform) AddOutputDisk(context.Context, string, platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	return platforms.OutputDiskRef{}, errors.New("not asked for")
}

func (p *diskPlatform) KeepOutputDisk(context.Context, string, string) error {
	return errors.New("not asked for")
}

func TestFindOutputs(t *testing.T) {
	local := &diskPlatform{plant: newPlant(), disks: []string{"images/b.raw"}}
	busy := &diskPlatform{plant: newPlant(), fails: platforms.Errorf(platforms.Busy, "no answer")}
	env, c, dialed := folders(t, map[string][]string{"h": {"A-uefi.avhdx"}, "h2": {"b.vhdx"}},
		platforms.Registry{"local": platforms.Always(local), "vsphere": platforms.Always(busy)})
	file := func(host, name string) activities.OutputAt {
		return activities.OutputAt{Storage: job.StorageLocation{Host: host, SharePath: "s"}, File: name}
	}
	disk := func(platform, name string) activities.OutputAt {
		return activities.OutputAt{Disk: name, Target: job.Target{Platform: platform}}
	}
	value, err := env.ExecuteActivity(c.FindOutputs, []activities.OutputAt{
		file("h", "a-UEFI.avhdx"), file("h", "b.vhdx"), file("gone", "x"), file("gone", "y"), file("h2", "b.vhdx"),
		disk("local", "images/a.raw"), disk("local", "images/b.raw"), disk("vSphere", "[d] a.vmdk"), disk("vSphere", "[d] b.vmdk"), disk("unknown", "z"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	if err := value.Get(&got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []int{0, 4, 6}) {
		t.Errorf("there are %v", got)
	}
	if dialed["h"] != 1 || dialed["gone"] != 1 || busy.looked != 1 || local.looked != 2 {
		t.Errorf("dialed %v, asked %d and %d times", dialed, busy.looked, local.looked)
	}
}
