package job

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// BatchRequest asks for one operation on many images of a resource location. It
// is ours: the specification has one image a request.
//
// The images are either listed, or those of the template's folder that match a
// pattern.
type BatchRequest struct {
	// Name tells batches of a resource location apart: one of a name runs at a
	// time. Without, it comes from what is asked for.
	Name      string    `json:"name,omitempty"`
	Operation Operation `json:"operation"`
	// Template is the body of the operation's request, without the image and its
	// output.
	Template json.RawMessage `json:"template"`
	Images   []BatchImage    `json:"images,omitempty"`
	// Pattern is matched with the names of files, with and without extension and
	// in any case: * is any number of characters, ? is one, [a-c] is one of these.
	// Of the versions of a vDisk only the latest counts, and what is the output of
	// another image is none. An inputImageFormat in the template leaves the files
	// of other formats out.
	Pattern string `json:"pattern,omitempty"`
	// AllVersions has the pattern match every version of a vDisk.
	AllVersions bool `json:"allVersions,omitempty"`
	// Output names the outputs: {name} stands for the image's name without its
	// extension, such as "{name}-uefi" or "[ds1] images/{name}.vmdk". An image that
	// is listed may say its own.
	Output      string           `json:"output,omitempty"`
	Concurrency BatchConcurrency `json:"concurrency,omitzero"`
	// ContinueOnError goes on with the other images when a job has failed. Without,
	// it does; false leaves what has not begun.
	ContinueOnError *bool `json:"continueOnError,omitempty"`
	// OnlyMissing leaves out an image whose output is there already. Without, it
	// does, unless the template has overwriteOutput.
	OnlyMissing *bool `json:"onlyMissing,omitempty"`
	// DryRun makes a dry run of each job: the report is the plan of the batch.
	DryRun bool `json:"dryRun,omitempty"`

	// common is what the template says for all images.
	common Request
}

// BatchConcurrency is how many jobs of a batch run at a time; 0 is the default.
type BatchConcurrency struct {
	PerShare int `json:"perShare,omitempty"` // on images of one share, by default DefaultBatchPerShare
	PerHost  int `json:"perHost,omitempty"`  // of one file server, by default DefaultBatchPerHost
	Total    int `json:"total,omitempty"`    // by default DefaultBatchTotal
}

// The bounds of a batch.
const (
	DefaultBatchPerShare = 2
	DefaultBatchPerHost  = 4
	DefaultBatchTotal    = 8
	// MaxBatchConcurrency is the most of any of them.
	MaxBatchConcurrency = 200
	// MaxBatchImages is how many images a batch may have: its report has to fit into
	// an answer of Temporal.
	MaxBatchImages = 500
	// maxBatchBytes is how long the body may be, for the same reason.
	maxBatchBytes = 512 << 10
	// maxTemplateBytes is how long the template may be: every image's request is
	// made of it.
	maxTemplateBytes = 32 << 10
	maxBatchName     = 100
	maxProblems      = 10 // of images, that one answer names
)

// BatchImage is one image of a batch: its inputImageFilename, or an object of that
// and whatever else of the template is different for it. Such a key replaces the
// template's as a whole.
type BatchImage json.RawMessage

// MarshalJSON implements json.Marshaler.
func (i BatchImage) MarshalJSON() ([]byte, error) { return json.RawMessage(i).MarshalJSON() }

// UnmarshalJSON implements json.Unmarshaler.
func (i *BatchImage) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] != '"' && b[0] != '{' {
		return errors.New(`an image is a name, or an object such as {"inputImageFilename": "win10"}`)
	}
	*i = BatchImage(bytes.Clone(b))
	return nil
}

// fields are the keys of an image's request that are its own.
func (i BatchImage) fields() (fields, error) {
	var name string
	if json.Unmarshal(i, &name) == nil {
		f := fields{}
		f.set(keyInput, name)
		return f, nil
	}
	return parseFields(json.RawMessage(i))
}

// Keys of the operations' requests that a batch sets.
const (
	keyInput  = "inputImageFilename"
	keyFormat = "inputImageFormat"
	keyFile   = "outputImageFilename"
	keyDisk   = "outputDiskName"
	keyDryRun = "dryRun"
)

// outputKey is where the operation's request names its output.
func (op Operation) outputKey() string {
	if op == OpReverseImage {
		return keyDisk
	}
	return keyFile
}

// ContinuesOnError is ContinueOnError, or its default.
func (r *BatchRequest) ContinuesOnError() bool { return r.ContinueOnError == nil || *r.ContinueOnError }

// SkipsPresent is OnlyMissing, or its default.
func (r *BatchRequest) SkipsPresent() bool {
	if r.OnlyMissing == nil {
		return !r.common.OverwriteOutput
	}
	return *r.OnlyMissing
}

// ResourceLocation is whose worker runs the jobs.
func (r *BatchRequest) ResourceLocation() string { return r.common.ResourceLocationID }

// Storage is the folder that Pattern is about.
func (r *BatchRequest) Storage() StorageLocation { return r.common.InputStorageLocation }

// Format is the only format that Pattern is about, "" for any.
func (r *BatchRequest) Format() ImageFormat { return r.common.InputImageFormat }

// WorkflowID is the workflow id of the batch: the resource location and its name.
func (r *BatchRequest) WorkflowID() (string, error) {
	name := r.Name
	if name == "" {
		b, err := json.Marshal(r)
		if err != nil {
			return "", Errorf(BadRequest, "Correct the request", "the request cannot be written as JSON: %w", err)
		}
		sum := sha256.Sum256(b)
		name = string(r.Operation) + "-" + hex.EncodeToString(sum[:4])
	}
	return printable("batch/" + r.ResourceLocation() + "/" + name), nil
}

// operationNames are the operations by their names in lower case.
var operationNames = map[string]Operation{
	"reverseimage": OpReverseImage, "converttouefi": OpConvertToUEFI, "upgradepvs": OpUpgradePVS,
}

// ParseBatch reads the JSON body of a batch as Parse does that of an operation,
// and validates it with the request of every image. What only the files on the
// share can tell, Jobs does.
func ParseBatch(body []byte) (BatchRequest, []string, error) {
	if len(body) > maxBatchBytes {
		return BatchRequest{}, nil, Errorf(BadRequest, "Make several batches of it", "the request is %d bytes long: a batch may have %d", len(body), maxBatchBytes)
	}
	r, warnings, err := Parse[BatchRequest](body)
	if err != nil {
		return r, warnings, err
	}
	found := placeholder + ".vhdx" // stands in for what a pattern finds
	if r.Format() == FormatVHD {
		found = placeholder + ".vhd"
	}
	_, more, err := r.Jobs([]string{found})
	return r, append(warnings, more...), err
}

func (r *BatchRequest) validate(bad *problems) {
	if op, ok := operationNames[strings.ToLower(string(r.Operation))]; ok {
		r.Operation = op
	} else {
		bad.add("operation %q is none of %s, %s, %s", r.Operation, OpConvertToUEFI, OpReverseImage, OpUpgradePVS)
	}
	if strings.ContainsFunc(r.Name, unicode.IsControl) || utf8.RuneCountInString(r.Name) > maxBatchName || strings.Contains(r.Name, "/") {
		bad.add("name %q is no name of a batch: want at most %d printable characters without /", r.Name, maxBatchName)
	}
	r.validateTemplate(bad)
	switch n := len(r.Images); {
	case n == 0 && r.Pattern == "":
		bad.add("give images, or a pattern")
	case n > 0 && r.Pattern != "":
		bad.add("give either images or a pattern")
	case n > MaxBatchImages:
		bad.add("there are %d images: a batch may have %d", n, MaxBatchImages)
	}
	r.validatePattern(bad)
	for _, limit := range []struct {
		key   string
		value *int
		or    int
	}{
		{"perShare", &r.Concurrency.PerShare, DefaultBatchPerShare},
		{"perHost", &r.Concurrency.PerHost, DefaultBatchPerHost},
		{"total", &r.Concurrency.Total, DefaultBatchTotal},
	} {
		if n := *limit.value; n < 0 || n > MaxBatchConcurrency {
			bad.add("concurrency.%s is %d: give a number from 1 to %d, or leave it out for %d", limit.key, n, MaxBatchConcurrency, limit.or)
		}
		*limit.value = cmp.Or(*limit.value, limit.or)
	}
	if rest := strings.ReplaceAll(r.Output, placeholder, ""); strings.ContainsAny(rest, "{}") {
		bad.add("output %q holds { or }: the only thing that stands for something is %s", r.Output, placeholder)
	}
}

// placeholder is the image's name in BatchRequest.Output.
const placeholder = "{name}"

func (r *BatchRequest) validateTemplate(bad *problems) {
	if len(r.Template) > maxTemplateBytes {
		bad.add("template is %d bytes long: it may have %d", len(r.Template), maxTemplateBytes)
		return
	}
	template, err := parseFields(r.Template)
	if err != nil {
		bad.add("template is not the JSON object of a request without its image and output")
		return
	}
	for _, key := range []string{keyInput, keyFile, keyDisk, keyDryRun} {
		if !template.has(key) {
			continue
		}
		where := "images or pattern"
		switch key {
		case keyFile, keyDisk:
			where = "output, or images"
		case keyDryRun:
			where = "dryRun of the batch"
		}
		bad.add("template.%s: that is what %s is for", key, where)
	}
	b, err := json.Marshal(template)
	if err == nil {
		err = json.Unmarshal(b, &r.common)
	}
	if err != nil {
		bad.add("template: %s", describeJSON(b, err))
		return
	}
	if strings.EqualFold(string(r.common.InputImageFormat), string(FormatVHD)) {
		r.common.InputImageFormat = FormatVHD
	} else if r.common.InputImageFormat != "" {
		r.common.InputImageFormat = FormatVHDX // or the images' requests say that it is none
	}
	if r.common.OverwriteOutput && r.OnlyMissing != nil && *r.OnlyMissing {
		bad.add("onlyMissing leaves alone what overwriteOutput replaces: give one of them")
	}
}

func (r *BatchRequest) validatePattern(bad *problems) {
	if r.Pattern == "" {
		if r.AllVersions {
			bad.add("allVersions is of use with a pattern only")
		}
		return
	}
	_, err := path.Match(r.Pattern, "")
	switch {
	case strings.ContainsAny(r.Pattern, `/\:"<>|`) || strings.ContainsFunc(r.Pattern, unicode.IsControl):
		bad.add("pattern %q is for the names of files in the folder of inputStorageLocation, without a path", r.Pattern)
	case err != nil:
		bad.add("pattern %q is no pattern: *, ? and [a-c] stand for characters", r.Pattern)
	}
	if r.Output != "" && !strings.Contains(r.Output, placeholder) {
		bad.add("output %q gives every image the same output: say where its name goes with %s", r.Output, placeholder)
	}
}
