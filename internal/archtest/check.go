package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// A Package is what Check wants to know of one.
type Package struct {
	Dir   string // from the module's root, with slashes: internal/voice/sdp
	Files []File
}

// A File is one Go file of a package, whatever platform it is for.
type File struct {
	Name      string
	Test      bool // ends in _test.go
	Generated bool // carries the "Code generated … DO NOT EDIT." line
	Commented bool // has a package comment
	Lines     int
	Ours      []string // folders of imported packages of this module
	Foreign   []string // import paths of all others
	Clock     []string // uses of the clock, as "time.Now in line 12"
}

// Check gives one sentence for each violation, in the order of the packages.
func Check(rules Rules, packages []Package) []string {
	var found []string
	for _, p := range packages {
		c := checker{rules: rules, pkg: p, name: short(p.Dir)}
		c.table()
		c.comment()
		for _, f := range p.Files {
			c.file(f)
		}
		found = append(found, c.found...)
	}
	return found
}

// checker looks at one package.
type checker struct {
	rules Rules
	pkg   Package
	name  string // as the rules name it
	may   []string
	found []string
}

func (c *checker) report(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *checker) table() {
	may, ok := c.rules.Imports[c.name]
	for key, row := range c.rules.Imports {
		if !ok && covers(key, c.name) {
			may, ok = row, true
		}
	}
	if !ok {
		c.report("%s has no row in the import table: add one to internal/archtest/table.go and to ARCHITECTURE.md", c.pkg.Dir)
		may = []string{"*"} // one sentence is enough
	}
	c.may = may
}

// comment wants one package comment, so that there is one place to look. A
// package of tests alone has it in a test file.
func (c *checker) comment() {
	code, tests := 0, 0
	codeFiles := 0
	for _, f := range c.pkg.Files {
		switch {
		case f.Test && f.Commented:
			tests++
		case !f.Test:
			codeFiles++
			if f.Commented {
				code++
			}
		}
	}
	comments := code
	if codeFiles == 0 {
		comments = tests
	}
	if comments != 1 {
		c.report("%s has %d package comments, want one", c.pkg.Dir, comments)
	}
}

func (c *checker) file(f File) {
	path := c.pkg.Dir + "/" + f.Name
	if f.Lines > c.rules.MaxLines && !f.Generated {
		c.report("%s has %d lines, %d are the most", path, f.Lines, c.rules.MaxLines)
	}
	for _, dir := range f.Ours {
		if target := short(dir); !c.allowed(target, f.Test) {
			c.report("%s imports %s: %s", path, dir, c.allowance(f.Test))
		}
	}
	for _, imported := range f.Foreign {
		for _, l := range c.rules.Foreign {
			if l.covers(imported) && l.forbids(c.name, f.Test) {
				c.report("%s imports %s: %s", path, imported, l.Why)
			}
		}
	}
	if !f.Test && matches(c.rules.NoClock, c.name) {
		for _, use := range f.Clock {
			c.report("%s calls %s: %s is given the time", path, use, c.name)
		}
	}
}

func (c *checker) allowed(target string, test bool) bool {
	switch {
	case target == c.name: // a test outside the package imports the package
		return test
	case matches(c.rules.TestOnly, target) && !test && !matches(c.rules.TestOnly, c.name):
		return false
	case slices.Contains(c.may, "*") || slices.Contains(c.may, target):
		return true
	case !test:
		return false
	}
	plane, _, nested := strings.Cut(c.name, "/")
	return slices.Contains(c.rules.TestImports, target) || nested && strings.HasPrefix(target, plane+"/")
}

// allowance ends a sentence with what would have been right.
func (c *checker) allowance(test bool) string {
	text := "nothing of ours"
	switch {
	case slices.Contains(c.may, "*"):
		text = "everything but what is made for tests"
	case len(c.may) > 0:
		text = strings.Join(c.may, ", ")
	}
	if test {
		return fmt.Sprintf("the tests of %s may import %s, and of the test tools %s",
			c.name, text, strings.Join(c.rules.TestImports, ", "))
	}
	return fmt.Sprintf("%s may import %s", c.name, text)
}

func (l Limit) covers(imported string) bool {
	return below(imported, l.Import) && !slices.Contains(l.Except, imported)
}

// forbids reports whether the limit keeps a package from the import. What a
// package must never import it may still need to test itself.
func (l Limit) forbids(name string, test bool) bool {
	if l.Only != nil && !matches(l.Only, name) {
		return true
	}
	return !test && matches(l.Never, name)
}

// short is the name of a package in the rules.
func short(dir string) string { return strings.TrimPrefix(dir, "internal/") }

// covers reports whether a key of the rules names the package, by itself or as "above/*".
func covers(key, name string) bool {
	above, wild := strings.CutSuffix(key, "/*")
	return key == name || wild && strings.HasPrefix(name, above+"/")
}

func matches(keys []string, name string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return covers(key, name) })
}

// below reports whether an import path is parent or lies below it.
func below(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}
