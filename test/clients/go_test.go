package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAClientInGoThatIsGeneratedWorks(t *testing.T) {
	document, err := filepath.Abs("../../api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	module := t.TempDir()
	if err := os.CopyFS(module, os.DirFS("testdata/go")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(module, "api"), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, module, "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "api", "-o", "api/api.go", document)
	run(t, module, "go", "build", "-o", "client", ".")
	address, acme := server(t)
	if out := run(t, module, "./client", address, acme.ID, acme.AccountSID, acme.Token, virtual); strings.TrimSpace(out) != "ok" {
		t.Errorf("it says %q", out)
	}
}
