package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"tandem/internal/config"
	"tandem/internal/testkit/ca"
)

func TestCertificatesThatCannotBeUsedAreToldOnceAndLeaveEverythingAsItWas(t *testing.T) {
	authority := ca.New(t)
	dir := t.TempDir()
	c := &certificates{c: config.TLS{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "ca")},
		log: slog.New(slog.DiscardHandler)}
	write := func(path string, raw []byte) {
		t.Helper()
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := ca.PEM(t, authority.Issue("127.0.0.1"))
	_, other := ca.PEM(t, authority.Issue("127.0.0.1"))
	write(c.c.Cert, cert)
	write(c.c.Key, key)
	write(c.c.CA, authority.PEM())
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	inUse := c.credentials()()
	for name, spoil := range map[string]func(){
		"another key":        func() { write(c.c.Key, other) },
		"no key":             func() { _ = os.Remove(c.c.Key) },
		"no file":            func() { _ = os.Remove(c.c.Cert) },
		"no authorities":     func() { write(c.c.CA, []byte("none")) },
		"authorities' file ": func() { _ = os.Remove(c.c.CA) },
	} {
		spoil()
		if err := c.reload(); err == nil {
			t.Errorf("%s: not told", name)
		}
		if err := c.reload(); err != nil {
			t.Errorf("%s: told again: %v", name, err)
		}
		if c.credentials()() != inUse {
			t.Errorf("%s: taken", name)
		}
		write(c.c.Cert, cert)
		write(c.c.Key, key)
		write(c.c.CA, authority.PEM())
		if err := c.reload(); err != nil || c.credentials()() == inUse {
			t.Errorf("%s: what is right again is not in use: %v", name, err)
		}
		inUse = c.credentials()()
	}
}
