package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASecretIsTheFirstLineOfAFileOrOfTheStandardInput(t *testing.T) {
	for text, want := range map[string]string{"s3cret": "s3cret", "s3cret\n": "s3cret", "s3cret\r\nmore\n": "s3cret", " with space \n": " with space ", "": ""} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readSecret(strings.NewReader("other"), path); err != nil || got != want {
			t.Errorf("%q in a file: %q, %v", text, got, err)
		}
		if got, err := readSecret(strings.NewReader(text), "-"); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	long := strings.Repeat("x", maxSecret)
	if got, err := readSecret(strings.NewReader(long), "-"); err != nil || got != long {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := readSecret(strings.NewReader(long+"y"), "-"); err == nil || strings.Contains(err.Error(), "xx") {
		t.Errorf("a secret that is too long: %v", err)
	}
	if _, err := readSecret(nil, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}
