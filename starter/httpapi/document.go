package httpapi

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"imageport/job"
)

var problemType, batchType = reflect.TypeFor[Problem](), reflect.TypeFor[Batch]()

// bodies are the types of the bodies that are not read by package huma.
var bodies = map[string]reflect.Type{
	"/images/$" + string(job.OpReverseImage):  reflect.TypeFor[job.ReverseImage](),
	"/images/$" + string(job.OpConvertToUEFI): reflect.TypeFor[job.ConvertToUEFI](),
	"/images/$" + string(job.OpUpgradePVS):    reflect.TypeFor[job.UpgradePVS](),
	"/batches":                                reflect.TypeFor[job.BatchRequest](),
}

// sizeMB documents a job.SizeMB.
type sizeMB struct{}

// Schema implements huma.SchemaProvider.
func (sizeMB) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "A number, or a string with one, of MiB."}
}

// batchImage documents a job.BatchImage.
type batchImage struct{}

// Schema implements huma.SchemaProvider.
func (batchImage) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "An inputImageFilename, or an object of that and what else of the template is different for it."}
}

// aliases says how types look in JSON that write themselves.
func aliases(schemas huma.Registry) huma.Registry {
	schemas.RegisterTypeAlias(reflect.TypeFor[job.SizeMB](), reflect.TypeFor[sizeMB]())
	schemas.RegisterTypeAlias(reflect.TypeFor[job.Names](), reflect.TypeFor[[]string]())
	schemas.RegisterTypeAlias(reflect.TypeFor[job.BatchImage](), reflect.TypeFor[batchImage]())
	schemas.RegisterTypeAlias(reflect.TypeFor[job.Period](), reflect.TypeFor[string]())
	return schemas
}

// tidy makes the document say what is so, where package huma could not know it.
func tidy(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas
	for path, t := range bodies {
		body := doc.Paths[path].Post.RequestBody
		body.Required = true
		body.Description = "The body of the request. Keys are taken in any case; one that is not known is a warning of the job."
		body.Content["application/json"].Schema = huma.SchemaFromType(schemas, t)
	}
	for _, path := range []string{"/credentials", "/credentials/{id}"} {
		item := doc.Paths[path]
		if item == nil {
			continue
		}
		for _, op := range []*huma.Operation{item.Post, item.Put} {
			if op != nil {
				op.RequestBody.Required = true
				op.RequestBody.Content["application/json"].Schema = huma.SchemaFromType(schemas, reflect.TypeFor[credentialBody]())
			}
		}
	}
	all := schemas.Map()
	delete(all, "ErrorModel") // package huma's errors, which nobody gets to see
	delete(all, "ErrorDetail")
	for name, schema := range all {
		schema.AdditionalProperties = nil // later releases have more
		if name == "ReverseImage" || name == "ConvertToUEFI" || name == "UpgradePVS" {
			// What is missing is told by package job, and depends on the platform.
			schema.Required = []string{"platform", "resourceLocationId", "inputStorageLocation", "inputImageFilename"}
		}
	}
}

// credentialBody documents what the wallet reads.
type credentialBody struct {
	ID       string `json:"id,omitempty" doc:"What requests name the credential by. It may be left out where the path has it."`
	Type     string `json:"type" enum:"UsernamePassword,Azure,Gcp"`
	Username string `json:"username,omitempty" doc:"Of a UsernamePassword."`
	Password string `json:"password,omitempty" writeOnly:"true"`
	Domain   string `json:"domain,omitempty"`

	Hosts []string `json:"hosts,omitempty" doc:"The hosts that a UsernamePassword is for. Left out, it is for any host, or for those of the credential that it replaces."`

	TenantID     string `json:"tenantId,omitempty" doc:"Of Azure."`
	ClientID     string `json:"clientId,omitempty"`
	ClientSecret string `json:"clientSecret,omitempty" writeOnly:"true"`

	ServiceAccountKey json.RawMessage `json:"serviceAccountKey,omitempty" writeOnly:"true" doc:"Of Gcp: the key file, as an object or as a string."`
}
