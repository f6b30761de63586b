// Command demo runs the main job for real on one machine: a Temporal dev
// server, a Samba with a Windows-like vDisk, one worker, and a job started
// with the Temporal CLI and the specification's JSON. With an appliance the job
// runs in a virtual machine of its own. It ends with the result booted by UEFI
// firmware.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/ovmf"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

func main() {
	keep := flag.Bool("keep", false, "leave everything running until ^C")
	program := flag.String("program", "bin/imageport", "the imageport program")
	specification := flag.String("body", "job/testdata/convertToUefi.json", "the specification's request")
	appliance := flag.String("appliance", "", "raw disk of the appliance: run the job in a virtual machine (platform qemu)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, *program, *specification, *appliance, *keep)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Println("\nstopped; nothing is left running")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// step says what comes next, and how long it took.
func step(text string, do func() error) error {
	fmt.Printf("%-62s", text)
	start := time.Now()
	if err := do(); err != nil {
		fmt.Println("failed")
		return err
	}
	fmt.Printf("%6.1f s\n", time.Since(start).Seconds())
	return nil
}

func run(ctx context.Context, program, specification, appliance string, keep bool) (err error) {
	program, err = filepath.Abs(program)
	if err != nil {
		return err
	}
	if appliance != "" {
		if appliance, err = filepath.Abs(appliance); err != nil {
			return err
		}
	}
	printed, err := os.ReadFile(specification)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "imageport-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var temporal *devserver.Server
	err = step("Temporal dev server with its Web UI", func() (err error) {
		temporal, err = devserver.Run(ctx, devserver.Options{UIPort: devserver.AnyPort, DBFile: filepath.Join(dir, "temporal.db")})
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temporal.Stop()) }()

	var s *site.Site
	err = step("Samba on loopback with a 4 GiB Windows-like BIOS vDisk", func() (err error) {
		s, err = site.Start(ctx, site.Options{Dir: dir, Program: program, Temporal: temporal, Image: winimage.Default(), Appliance: appliance})
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()

	var worker *site.Worker
	err = step("resource-location worker", func() (err error) {
		worker, err = s.StartWorker(ctx)
		return err
	})
	if err != nil {
		return err
	}
	defer worker.Stop()

	id, err := start(ctx, s, printed)
	if err != nil {
		return err
	}
	if err := s.Interactive(ctx, "jobs", "watch", id); err != nil {
		return fmt.Errorf("imageport jobs watch: %w", err)
	}
	result, err := s.Jobs.Result(ctx, id)
	if err != nil {
		return err
	}
	if err := prove(ctx, s, result); err != nil {
		return err
	}
	fmt.Printf("result    %s, on this machine %s\n", result.Output, filepath.Join(s.Store, result.OutputFile))
	fmt.Printf("size      %d bytes, sha256 %s\n", result.SizeBytes, result.SHA256)
	fmt.Printf("Web UI    %s/namespaces/%s/workflows\n", temporal.UI, devserver.Namespace)
	if !keep {
		fmt.Println("\nAll of it is stopped and removed now. make demo KEEP=1 leaves it running, to look at.")
		return nil
	}
	fmt.Printf("\nIt is all still running, until ^C. In another terminal:\n\n  export TEMPORAL_ADDRESS=%s IMAGEPORT_CONFIG=%s\n  bin/imageport jobs list\n", temporal.Address, s.Config())
	<-ctx.Done()
	return ctx.Err()
}

// start starts the job as an admin would, with the Temporal CLI.
func start(ctx context.Context, s *site.Site, printed []byte) (id string, err error) {
	body, err := s.Body(printed, nil)
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.Dir, "body.json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return "", err
	}
	req, _, err := job.Parse[job.ConvertToUEFI](body)
	if err != nil {
		return "", err
	}
	if id, err = req.WorkflowID(); err != nil {
		return "", err
	}
	temporal, err := devserver.Program()
	if err != nil {
		return "", err
	}
	args := []string{"workflow", "start", "--type", string(job.OpConvertToUEFI), "--task-queue", s.ResourceLocation, "--workflow-id", id, "--input-file", file, "--output", "json"}
	fmt.Printf("\n$ temporal %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, temporal, args...)
	cmd.Env = s.Env()
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("temporal workflow start: %s", exit.Stderr)
	}
	if err != nil {
		return "", err
	}
	var started struct{ WorkflowID, RunID string }
	if err := json.Unmarshal(out, &started); err != nil {
		return "", fmt.Errorf("temporal workflow start printed %q: %w", out, err)
	}
	fmt.Printf("\n$ imageport jobs watch %s\n", id)
	return id, nil
}

// prove boots the result, read through its parent, under OVMF.
func prove(ctx context.Context, s *site.Site, result job.Result) error {
	raw := filepath.Join(s.Dir, "merged.img")
	fmt.Println()
	err := step("reading the differencing disk through its parent", func() error {
		return s.Flatten(ctx, result, raw)
	})
	if err != nil {
		return err
	}
	var report ovmf.Report
	err = step("booting it with UEFI firmware (OVMF, in emulation)", func() (err error) {
		report, err = ovmf.Boot(ctx, ovmf.Options{Disk: raw})
		return err
	})
	if err != nil {
		return err
	}
	if !report.Passed {
		return fmt.Errorf("the firmware does not get to Windows:\n%s", report)
	}
	fmt.Printf("boot      proven: %d checks from firmware to winload.efi passed\n", len(report.Checks))
	return nil
}
