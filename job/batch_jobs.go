package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// BatchJob is one job of a batch: a request of its operation.
type BatchJob struct {
	JobID    string // Request.WorkflowID
	Image    string // UNC path
	Output   string // UNC path, or name of a disk; "" where only the files on the share tell
	OutputID string // as Output
	// OutputFile is the file beside the image that Output is, "" for a disk.
	OutputFile string
	// InputFile is the image's file.
	InputFile string
	Storage   StorageLocation
	Target    Target
	// Share and Host are what the concurrency of a batch is counted by.
	Share, Host string
	// NextVersion says that the files on the share name the output.
	NextVersion bool
	Body        json.RawMessage
}

// Summary is the title that the job has in Temporal.
func (j *BatchJob) Summary(op Operation) string {
	const limit = 400 // bytes, Temporal's
	output := j.Output[strings.LastIndexByte(j.Output, '\\')+1:]
	return shorten(fmt.Sprintf("%s %s -> %s", op, j.InputFile, output), limit)
}

// Jobs gives the jobs of a batch, in the order of its images, and warnings about
// their requests, each once. names are the files that the pattern has found; they
// do not matter for a batch that lists its images. The error is a BadRequest that
// says what is wrong with which images.
func (r *BatchRequest) Jobs(names []string) ([]BatchJob, []string, error) {
	images := r.Images
	if r.Pattern != "" {
		images = nil
		for _, name := range names {
			b, err := json.Marshal(name)
			if err != nil {
				return nil, nil, Errorf(Internal, "", "file name %q: %w", name, err)
			}
			images = append(images, BatchImage(b))
		}
	}
	if len(images) > MaxBatchImages {
		return nil, nil, Errorf(BadRequest, "Choose a narrower pattern", "the pattern %q matches %d images: a batch may have %d", r.Pattern, len(images), MaxBatchImages)
	}
	template, err := parseFields(r.Template)
	if err != nil {
		return nil, nil, Errorf(BadRequest, "Correct the request", "template: %w", err)
	}
	var jobs []BatchJob
	var warnings []string
	var bad problems
	for i, image := range images {
		j, more, err := r.job(template, image)
		if err != nil {
			bad.add("%s: %s", r.label(i, j.InputFile), withoutPrefix(err))
			continue
		}
		for _, w := range more {
			if !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
		jobs = append(jobs, j)
	}
	conflicts(jobs, &bad)
	if n := len(bad); n > maxProblems {
		bad = append(bad[:maxProblems], fmt.Sprintf("and %d more", n-maxProblems))
	}
	if err := bad.err(); err != nil {
		return nil, nil, err
	}
	return jobs, warnings, nil
}

// conflicts reports jobs that would be in each other's way.
func conflicts(jobs []BatchJob, bad *problems) {
	images, outputs := map[string]string{}, map[string]string{}
	for _, j := range jobs {
		if _, ok := images[j.JobID]; ok {
			bad.add("%s is given twice", j.Image)
		}
		images[j.JobID] = j.Image
	}
	for _, j := range jobs {
		if j.OutputID == "" {
			continue
		}
		if other, ok := outputs[j.OutputID]; ok {
			bad.add("%s and %s have the same output %s", other, j.Image, j.Output)
		}
		outputs[j.OutputID] = j.Image
		if other, ok := images[j.OutputID]; ok && other != j.Image {
			bad.add("the output of %s is %s, which is an image of the batch", j.Image, other)
		}
	}
}

// job makes the request of one image. An error comes with as much of the job as
// is known.
func (r *BatchRequest) job(template fields, image BatchImage) (BatchJob, []string, error) {
	own, err := image.fields()
	if err != nil {
		return BatchJob{}, nil, err
	}
	body := template.with(own)
	var name string
	if err := body.get(keyInput, &name); err != nil {
		return BatchJob{}, nil, err
	}
	if !body.has(keyFormat) && slices.Contains([]string{".vhd", ".avhd"}, strings.ToLower(path.Ext(name))) {
		body.set(keyFormat, FormatVHD)
	}
	if key := r.Operation.outputKey(); !body.has(key) && r.Output != "" {
		body.set(key, strings.ReplaceAll(r.Output, placeholder, withoutExtension(name)))
	}
	if own.has(keyDryRun) {
		return BatchJob{InputFile: name}, nil, errors.New("dryRun is for all images, or none: say it beside template")
	}
	if r.DryRun {
		body.set(keyDryRun, true)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return BatchJob{InputFile: name}, nil, err
	}
	j, warnings, err := parseJob(r.Operation, b)
	j.InputFile = name
	if err != nil {
		return j.BatchJob, nil, err
	}
	return r.complete(j, warnings)
}

// complete gives the job what follows from its request.
func (r *BatchRequest) complete(j parsedJob, warnings []string) (BatchJob, []string, error) {
	if j.request.ResourceLocationID != r.ResourceLocation() {
		return j.BatchJob, nil, fmt.Errorf("resourceLocationId %q is not that of the template: a batch has one resource location", j.request.ResourceLocationID)
	}
	folder, err := j.request.InputStorageLocation.Folder()
	if err != nil {
		return j.BatchJob, nil, err
	}
	if j.JobID, err = j.request.WorkflowID(); err != nil {
		return j.BatchJob, nil, err
	}
	j.InputFile = j.request.InputFile()
	j.Image = folder.UNC(j.InputFile)
	j.Storage, j.Target = j.request.InputStorageLocation, j.request.Target
	share := folder
	share.Path = ""
	j.Share = share.canonical()
	j.Host, _, _ = strings.Cut(j.Share, "/")
	return j.BatchJob, warnings, nil
}

// parsedJob is a job with what its operation's request has in common with others.
type parsedJob struct {
	BatchJob
	request Request
}

// parseJob reads the request of an operation.
func parseJob(op Operation, body json.RawMessage) (j parsedJob, warnings []string, err error) {
	j.Body = body
	switch op {
	case OpConvertToUEFI:
		var r ConvertToUEFI
		if r, warnings, err = Parse[ConvertToUEFI](body); err == nil {
			j.request, j.Output, j.OutputFile, j.NextVersion = r.Request, r.OutputPath(), r.OutputFile(), r.PVSVersion != ""
			j.OutputID, err = r.OutputID()
		}
	case OpUpgradePVS:
		var r UpgradePVS
		if r, warnings, err = Parse[UpgradePVS](body); err == nil {
			j.request, j.Output, j.OutputFile = r.Request, r.OutputPath(), r.OutputFile()
			j.OutputID, err = r.OutputID()
		}
	case OpReverseImage:
		var r ReverseImage
		if r, warnings, err = Parse[ReverseImage](body); err == nil {
			j.request, j.Output, j.OutputID = r.Request, r.OutputDiskName, r.OutputID()
		}
	default:
		err = fmt.Errorf("there is no operation %q", op)
	}
	return j, warnings, err
}

// withoutExtension is a name without an image's extension.
func withoutExtension(name string) string {
	if ext := path.Ext(name); slices.Contains(imageExtensions, strings.ToLower(ext)) {
		return strings.TrimSuffix(name, ext)
	}
	return name
}

// label names an image in what is said about it.
func (r *BatchRequest) label(index int, name string) string {
	switch {
	case name == "":
		return fmt.Sprintf("images[%d]", index)
	case r.Pattern != "":
		return name
	}
	return fmt.Sprintf("images[%d] (%s)", index, name)
}

// withoutPrefix is what an error says behind what all refusals begin with.
func withoutPrefix(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return strings.TrimPrefix(e.Message, notValid)
	}
	return err.Error()
}

// notValid is what the messages of refused requests begin with.
const notValid = "the request is not valid: "

// fields are the keys of a JSON object. They are found in any case, as requests
// are read.
type fields map[string]json.RawMessage

func parseFields(object json.RawMessage) (fields, error) {
	object, err := wireKeys(object)
	if err != nil {
		return nil, err
	}
	var f fields
	if err := json.Unmarshal(object, &f); err != nil || f == nil {
		return nil, errors.New("it is not a JSON object")
	}
	return f, nil
}

// spelling finds the key as it is spelt, or gives it as it is. Of several
// spellings it is the first in the order of characters.
func (f fields) spelling(key string) string {
	found := key
	first := true
	//workflowcheck:ignore
	for k := range f { // in any order: the least one counts
		if strings.EqualFold(k, key) && (first || k < found) {
			found, first = k, false
		}
	}
	return found
}

func (f fields) has(key string) bool {
	_, ok := f[f.spelling(key)]
	return ok
}

// get reads the text of a key, which stays as it is where there is none.
func (f fields) get(key string, text *string) error {
	value, ok := f[f.spelling(key)]
	if ok && json.Unmarshal(value, text) != nil {
		return fmt.Errorf("%s is not a text", key)
	}
	return nil
}

// set gives a key a value that can be written as JSON.
func (f fields) set(key string, value any) {
	if b, err := json.Marshal(value); err == nil {
		f[f.spelling(key)] = b
	}
}

// with gives the fields with those of own in place of their own.
func (f fields) with(own fields) fields {
	all := fields{}
	//workflowcheck:ignore
	for k, v := range f { // in any order: JSON is written sorted
		all[k] = v
	}
	//workflowcheck:ignore
	for k, v := range own {
		all[all.spelling(k)] = v
	}
	return all
}
