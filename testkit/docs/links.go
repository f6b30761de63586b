package docs

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// Link is a link or picture to another file of the project, or to a heading.
type Link struct {
	From string // the document, and its line
	// File is relative to the root of the project; it is the document itself where
	// the link names a heading only.
	File   string
	Anchor string // of a heading in it, "" for none
}

// String says where the link is, and where it goes.
func (l Link) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s: %s#%s", l.From, l.File, l.Anchor), "#")
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)
	scheme  = regexp.MustCompile(`^[a-z]+:`)
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// Links are the document's links, without those to other places than the project.
func (d Document) Links() []Link {
	var links []Link
	_, prose := d.split()
	for i, line := range prose {
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
			if scheme.MatchString(m[1]) {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			if file == "" {
				file = d.Path
			} else {
				file = path.Join(path.Dir(d.Path), file)
			}
			links = append(links, Link{fmt.Sprintf("%s:%d", d.Path, i+1), file, anchor})
		}
	}
	return links
}

// Anchors are the names of the document's headings in links, as GitHub makes them:
// in lower case, without punctuation, with - for each space, and numbered where
// there are several.
func (d Document) Anchors() map[string]bool {
	anchors := map[string]bool{}
	_, prose := d.split()
	for _, line := range prose {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ' || r == '-':
				return '-'
			case r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linked.ReplaceAllString(m[1], "$1"))
		unique := name
		for n := 1; anchors[unique]; n++ {
			unique = fmt.Sprintf("%s-%d", name, n)
		}
		anchors[unique] = true
	}
	return anchors
}
