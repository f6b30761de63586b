package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/ovmf"
	"imageport/testkit/site"
)

// demo runs jobs on a site.
type demo struct {
	*site.Site
	requests string // directory of the specification's
}

// reverseImage makes a native disk of the vDisk, and starts it.
func (d demo) reverseImage(ctx context.Context) error {
	result, err := d.do(ctx, job.OpReverseImage, func(body []byte) (request, error) {
		req, _, err := job.Parse[job.ReverseImage](body)
		return &req, err
	})
	if err != nil {
		return err
	}
	disk, ok := d.Lab.DiskFile(result.Output)
	if !ok {
		return fmt.Errorf("%s has no disk %q", d.Platform(), result.Output)
	}
	// Whatever reads VMDKs can read the one on vSphere; on XenServer it is raw.
	format := ""
	if d.Platform() == job.PlatformVSphere {
		format = "vmdk"
	}
	if err := prove(ctx, ovmf.Options{Disk: disk, Format: format, BIOS: result.Firmware == job.BIOS}); err != nil {
		return err
	}
	fmt.Printf("result    %s, on this machine %s\n", result.Output, disk)
	fmt.Printf("size      %d bytes, %d of them as the vDisk has them; %d changes let Windows start on %s\n", result.SizeBytes, result.VirtualSizeBytes, len(result.FixUps), d.Platform())
	return nil
}

// convertToUEFI makes a UEFI disk beside the vDisk, and starts it, read through
// its parent.
func (d demo) convertToUEFI(ctx context.Context) error {
	result, err := d.do(ctx, job.OpConvertToUEFI, func(body []byte) (request, error) {
		req, _, err := job.Parse[job.ConvertToUEFI](body)
		return &req, err
	})
	if err != nil {
		return err
	}
	raw := filepath.Join(d.Dir, "merged.img")
	err = step("reading the differencing disk through its parent", func() error { return d.Flatten(ctx, result, raw) })
	if err != nil {
		return err
	}
	if err := prove(ctx, ovmf.Options{Disk: raw}); err != nil {
		return err
	}
	fmt.Printf("result    %s, on this machine %s\n", result.Output, filepath.Join(d.Store, result.OutputFile))
	fmt.Printf("size      %d bytes, sha256 %s\n", result.SizeBytes, result.SHA256)
	return nil
}

// request is what requests of all operations have.
type request interface{ WorkflowID() (string, error) }

// do starts the specification's request with the Temporal CLI, as an admin
// would, watches the job and gives its result.
func (d demo) do(ctx context.Context, operation job.Operation, parse func(body []byte) (request, error)) (job.Result, error) {
	id, err := d.start(ctx, operation, parse)
	if err != nil {
		return job.Result{}, err
	}
	fmt.Printf("\n$ imageport jobs watch '%s'\n", id)
	if err := d.Interactive(ctx, "jobs", "watch", id); err != nil {
		return job.Result{}, fmt.Errorf("imageport jobs watch: %w", err)
	}
	fmt.Println()
	return d.Jobs.Result(ctx, id)
}

func (d demo) start(ctx context.Context, operation job.Operation, parse func(body []byte) (request, error)) (id string, err error) {
	printed, err := os.ReadFile(filepath.Join(d.requests, string(operation)+".json"))
	if err != nil {
		return "", err
	}
	body, err := d.Body(printed, nil)
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.Dir, string(operation)+".json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return "", err
	}
	req, err := parse(body)
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
	args := []string{"workflow", "start", "--type", string(operation), "--task-queue", d.ResourceLocation, "--workflow-id", id, "--input-file", file, "--output", "json"}
	fmt.Printf("\n$ temporal %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, temporal, args...)
	cmd.Env = d.Env()
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
	return id, nil
}

// prove starts the disk under its firmware.
func prove(ctx context.Context, o ovmf.Options) error {
	firmware, far := "UEFI firmware (OVMF", "winload.efi"
	if o.BIOS {
		firmware, far = "a BIOS (SeaBIOS", "the boot sector of Windows"
	}
	var report ovmf.Report
	err := step("starting it with "+firmware+", in emulation)", func() (err error) {
		report, err = ovmf.Boot(ctx, o)
		return err
	})
	if err != nil {
		return err
	}
	if !report.Passed {
		return fmt.Errorf("the firmware does not get to %s:\n%s", far, report)
	}
	fmt.Printf("boot      proven: %d checks from firmware to %s passed\n", len(report.Checks), far)
	return nil
}
