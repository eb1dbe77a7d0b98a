// Package ca makes certificates for tests: an authority of a test's own, and what
// it issues to servers and clients on loopback. It stands apart from testkit so that
// the tests of packages which testkit is made of can use it.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Authority signs certificates. Its methods fail the test rather than give an error.
type Authority struct {
	tb   testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority that nobody else trusts.
func New(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, key: newKey(tb)}
	t := template()
	t.Subject, t.IsCA, t.BasicConstraintsValid, t.KeyUsage = pkix.Name{CommonName: "authority of a test"}, true, true, x509.KeyUsageCertSign
	a.cert = sign(tb, t, t, &a.key.PublicKey, a.key)
	return a
}

// Issue makes a server's certificate for addresses, DNS names, and URIs that begin
// with "sip".
func (a *Authority) Issue(names ...string) tls.Certificate {
	a.tb.Helper()
	return a.issue(names, x509.ExtKeyUsageServerAuth)
}

// IssueToBoth makes a certificate that a client may show, too, to a peer who looks
// at that.
func (a *Authority) IssueToBoth(names ...string) tls.Certificate {
	a.tb.Helper()
	return a.issue(names, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

func (a *Authority) issue(names []string, usage ...x509.ExtKeyUsage) tls.Certificate {
	t, key := template(), newKey(a.tb)
	t.Subject = pkix.Name{CommonName: "issued for a test"}
	t.ExtKeyUsage = usage
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if strings.HasPrefix(name, "sip") && strings.Contains(name, ":") {
			u, err := url.Parse(name)
			must(a.tb, err)
			t.URIs = append(t.URIs, u)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	leaf := sign(a.tb, t, a.cert, &key.PublicKey, a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// PEM is the authority's certificate as a file holds it.
func (a *Authority) PEM() []byte { return block("CERTIFICATE", a.cert.Raw) }

// PEM is what the files of a certificate and its key hold.
func PEM(tb testing.TB, c tls.Certificate) (certificate, key []byte) {
	tb.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(tb, err)
	return block("CERTIFICATE", c.Certificate[0]), block("PRIVATE KEY", raw)
}

func block(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

func template() *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails (crypto/rand)
	return &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	return key
}

func sign(tb testing.TB, t, by *x509.Certificate, key *ecdsa.PublicKey, with *ecdsa.PrivateKey) *x509.Certificate {
	raw, err := x509.CreateCertificate(rand.Reader, t, by, key, with)
	must(tb, err)
	cert, err := x509.ParseCertificate(raw)
	must(tb, err)
	return cert
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
