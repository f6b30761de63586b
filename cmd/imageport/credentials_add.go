package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/wallet"
)

// credentialFlags are the parts of a credential, and where its secret is.
type credentialFlags struct {
	kind               wallet.Type
	username, domain   string
	tenantID, clientID string
	password           string // these are files
	secret             string
	certificate        string
	key                string
	identity           wallet.AzureIdentity
	applicationDefault bool
	projectID          string
	hosts              []string
	anyHost            bool
	replace            bool
}

// typeFlags are the flags that each type has.
var typeFlags = []struct {
	kind     wallet.Type
	required []string
	all      []string
}{
	{wallet.TypeUsernamePassword, []string{"username"}, []string{"username", "domain", "password-file", "host", "any-host"}},
	{wallet.TypeAzure, nil, []string{"tenant-id", "client-id", "secret-file", "certificate-file", "identity"}},
	{wallet.TypeGCP, nil, []string{"key-file", "application-default", "project-id"}},
}

func (a *app) credentialsAddCommand() *cobra.Command {
	var f credentialFlags
	cmd := &cobra.Command{
		Use:   "add id",
		Short: "Add a credential to the wallet, or replace one",
		Long: `Add a credential to the wallet, or replace one. Its secret is asked for on the terminal, or
read from a file ("-" is standard input); it is never an argument, which others could see.

Whoever may start jobs names both a credential and a host in the request. With --host, the
credential is given for these hosts only, as requests call them: without, a request could have
its password, or what NTLM makes of it, sent anywhere. One that is replaced keeps its hosts,
unless --host or --any-host is given.

Types and their flags:
  UsernamePassword  --username, --domain, --password-file    SMB shares, vCenter, XenServer
                    --host, --any-host                       what it is for
  Azure             --tenant-id, --client-id, --secret-file  an application in Azure
                    or --certificate-file in place of the secret
                    --identity managed or workload           that of the worker's VM or container
  Gcp               --key-file                               the key file of a service account
                    --application-default, --project-id      the account of the worker's machine`,
		Example: `  imageport credentials add files --username svc-pvs --domain corp --host files.corp.example
  imageport credentials add files --username svc-pvs --host '*.corp.example' --host 10.1.0.0/16
  imageport credentials add files --username svc-pvs --password-file new-password --replace
  imageport credentials add azure --type Azure --tenant-id 7d4e --client-id 91ab --secret-file -
  imageport credentials add azure --type Azure --identity managed
  imageport credentials add gcp --type Gcp --key-file key.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE:           func(cmd *cobra.Command, _ []string) error { return f.check(cmd) },
		RunE:              a.do(func(ctx context.Context, args []string) error { return a.addCredential(ctx, args[0], f) }),
	}
	flags := cmd.Flags()
	f.kind = wallet.TypeUsernamePassword
	choose(cmd, &f.kind, "type", "`type` of the credential: UsernamePassword, Azure or Gcp", wallet.TypeUsernamePassword, wallet.TypeAzure, wallet.TypeGCP)
	flags.StringVar(&f.username, "username", "", "`name` of the user")
	flags.StringVar(&f.domain, "domain", "", "`domain` of the user")
	flags.StringVar(&f.password, "password-file", "", "`file` with the password, - for standard input (default: ask)")
	flags.StringVar(&f.tenantID, "tenant-id", "", "`id` of the tenant in Azure")
	flags.StringVar(&f.clientID, "client-id", "", "`id` of the application in Azure")
	flags.StringVar(&f.secret, "secret-file", "", "`file` with the application's secret, - for standard input (default: ask)")
	flags.StringVar(&f.certificate, "certificate-file", "", "`file` with the application's certificate and its private key in PEM, - for standard input")
	choose(cmd, &f.identity, "identity", "use the `managed or workload` identity that the worker has in Azure", wallet.ManagedIdentity, wallet.WorkloadIdentity)
	flags.BoolVar(&f.applicationDefault, "application-default", false, "use the account that the worker has in the Google Cloud")
	flags.StringVar(&f.projectID, "project-id", "", "`id` of the project in the Google Cloud, with --application-default")
	flags.StringVar(&f.key, "key-file", "", "`file` with the key of the service account, - for standard input")
	flags.StringArrayVar(&f.hosts, "host", nil, "`host` that it is for: a name, an address, a network as 10.1.0.0/16, or all names in a domain as *.example.com; may be repeated")
	flags.BoolVar(&f.anyHost, "any-host", false, "it is for any host, even if the one that is replaced is not")
	flags.BoolVar(&f.replace, "replace", false, "replace the credential if there is one")
	return cmd
}

// check finds the type, and refuses flags that are missing or another type's.
func (f *credentialFlags) check(cmd *cobra.Command) error {
	for _, t := range typeFlags {
		if f.kind != t.kind {
			continue
		}
		for _, name := range t.required {
			if !cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s is missing, which the type %s needs", name, t.kind)
			}
		}
		for _, other := range typeFlags {
			for _, name := range other.all {
				if other.kind != t.kind && cmd.Flags().Changed(name) {
					return fmt.Errorf("--%s is for the type %s, and this is %s", name, other.kind, t.kind)
				}
			}
		}
	}
	return f.checkWays()
}

// checkWays refuses what does not go together: there are several ways to be
// somebody in Azure and the Google Cloud.
func (f *credentialFlags) checkWays() error {
	switch f.kind {
	case wallet.TypeUsernamePassword:
		if f.anyHost && len(f.hosts) > 0 {
			return errors.New("give either --host or --any-host")
		}
		if err := job.Hosts(f.hosts).Validate(); err != nil {
			return fmt.Errorf("--host: %w", err)
		}
	case wallet.TypeAzure:
		switch {
		case f.identity != "" && (f.secret != "" || f.certificate != ""):
			return errors.New("--identity needs no --secret-file and no --certificate-file")
		case f.secret != "" && f.certificate != "":
			return errors.New("give either --secret-file or --certificate-file")
		case f.identity == "" && f.tenantID == "":
			return errors.New("--tenant-id is missing, which the type Azure needs without --identity")
		case f.identity == "" && f.clientID == "":
			return errors.New("--client-id is missing, which the type Azure needs without --identity")
		}
	case wallet.TypeGCP:
		switch {
		case f.applicationDefault == (f.key != ""):
			return errors.New("give either --key-file or --application-default, which the type Gcp needs")
		case f.projectID != "" && !f.applicationDefault:
			return errors.New("--project-id is for --application-default: a key has its project")
		}
	}
	return nil
}

func (a *app) addCredential(ctx context.Context, id string, f credentialFlags) error {
	w, where, err := a.openWallet()
	if err != nil {
		return err
	}
	editor, err := w.Editor()
	if err != nil {
		return err
	}
	if !f.replace { // so that nobody types in a secret for nothing
		if _, err := w.Describe(ctx, id); err == nil {
			return exists(id, where)
		}
	}
	value, err := a.credentialValue(ctx, id, f)
	if err != nil {
		return stopped(ctx, err, nothingChanged)
	}
	hosts := job.Hosts(f.hosts) // nil is what the one that is replaced has
	if f.anyHost {
		hosts = wallet.AnyHost
	}
	m, err := editor.Add(ctx, wallet.Credential{ID: id, Value: value, Hosts: hosts}, f.replace)
	if errors.Is(err, wallet.ErrExists) {
		return exists(id, where)
	}
	if err != nil {
		return err
	}
	return a.printCredential(m, "credential %q is in %s", id, where)
}

func exists(id, where string) error {
	return job.Errorf(job.BadRequest, "Give --replace to replace it", "there is a credential %q in %s already", id, where)
}

// credentialValue asks for the secret, or reads it.
func (a *app) credentialValue(ctx context.Context, id string, f credentialFlags) (wallet.Value, error) {
	switch f.kind {
	case wallet.TypeAzure:
		value := wallet.Azure{TenantID: f.tenantID, ClientID: f.clientID, Identity: f.identity}
		if f.identity != "" {
			return value, nil
		}
		if f.certificate != "" {
			pem, err := a.readFile(ctx, f.certificate)
			value.Certificate = wallet.NewSecret(string(pem))
			return value, err
		}
		secret, err := a.readSecret(ctx, f.secret, "secret-file", "Secret of "+f.clientID)
		value.ClientSecret = wallet.NewSecret(secret)
		return value, err
	case wallet.TypeGCP:
		if f.applicationDefault {
			return wallet.GCP{ProjectID: f.projectID, ApplicationDefault: true}, nil
		}
		key, err := a.readFile(ctx, f.key)
		if err != nil {
			return nil, err
		}
		value, err := wallet.NewGCP(key)
		if err != nil {
			return nil, job.Errorf(job.BadRequest, "Name the JSON file that Google Cloud gave out for the service account", "%s, for the credential %q, cannot be used: %w", f.key, id, err)
		}
		return value, nil
	}
	password, err := a.readSecret(ctx, f.password, "password-file", "Password of "+f.username)
	return wallet.UsernamePassword{Username: f.username, Password: wallet.NewSecret(password), Domain: f.domain}, err
}
