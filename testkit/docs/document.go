package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Document is one Markdown file.
type Document struct {
	Path string // relative to the root of the project, with slashes
	Text string
}

// Block is a fenced block of code.
type Block struct {
	Path string // of the document
	Line int    // of the fence that opens it, from 1
	// Language and Mark are the words of the info string: in "sh run", sh and run.
	Language, Mark string
	Text           string
}

// String says where the block is.
func (b Block) String() string {
	return fmt.Sprintf("%s:%d: %s", b.Path, b.Line, strings.TrimSpace(b.Language+" "+b.Mark))
}

// Read reads the documents that people are meant to read: those at the root of the
// project, in docs and in docs/decisions.
func Read(root string) ([]Document, error) {
	var documents []Document
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				return nil, err
			}
			documents = append(documents, Document{filepath.ToSlash(name), string(text)})
		}
	}
	return documents, nil
}

// fence opens or closes a block, which may belong to an item of a list.
var fence = regexp.MustCompile("^( *)(?:>\\s*)?(`{3,}|~{3,})\\s*(.*?)\\s*$")

// split parts a document into its blocks, and the lines outside of them; a line of
// a block is empty there.
func (d Document) split() (blocks []Block, prose []string) {
	var open *Block
	var closing, indent string
	for i, line := range strings.Split(d.Text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			language, mark, _ := strings.Cut(m[3], " ")
			open = &Block{Path: d.Path, Line: i + 1, Language: language, Mark: strings.TrimSpace(mark)}
			indent, closing = m[1], m[2]
			line = ""
		case open != nil && m != nil && m[3] == "" && strings.HasPrefix(m[2], closing):
			blocks, open, line = append(blocks, *open), nil, ""
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
			line = ""
		}
		prose = append(prose, line)
	}
	if open != nil { // to the end of the document, as Markdown has it
		blocks = append(blocks, *open)
	}
	return blocks, prose
}

// Blocks are the document's blocks of code.
func (d Document) Blocks() []Block {
	blocks, _ := d.split()
	return blocks
}

// codeSpan is code within a line.
var codeSpan = regexp.MustCompile("`([^`]+)`")

// Span is code within a line of the document's text.
type Span struct {
	Path string
	Line int
	Text string
}

// String says where the span is.
func (s Span) String() string { return fmt.Sprintf("%s:%d: `%s`", s.Path, s.Line, s.Text) }

// Spans are the document's pieces of code within lines.
func (d Document) Spans() []Span {
	var spans []Span
	_, prose := d.split()
	for i, line := range prose {
		for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
			spans = append(spans, Span{d.Path, i + 1, m[1]})
		}
	}
	return spans
}
