package wallet_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"imageport/job"
	"imageport/wallet"
)

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

// What a certificate of an application looks like, without a real key.
const (
	pemCertificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	pemPair        = pemCertificate + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
)

// Every form in which a credential of each type may be given.
func TestTypes(t *testing.T) {
	const azure = `,"tenantId":"t-1","clientId":"c-1","clientSecret":"s3cr3t-Pa55"}`
	for name, tc := range map[string]struct {
		files          map[string]string
		shown          string
		secret, refuse string
	}{
		"Azure":               {map[string]string{"id.json": `{"type":"Azure"` + azure}, `(Azure, user "t-1\\c-1")`, password, ""},
		"Azure, other case":   {map[string]string{"id.json": `{"TYPE":"AZURE","TENANTID":"t-1","clientid":"c-1","Secret":"s3cr3t-Pa55"}`}, `(Azure, user "t-1\\c-1")`, password, ""},
		"Azure, both names":   {map[string]string{"id.json": `{"type":"Azure","secret":"s3cr3t-0ther"` + azure}, "", "", "differ"},
		"Azure, no client":    {map[string]string{"id.json": `{"type":"Azure","tenantId":"t","secret":"s3cr3t"}`}, "", "", "no clientId"},
		"Azure, no secret":    {map[string]string{"id.json": `{"type":"Azure","tenantId":"t","clientId":"c"}`}, "", "", "no clientSecret"},
		"Azure, mounted":      {map[string]string{"id/tenantId": "t-1\n", "id/clientId": "c-1", "id/clientSecret": password + "\n"}, `(Azure, user "t-1\\c-1")`, password, ""},
		"Azure, no tenant":    {map[string]string{"id.json": `{"type":"Azure","clientId":"c","secret":"s3cr3t"}`}, "", "", "no tenantId"},
		"Azure, certificate":  {map[string]string{"id.json": `{"type":"Azure","tenantId":"t-1","clientId":"c-1","certificate":` + quoted(pemPair) + `}`}, `(Azure, user "t-1\\c-1")`, pemPair, ""},
		"Azure, no key":       {map[string]string{"id.json": `{"type":"Azure","tenantId":"t","clientId":"c","certificate":` + quoted(pemCertificate) + `}`}, "", "", "without the private key"},
		"Azure, no PEM":       {map[string]string{"id.json": `{"type":"Azure","tenantId":"t","clientId":"c","certificate":"s3cr3t"}`}, "", "", "not in PEM"},
		"Azure, two ways":     {map[string]string{"id.json": `{"type":"Azure","identity":"managed"` + azure}, "", "", "more than one"},
		"Azure, managed":      {map[string]string{"id.json": `{"type":"Azure","identity":"managed"}`}, `(Azure, user "managed")`, "", ""},
		"Azure, workload":     {map[string]string{"id.json": `{"type":"Azure","identity":"workload","clientId":"c-1","tenantId":"t-1"}`}, `(Azure, user "t-1\\c-1")`, "", ""},
		"Azure, who":          {map[string]string{"id.json": `{"type":"Azure","identity":"mine"}`}, "", "", "neither"},
		"Gcp, of the machine": {map[string]string{"id.json": `{"type":"Gcp","applicationDefault":true,"projectId":"lab"}`}, `(Gcp, user "lab\\application default")`, "", ""},
		"Gcp, two ways":       {map[string]string{"id.json": `{"type":"Gcp","applicationDefault":true,"key":` + gcpKey + `}`}, "", "", "is the application default"},
		"Gcp, object":         {map[string]string{"id.json": `{"type":"Gcp","serviceAccountKey":` + gcpKey + `}`}, `(Gcp, user "pvs-lab\\ce@pvs-lab.iam.gserviceaccount.com")`, gcpKey, ""},
		"Gcp, string":         {map[string]string{"id.json": `{"type":"gcp","key":` + quoted("\n"+gcpKey+"\n") + `}`}, `(Gcp, user "pvs-lab\\ce@pvs-lab.iam.gserviceaccount.com")`, gcpKey, ""},
		"Gcp, the key file":   {map[string]string{"id.json": gcpKey + "\n"}, `(Gcp, user "pvs-lab\\ce@pvs-lab.iam.gserviceaccount.com")`, gcpKey, ""},
		"Gcp, mounted":        {map[string]string{"id/serviceAccountKey": gcpKey + "\n"}, `(Gcp, user "pvs-lab\\ce@pvs-lab.iam.gserviceaccount.com")`, gcpKey, ""},
		"Gcp, none":           {map[string]string{"id.json": `{"type":"Gcp"}`}, "", "", "no serviceAccountKey"},
		"Gcp, null":           {map[string]string{"id.json": `{"type":"Gcp","key":null}`}, "", "", "no serviceAccountKey"},
		"Gcp, a password":     {map[string]string{"id.json": `{"type":"Gcp","key":"s3cr3t"}`}, "", "", "not the JSON of a key file"},
		"Gcp, an array":       {map[string]string{"id.json": `{"type":"Gcp","key":["s3cr3t"]}`}, "", "", "not the JSON of a key file"},
		"Gcp, of a user":      {map[string]string{"id.json": `{"type":"Gcp","key":{"type":"authorized_user","refresh_token":"s3cr3t"}}`}, "", "", `not of the type "service_account"`},
		"Gcp, no e-mail":      {map[string]string{"id.json": `{"type":"Gcp","key":{"type":"service_account","private_key":"s3cr3t"}}`}, "", "", "no client_email"},
		"Gcp, no private key": {map[string]string{"id.json": `{"type":"Gcp","key":{"type":"service_account","client_email":"e","private_key":"s3cr3t"}}`}, "", "", "not in PEM"},
		"other type":          {map[string]string{"id.json": `{"type":"Aws","awsKey":"s3cr3t"}`}, "", "", `its type is "Aws", and this release knows UsernamePassword, Azure and Gcp only`},
		"Latin-1":             {map[string]string{"id.json": "{\"username\":\"u\",\"password\":\"s3cr3t\xe4\"}"}, "", "", "not in UTF-8"},
		"Latin-1, mounted":    {map[string]string{"id/username": "u", "id/password": "s3cr3t\xe4"}, "", "", "not in UTF-8"},
		"mounted type":        {map[string]string{"id/type": "AZURE\n", "id/username": "u", "id/password": password}, "", "", "no clientSecret"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := wallet.Dir(put(t, tc.files)).Credential(t.Context(), "id")
			if tc.refuse != "" {
				refused(t, err, `"id"`, tc.refuse)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(c); got != `credential "id" `+tc.shown {
				t.Error(got)
			}
			var secret wallet.Secret
			switch c.Type() {
			case wallet.TypeAzure:
				v, err := c.Azure()
				if err != nil {
					t.Fatal(err)
				}
				if secret = v.ClientSecret; v.Certificate.Reveal() != "" {
					secret = v.Certificate
				}
			case wallet.TypeGCP:
				v, err := c.GCP()
				if err != nil {
					t.Fatal(err)
				}
				secret = v.Key
			}
			if secret.Reveal() != tc.secret {
				t.Errorf("the secret is %s", secret.Reveal())
			}
		})
	}
}

// What a credential is used for takes one type.
func TestWrongType(t *testing.T) {
	c := wallet.Credential{ID: "cloud", Value: wallet.Azure{TenantID: "t", ClientID: "c", ClientSecret: wallet.NewSecret(password)}}
	_, err := c.UsernamePassword()
	refused(t, err, `"cloud" is of type Azure`, "UsernamePassword")
	_, err = c.GCP()
	refused(t, err, "Gcp")
	_, err = wallet.Credential{ID: "none"}.Azure()
	refused(t, err, "Azure")
	for _, c := range []wallet.Credential{{ID: "none"}, {ID: "../x", Value: c.Value}, {ID: "x", Value: wallet.UsernamePassword{}}} {
		if c.Validate() == nil {
			t.Errorf("%v is valid", c)
		}
	}
}

// lookThrough checks a wallet with the three types and one that is unusable.
func lookThrough(t *testing.T, w wallet.Catalog) {
	t.Helper()
	list, err := w.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range list {
		got = append(got, fmt.Sprintf("%s %s %s %s %s", m.ID, m.Type, m.Username, m.Domain, m.State))
		if m.State == wallet.StateUnusable {
			if m.Problem == "" || strings.Contains(m.Problem, "s3cr3t") {
				t.Errorf("%+v", m)
			}
			continue
		}
		if one, err := w.Describe(t.Context(), m.ID); err != nil || !reflect.DeepEqual(one, m) {
			t.Errorf("%+v, %v; in the list %+v", one, err, m)
		}
		if m.UpdatedAt.IsZero() {
			t.Errorf("%+v", m)
		}
	}
	want := []string{"azure Azure c-1 t-1 Ok", "bad    Unusable", "files UsernamePassword ips test Ok", "gcp Gcp ce@pvs-lab.iam.gserviceaccount.com pvs-lab Ok"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q; want %q", got, want)
	}
	if b, err := json.Marshal(list); err != nil || strings.Contains(string(b), "s3cr3t") {
		t.Errorf("%s, %v", b, err)
	}
	_, err = w.Describe(t.Context(), "bad")
	refused(t, err, `"bad"`)
	_, err = w.Describe(t.Context(), "none")
	refused(t, err, `"none"`)
}

func TestLookThroughDir(t *testing.T) {
	lookThrough(t, wallet.Dir(put(t, map[string]string{
		"azure/tenantId": "t-1", "azure/clientId": "c-1", "azure/clientSecret": password,
		"bad.json":   `{"password":"s3cr3t"`,
		"files.json": `{"username":"ips","domain":"test","password":"s3cr3t"}`, "files/username": "no",
		"gcp.json": gcpKey, ".hidden.json": "{}", "README": "x", "files.json.new": "half",
	})))
	_, err := wallet.Dir("/no/such/wallet").List(t.Context())
	refused(t, err, "/no/such/wallet")
}

// What passes by itself is retried.
func TestUnavailableIsTransient(t *testing.T) {
	if !job.WalletUnavailable.Transient() || job.UnknownCredential.Transient() {
		t.Error("the codes are retried the wrong way round")
	}
}
