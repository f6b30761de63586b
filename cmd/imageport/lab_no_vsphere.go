//go:build no_vsphere

package main

import "github.com/spf13/cobra"

var labVSphere func(*app) *cobra.Command
