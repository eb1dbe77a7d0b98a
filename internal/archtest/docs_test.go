package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A document that names a test as proof is worth as much as the test.
func TestEveryTestThatADocumentNamesExists(t *testing.T) {
	declared := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	walk(t, "../..", "_test.go", func(text string) {
		for _, m := range function.FindAllStringSubmatch(text, -1) {
			declared[m[1]] = true
		}
	})
	named := 0
	mention := regexp.MustCompile("`(Test[A-Z0-9]\\w+)`")
	walk(t, "../../docs", ".md", func(text string) {
		for _, m := range mention.FindAllStringSubmatch(text, -1) {
			if named++; !declared[m[1]] {
				t.Errorf("no test is called %s", m[1])
			}
		}
	})
	if named < 20 {
		t.Errorf("only %d tests are named", named)
	}
}

// walk reads every file below a folder whose name ends so.
func walk(t *testing.T, root, end string, read func(text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, end) {
			return err
		}
		text, err := os.ReadFile(path)
		read(string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
