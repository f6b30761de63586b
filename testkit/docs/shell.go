package docs

import (
	"regexp"
	"slices"
	"strings"
)

// assignment is a variable that is set for one command.
var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// Commands are the simple commands of a piece of shell, as lists of words without
// quotes, assignments, redirections and sudo. What <stands for something> is one
// word. Variables are left as they are; what $(runs), outside of quotes, is a command
// of its own.
func Commands(shell string) [][]string {
	var commands [][]string
	var s splitter
	end := func() {
		s.endWord()
		words := s.words
		s.words = nil
		for len(words) > 0 && (assignment.MatchString(words[0]) || words[0] == "sudo") {
			words = words[1:]
		}
		if len(words) > 0 {
			commands = append(commands, slices.Clone(words))
		}
	}
	text := strings.ReplaceAll(shell, "\\\n", " ")
	for len(text) > 0 {
		text = s.next(text, end)
	}
	end()
	return commands
}

// splitter holds the command that is being read.
type splitter struct {
	words  []string
	word   strings.Builder
	within bool // there is a word, though it may be empty
	skip   bool // the next word is a file that something is redirected to or from
}

// placeholder stands for what the reader puts in.
var placeholder = regexp.MustCompile(`^<[^<>\s][^<>\n]*>`)

// next reads from the beginning of text, and gives what is behind it.
func (s *splitter) next(text string, end func()) string {
	if m := placeholder.FindString(text); m != "" {
		return s.add(m, text[len(m):])
	}
	switch c := text[0]; {
	case c == '\'' || c == '"':
		inside, rest, _ := strings.Cut(text[1:], string(c))
		return s.add(inside, rest)
	case c == '\\' && len(text) > 1:
		return s.add(text[1:2], text[2:])
	case strings.HasPrefix(text, "$(") || strings.HasPrefix(text, "<("):
		end()
		return text[2:]
	case c == '#' && !s.within:
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			return text[i:]
		}
		return ""
	case strings.ContainsRune("\n;|&()", rune(c)):
		end()
	case c == '<' || c == '>':
		if number := s.word.String(); strings.Trim(number, "0123456789") == "" {
			s.word.Reset() // of a file descriptor
			s.within = false
		}
		s.endWord()
		s.skip = true
		return strings.TrimLeft(text, "<>&")
	case c == ' ' || c == '\t':
		s.endWord()
	default:
		return s.add(text[:1], text[1:])
	}
	return text[1:]
}

func (s *splitter) add(part, rest string) string {
	s.word.WriteString(part)
	s.within = true
	return rest
}

func (s *splitter) endWord() {
	if s.within && !s.skip {
		s.words = append(s.words, s.word.String())
	}
	if s.within {
		s.skip = false
	}
	s.word.Reset()
	s.within = false
}
