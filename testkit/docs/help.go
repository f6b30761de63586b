package docs

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Program is a program made with cobra. What command lines it takes is known from
// its help, which is asked for once per command.
type Program struct {
	file     string
	commands map[string]command // by their words
}

// NewProgram gives the program with this file.
func NewProgram(file string) *Program { return &Program{file, map[string]command{}} }

// command is what the help of a command tells.
type command struct {
	group bool            // it has others under it
	flags map[string]flag // by their names, with the dashes
	usage usage
}

type flag struct {
	name  string // the long one
	takes bool   // a value
}

// usage is what a command needs: flags, by one of their names, and arguments. More
// is how many arguments it may have besides; -1 for any number.
type usage struct {
	flags, arguments []string
	more             int
}

var (
	usageLine = regexp.MustCompile(`(?m)^Usage:\n +(.*)$`)
	flagLine  = regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[\w-]+)(?: (\S+(?: \S+)*))?(?:  |$)`)
)

// Check tells whether the program has the command and its flags and, if whole is
// set, whether it has all that it needs: text speaks of commands without all of it.
func (p *Program) Check(ctx context.Context, words []string, whole bool) error {
	var name []string
	c, err := p.help(ctx, name)
	for err == nil && c.group && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		if strings.HasPrefix(words[0], "<") {
			return nil // any of the commands
		}
		name, words = append(name, words[0]), words[1:]
		c, err = p.help(ctx, name)
	}
	if err != nil {
		return err
	}
	arguments := 0
	given := map[string]bool{}
	for i := 0; i < len(words); i++ {
		word, _, hasValue := strings.Cut(words[i], "=")
		f, known := c.flags[word]
		switch {
		case known:
			given[f.name] = true
			if f.takes && !hasValue {
				i++
			}
		case len(word) > 1 && word[0] == '-':
			return fmt.Errorf("%s has no flag %s", p.line(name), word)
		default:
			arguments++
		}
	}
	need := c.usage
	for _, word := range need.flags {
		if whole && !given[c.flags[word].name] {
			return fmt.Errorf("%s lacks its %s", p.line(name), word)
		}
	}
	switch {
	case whole && arguments < len(need.arguments):
		return fmt.Errorf("%s lacks its %s", p.line(name), need.arguments[arguments])
	case need.more >= 0 && arguments > len(need.arguments)+need.more:
		return fmt.Errorf("%s has %d arguments too many", p.line(name), arguments-len(need.arguments)-need.more)
	}
	return nil
}

// line is what is typed for a command.
func (p *Program) line(name []string) string {
	return strings.Join(append([]string{filepath.Base(p.file)}, name...), " ")
}

// help reads the help of a command.
func (p *Program) help(ctx context.Context, name []string) (command, error) {
	key := strings.Join(name, " ")
	if c, ok := p.commands[key]; ok {
		return c, nil
	}
	out, err := exec.CommandContext(ctx, p.file, append(name, "--help")...).Output()
	if err != nil {
		return command{}, fmt.Errorf("the help of %s: %w", p.line(name), err)
	}
	about, flags, _ := strings.Cut(string(out), "\nFlags:\n")
	c := command{group: strings.Contains(about, "\nAvailable Commands:\n"), flags: map[string]flag{}}
	for _, m := range flagLine.FindAllStringSubmatch(flags, -1) {
		c.flags[m[2]] = flag{m[2], m[3] != ""}
		if m[1] != "" {
			c.flags[m[1]] = c.flags[m[2]]
		}
	}
	line := usageLine.FindStringSubmatch(about)
	if line == nil {
		return command{}, fmt.Errorf("the help of %s does not say how it is used", p.line(name))
	}
	words := strings.Fields(line[1])[1:]
	if len(words) < len(name) || !slices.Equal(words[:len(name)], name) { // it is the help of another
		return command{}, fmt.Errorf("there is no %s", p.line(name))
	}
	c.usage = parseUsage(words[len(name):])
	p.commands[key] = c
	return c, nil
}

// parseUsage reads the usage of a command behind its name: flags and arguments that
// it needs, {a choice}, and [what] it may have.
func parseUsage(words []string) usage {
	var u usage
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "[flags]" || word == "[command]":
		case strings.Contains(word, "..."):
			u.more = -1
			return u
		case word[0] == '-':
			u.flags = append(u.flags, word)
			i++ // its value
		case word[0] == '{':
			if !strings.HasPrefix(word, "{-") {
				u.more++
			}
			return u // flags in place of it are not known apart
		case word[0] == '[':
			u.more++
		default:
			u.arguments = append(u.arguments, word)
		}
	}
	return u
}
