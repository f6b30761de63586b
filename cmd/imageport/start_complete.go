package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/engine/catalogue"
	"imageport/job"
)

// What some flags may be.
var (
	platformNames = []string{job.PlatformVSphere, job.PlatformXenServer, job.PlatformAzure, job.PlatformGCP, job.PlatformQEMU, job.PlatformLocal}
	operations    = []job.Operation{job.OpConvertToUEFI, job.OpReverseImage, job.OpUpgradePVS}
	states        = []job.State{job.StateRunning, job.StateCompleted, job.StateFailed, job.StateCanceled, job.StateTerminated}
	phases        = []job.Phase{
		job.PhasePreflight, job.PhaseCreateCE, job.PhaseEnrol, job.PhaseCompose, job.PhaseBoot,
		job.PhaseVerify, job.PhasePublish, job.PhaseTearDown, job.PhaseDone,
	}
)

// complete completes a flag with these values.
func complete(cmd *cobra.Command, flag string, values []string) {
	completeBy(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeBy completes a flag by a function.
func completeBy(cmd *cobra.Command, flag string, by cobra.CompletionFunc) {
	_ = cmd.RegisterFlagCompletionFunc(flag, by) // it fails for a flag that is not there
}

// completeVersions completes the versions in the catalogue of the configuration.
func (a *app) completeVersions(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	p, err := a.findCatalogue(catalogueFlags{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	folder, err := p.dial(a.openPlace)(ctx, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer folder.Close()
	c, err := catalogue.Load(ctx, folder)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	versions := make([]cobra.Completion, len(c.Installers))
	for i, in := range c.Installers {
		versions[i] = cobra.CompletionWithDesc(in.Version, in.ProductVersion)
	}
	return versions, cobra.ShellCompDirectiveNoFileComp
}
