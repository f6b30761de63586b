package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/engine/catalogue"
	"imageport/engine/share"
	"imageport/job"
)

func (a *app) catalogueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalogue",
		Short: "Keep the catalogue of installers for upgradePvs",
		Long: `Keep the catalogue of installers for upgradePvs: a folder with the installers of the PVS
target device software that you have from Citrix, and catalogue.json, which says what they
are. No Temporal and no worker is needed.

The catalogue is that of the configuration, section [catalogue]: dir, or host, share_path
and credential. Or give another with --catalogue: a directory, smb://host/share/folder or
\\host\share\folder, with --credential for the id of its credential in the wallet.

catalogue.json is yours to edit. An installer is

  {"version": "2311", "arch": "x64", "file": "2311-PVS_Device_x64.exe",
   "sha256": "…", "productVersion": "7.41.100.62"}

and may also have, here with what is taken where it has not:

  "args": "/S /v\"/qn /norestart /l*v …\"",  what follows the program
  "okCodes": [0], "rebootCodes": [3010, 1641], "retryCodes": [1618],
  "timeoutMinutes": 45, "session": "console",  or "service"
  "minFrom": "",          the oldest version that it upgrades in place
  "signer": "",           for people
  "verify": {"displayName": "^Citrix Provisioning( Services)? Target Device",
             "services": [], "files": []},  what must be there afterwards; without
                          services, those of the software that were there before
  "prerequisites": [{"name": "…", "file": "…", "sha256": "…", "args": "/quiet"}],
                          run before it: the guest has no network
  "repair": []            command lines that are run after it, and may fail`,
		Example: `  imageport catalogue add PVS_Device_x64.exe --version 2311
  imageport catalogue list
  imageport catalogue check --deep`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.catalogueListCommand(), a.catalogueCheckCommand(), a.catalogueAddCommand())
	return cmd
}

// catalogueFlags say which catalogue.
type catalogueFlags struct {
	catalogue  string
	credential string
}

func (f *catalogueFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.catalogue, "catalogue", "", "`folder` of the catalogue, local or on a share (default that of the configuration)")
	cmd.Flags().StringVar(&f.credential, "credential", "", "`id` in the wallet of the credential for a catalogue on a share (default that of the configuration)")
}

// cataloguePlace is where the catalogue is: a directory, or a folder on a share.
type cataloguePlace struct {
	dir        string
	onShare    share.Location
	credential string
}

// findCatalogue says where the catalogue is that the flags mean.
func (a *app) findCatalogue(f catalogueFlags) (cataloguePlace, error) {
	if strings.HasPrefix(f.catalogue, `\\`) || strings.HasPrefix(strings.ToLower(f.catalogue), "smb://") {
		where, _, err := share.Parse(strings.TrimRight(f.catalogue, `/\`) + "/")
		return cataloguePlace{onShare: where, credential: f.credential}, err
	}
	if f.catalogue != "" {
		return cataloguePlace{dir: f.catalogue}, nil
	}
	cfg, err := config.Load(a.config)
	if err != nil {
		return cataloguePlace{}, err
	}
	location, ok := cfg.Catalogue.Location()
	if !ok {
		if cfg.Catalogue.Dir == "" {
			return cataloguePlace{}, job.Errorf(job.BadRequest, "Give --catalogue, or say in the section [catalogue] of the configuration where it is", "there is no catalogue")
		}
		return cataloguePlace{dir: cfg.Catalogue.Dir}, nil
	}
	folder, err := location.Folder()
	if err != nil {
		return cataloguePlace{}, err
	}
	return cataloguePlace{
		onShare:    share.Location{Host: folder.Host, Port: folder.Port, Share: folder.Share, Folder: folder.Path},
		credential: cmp.Or(f.credential, location.CredentialID),
	}, nil
}

// String is the place for people.
func (p cataloguePlace) String() string {
	if p.dir != "" {
		return p.dir
	}
	return p.onShare.String()
}

// file is the path of a file in a folder below the catalogue's, as openPlace
// takes it.
func (p cataloguePlace) file(folder, name string) string {
	if p.dir != "" {
		return filepath.Join(p.dir, filepath.FromSlash(folder), name)
	}
	where := p.onShare
	where.Folder = strings.Trim(where.Folder+"/"+folder, "/")
	return where.URL() + "/" + name
}

// openFolder is openPlace or openOutput.
type openFolder func(ctx context.Context, path, credential string) (place, error)

// dial opens the folders of the catalogue.
func (p cataloguePlace) dial(open openFolder) catalogue.Dial {
	return func(ctx context.Context, folder string) (share.Store, error) {
		return open(ctx, p.file(folder, catalogue.FileName), p.credential)
	}
}

// loadCatalogue reads the catalogue that the flags mean.
func (a *app) loadCatalogue(ctx context.Context, f catalogueFlags) (*catalogue.Catalogue, cataloguePlace, error) {
	p, err := a.findCatalogue(f)
	if err != nil {
		return nil, p, err
	}
	folder, err := p.dial(a.openPlace)(ctx, "")
	if err != nil {
		return nil, p, err
	}
	defer folder.Close()
	c, err := catalogue.Load(ctx, folder)
	if err != nil {
		return nil, p, job.At(p.String(), err)
	}
	a.warnOfCatalogue(c.Warnings)
	return c, p, nil
}

func (a *app) warnOfCatalogue(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(a.err, plain("imageport: warning: "+catalogue.FileName+", "+w))
	}
}
