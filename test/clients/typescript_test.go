// Package clients tries clients that were generated from the OpenAPI document by
// generators of others against a real server.
package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/test/world"
)

const virtual = "+914000000001"

// server starts a server with a tenant, and gives its address and credentials.
func server(t *testing.T) (address string, acme world.Tenant) {
	t.Helper()
	w, err := world.Start(world.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
	if acme, err = w.NewTenant("acme", "exclusive", virtual); err != nil {
		t.Fatal(err)
	}
	return "http://" + w.App.Addrs().HTTP, acme
}

// run runs a program to its end and gives what it printed; its failure is the test's.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
	return string(out)
}

func TestAClientInTypeScriptWithGeneratedTypesWorks(t *testing.T) {
	run(t, "../..", "scripts/install-npm")
	home, err := filepath.Abs("typescript")
	if err != nil {
		t.Fatal(err)
	}
	built := t.TempDir()
	run(t, home, "node", "node_modules/typescript/bin/tsc", "--project", ".", "--outDir", built)
	if err := os.WriteFile(filepath.Join(built, "package.json"), []byte(`{"type":"module"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(home, "node_modules"), filepath.Join(built, "node_modules")); err != nil {
		t.Fatal(err)
	}
	address, acme := server(t)
	if out := run(t, built, "node", "smoke.js", address, acme.ID, acme.AccountSID, acme.Token, virtual); strings.TrimSpace(out) != "ok" {
		t.Errorf("it says %q", out)
	}
}
