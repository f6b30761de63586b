package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// explainUsage has a command and all under it say what is missing or too much on
// the command line by the names that their usage has.
func explainUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			switch names := operands(cmd); {
			case err == nil:
				return nil
			case len(args) < len(names):
				return fmt.Errorf("the %s is missing: %s", names[len(args)], cmd.UseLine())
			case cmd.HasAvailableSubCommands():
				return unknownCommand(cmd, args[0])
			case len(args) > len(names): // one of which may be a password
				return fmt.Errorf("there are more arguments than it takes: %s", cmd.UseLine())
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		explainUsage(sub)
	}
}

// operands are the arguments that a command cannot do without, by its usage: the
// words behind its name, up to the first that may be left out.
func operands(cmd *cobra.Command) []string {
	names := strings.Fields(cmd.Use)[1:]
	for i, name := range names {
		if strings.ContainsAny(name[:1], "-[{") {
			return names[:i]
		}
	}
	return names
}

// flagError is what to say of a flag that cannot be.
func flagError(_ *cobra.Command, err error) error {
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		return errors.New(strings.TrimSuffix(err.Error(), number.Error()) + "it is no number, or too large")
	}
	return err
}

// group is the work of a command that only has others under it.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	// Otherwise cobra would show the help and call it a success.
	return unknownCommand(cmd, args[0])
}

func unknownCommand(cmd *cobra.Command, name string) error {
	if similar := cmd.SuggestionsFor(name); len(similar) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", name, strings.Join(similar, ", "))
	}
	return fmt.Errorf("unknown command %q", name)
}

// standardCommands are those that cobra brings, as the others here: they have
// examples, and what they do not know is wrong usage.
func standardCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Example = "  imageport help jobs list"
			cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err != nil || len(rest) > 0 {
					return unknownCommand(root, strings.Join(args, " "))
				}
				return found.Help()
			}
		case "completion":
			cmd.Example = "  source <(imageport completion bash)"
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, group
			for _, shell := range cmd.Commands() {
				shell.Example = fmt.Sprintf("  imageport completion %s > imageport-completion", shell.Name())
			}
		}
	}
}

// choice is the value of a flag that takes one of a few words, in any case.
type choice[T ~string] struct {
	value *T
	words []T
}

// choose adds a flag that takes one of the words, and completes it. What it has
// already is its default.
func choose[T ~string](cmd *cobra.Command, value *T, flag, usage string, words ...T) {
	cmd.Flags().Var(choice[T]{value, words}, flag, usage)
	complete(cmd, flag, texts(words))
}

// String implements pflag.Value.
func (c choice[T]) String() string {
	if c.value == nil { // pflag makes one to know what is no default
		return ""
	}
	return string(*c.value)
}

// Set implements pflag.Value.
func (c choice[T]) Set(s string) error {
	for _, word := range c.words {
		if strings.EqualFold(s, string(word)) {
			*c.value = word
			return nil
		}
	}
	return fmt.Errorf("it is none of %s", strings.Join(texts(c.words), ", "))
}

// Type implements pflag.Value.
func (choice[T]) Type() string { return "word" }

func texts[T ~string](words []T) []string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = string(word)
	}
	return list
}

// count is the value of a flag that is a number of things, at least one.
type count int

// String implements pflag.Value.
func (c *count) String() string { return strconv.Itoa(int(*c)) }

// Set implements pflag.Value.
func (c *count) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err == nil && n < 1 {
		err = errors.New("it is less than 1")
	}
	*c = count(n)
	return err
}

// Type implements pflag.Value.
func (*count) Type() string { return "number" }
