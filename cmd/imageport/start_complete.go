package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/engine/catalogue"
	"imageport/job"
)

// What flags are completed with.
var (
	platformNames  = []string{job.PlatformVSphere, job.PlatformXenServer, job.PlatformAzure, job.PlatformGCP, job.PlatformQEMU, job.PlatformLocal}
	operationNames = []string{string(job.OpConvertToUEFI), string(job.OpReverseImage), string(job.OpUpgradePVS)}
	stateNames     = []string{string(job.StateRunning), string(job.StateCompleted), string(job.StateFailed), string(job.StateCanceled), string(job.StateTerminated)}
	phaseNames     = []string{
		string(job.PhasePreflight), string(job.PhaseCreateCE), string(job.PhaseEnrol), string(job.PhaseCompose), string(job.PhaseBoot),
		string(job.PhaseVerify), string(job.PhasePublish), string(job.PhaseTearDown), string(job.PhaseDone),
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
