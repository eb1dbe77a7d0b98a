package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAGoldenFileThatDiffersIsReportedWithThePlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "golden")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := compare(path, []byte("one\ntwo\nthree\n")); err != nil {
		t.Errorf("the same: %v", err)
	}
	for _, got := range []string{"", "one\n2\nthree\n", "one\ntwo\nthree\nfour\n", "one\n"} {
		if err := compare(path, []byte(got)); err == nil || !strings.Contains(err.Error(), "want, line") {
			t.Errorf("%q: %v", got, err)
		}
	}
	if compare(path+"x", nil) == nil {
		t.Error("a missing file is taken for an empty one")
	}
}
