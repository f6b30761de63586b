//go:build no_xenserver

package main

import "github.com/spf13/cobra"

var labXenServer func(*app) *cobra.Command
