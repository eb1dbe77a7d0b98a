package app

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/config"
	"tandem/internal/voice/siptx"
)

// rereadCertificates is how often the files are looked at. They are compared by what
// they hold: their times tell nothing where they are links to what is mounted.
const rereadCertificates = 5 * time.Second

// certificates are what SIP over TLS shows and believes, read from files.
type certificates struct {
	c   config.TLS
	log *slog.Logger
	now atomic.Pointer[siptx.Credentials]

	mu   sync.Mutex
	seen [sha256.Size]byte // of what the files held when last read
}

// openCertificates reads the files; nil if SIP over TLS is not spoken.
func openCertificates(c config.Config, log *slog.Logger) (*certificates, error) {
	if !c.SIPOverTLS() {
		return nil, nil
	}
	certs := &certificates{c: c.SIPTLS, log: log}
	return certs, certs.reload()
}

// credentials is what the agent asks.
func (c *certificates) credentials() func() *siptx.Credentials {
	if c == nil {
		return nil
	}
	return c.now.Load
}

// reload reads the files if they have changed. What cannot be used, as a certificate
// whose key is still to be written or a file that is gone, is told once and leaves
// everything as it was.
func (c *certificates) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var files [3][]byte
	var unread error
	sum := sha256.New()
	for i, path := range []string{c.c.Cert, c.c.Key, c.c.CA} {
		if path == "" {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			unread = fmt.Errorf("certificate of SIP: %w", err)
			fmt.Fprintln(sum, err)
			continue
		}
		files[i] = raw
		fmt.Fprintf(sum, "%d\n", len(raw))
		sum.Write(raw)
	}
	seen := [sha256.Size]byte(sum.Sum(nil))
	if seen == c.seen {
		return nil
	}
	c.seen = seen
	if unread != nil {
		return unread
	}
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return fmt.Errorf("certificate of SIP: %s and %s: %w", c.c.Cert, c.c.Key, err)
	}
	next := &siptx.Credentials{Certificate: pair, ClientCertificates: c.c.ClientCertsNeeded}
	if c.c.CA != "" {
		next.Authorities = x509.NewCertPool()
		if !next.Authorities.AppendCertsFromPEM(files[2]) {
			return fmt.Errorf("authorities of SIP: %w", errors.New(c.c.CA+" holds no certificate"))
		}
	}
	c.now.Store(next)
	c.log.Info("certificate of SIP is in use", "file", c.c.Cert, "until", pair.Leaf.NotAfter)
	return nil
}

// ReloadCertificates reads the certificates of SIP now rather than within five seconds.
func (a *App) ReloadCertificates() error {
	if a.certs == nil {
		return nil
	}
	return a.certs.reload()
}
