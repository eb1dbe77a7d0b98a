package siptx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
)

// Credentials are what a layer shows over TLS, and what it asks of its peers.
type Credentials struct {
	// Certificate is shown to whoever connects, and to servers that ask for one.
	Certificate tls.Certificate
	// Authorities are what the certificates of peers must lead to; nil = the system's.
	Authorities *x509.CertPool
	// ClientCertificates says that only those may connect who show a certificate of
	// Authorities.
	ClientCertificates bool
}

// server is the configuration for a connection that is taken in. Whose it is tells
// its address; so a certificate is asked for only where one is demanded.
func (c *Credentials) server() *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c.Certificate},
		SessionTicketsDisabled: true}
	if c.ClientCertificates {
		cfg.ClientAuth = tls.RequireAnyClientCert
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return c.leads(s.PeerCertificates) }
	}
	return cfg
}

// client is the configuration for a connection to a server whose certificate must
// name name.
func (c *Credentials) client(name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.Certificate, nil },
		InsecureSkipVerify:   true, // VerifyConnection does it all, by RFC 5922 rather than by that of the web
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := c.leads(s.PeerCertificates); err != nil {
				return err
			}
			return bears(s.PeerCertificates[0], name)
		}}
}

// leads checks that a chain of certificates leads to an authority. What else a
// certificate may be used for is not asked: those of carriers are often made for
// servers and shown as a client's too.
func (c *Credentials) leads(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	o := x509.VerifyOptions{Roots: c.Authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(o)
	return err
}

// bears checks that a certificate is that of a host name or address (RFC 5922 §7.1):
// by a SIP URI among its alternative names, or by a DNS name or an address. Beyond the
// RFC, a DNS name may begin with a wildcard, as many carriers' do.
func bears(cert *x509.Certificate, name string) error {
	for _, u := range cert.URIs {
		if domainOf(u) != "" && strings.EqualFold(domainOf(u), name) {
			return nil
		}
	}
	return cert.VerifyHostname(name)
}

// domainOf is the domain that a SIP URI in a certificate names; one with a user part
// names a person (RFC 5922 §7.1).
func domainOf(u *url.URL) string {
	if (u.Scheme != "sip" && u.Scheme != "sips") || strings.ContainsAny(u.Opaque, "@;?") {
		return ""
	}
	return u.Opaque
}

// secure does the handshake of a TLS connection. ctx bounds it.
func (c *conn) secure(ctx context.Context) error {
	if c.key.network != "tls" {
		return nil
	}
	credentials := c.l.o.Credentials()
	var t *tls.Conn
	if c.inbound {
		t = tls.Server(c.nc, credentials.server())
	} else {
		t = tls.Client(c.nc, credentials.client(c.serverName()))
	}
	if err := t.HandshakeContext(ctx); err != nil {
		c.l.count.handshakes.Add(1)
		c.l.log.Warn("sip: TLS handshake failed", "remote", c.key.remote, "inbound", c.inbound, "error", err)
		return err
	}
	c.mu.Lock()
	c.raw, c.nc = c.nc, t
	c.mu.Unlock()
	return nil
}

// serverName is what the certificate of a server that we connect to must bear.
func (c *conn) serverName() string {
	if c.key.name != "" {
		return c.key.name
	}
	return c.key.remote.Addr().String()
}
