// Package config holds every setting of the program in one struct and reads it
// from defaults, a YAML file, the environment and flags, the later winning.
//
// One table (settings) carries for each setting its name in each source, its
// default, its meaning and its check; the manual, the listing of effective
// values and the command line's flags are all printed from it. The package
// imports nothing of ours: the composition root passes the values on.
package config

import (
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is the complete, checked set of settings. Load makes it; the zero
// Config is not usable.
type Config struct {
	DataDir             string            // folder of the database, recordings and keys
	DatabaseURL         string            // "sqlite:PATH", PATH never empty after Load; or "postgres://…" without a password
	DatabasePassword    Secret            // for PostgreSQL; see PostgresURL
	DatabaseNotify      bool              // nodes on PostgreSQL wake each other
	passwordOfURL       Secret            // that database_url had
	BlobURL             string            // "file:PATH", PATH empty for the data folder; or "s3://…"
	HTTPListen          string            // host:port of the API; port 0 takes a free one
	OpsListen           string            // host:port of health, metrics and profiles
	SIPListen           []Listener        // never empty after Load
	SIPAdvertise        []netip.Addr      // at most one of an address family
	SIPTLS              TLS               // of tls:// listeners
	DNSServers          []netip.AddrPort  // asked for the servers of trunks; none = the system's
	MediaIP             netip.Addr        // invalid when not set; see AdvertisedMedia
	MediaPorts          PortRange         // UDP ports for RTP and RTCP
	AdminToken          Secret            // empty when the server shall make one
	Drain               time.Duration     // how long calls may go on after the first signal
	LastKnownRouting    time.Duration     // how old what is routed by without the database may be; 0 = it is not
	WebhookAllowPrivate bool              // tenants' own servers may have private addresses
	HEPTarget           string            // host:port of a HOMER collector; "" = none
	HEPID               uint32            // as which of the collector's agents
	HEPPassword         Secret            // for the collector; may be empty
	LogFormat           string            // "auto", "text" or "json"
	LogLevel            slog.Level        // least level that is written
	origins             map[string]string // key -> where its value came from
}

// TLS says what SIP over TLS shows and believes: paths of PEM files.
type TLS struct {
	Cert, Key         string // the certificate with what leads to its authority, and its key
	CA                string // authorities that peers' certificates must lead to; "" = the system's
	ClientCertsNeeded bool   // whoever connects must show one
}

// SQLitePath is the database file that DatabaseURL names; of PostgreSQL "".
func (c Config) SQLitePath() string {
	path, _ := strings.CutPrefix(c.DatabaseURL, sqliteScheme)
	if path == c.DatabaseURL {
		return ""
	}
	return path
}

// PostgresURL is the database of PostgreSQL that DatabaseURL names, with the password;
// of SQLite nothing.
func (c Config) PostgresURL() Secret {
	u, err := url.Parse(c.DatabaseURL)
	if err != nil || c.SQLitePath() != "" {
		return Secret{}
	}
	password := c.DatabasePassword
	if password.Empty() {
		password = c.passwordOfURL
	}
	if !password.Empty() {
		u.User = url.UserPassword(u.User.Username(), password.Reveal())
	}
	return NewSecret(u.String())
}

// AdvertisedSIP is the address that Contact and Via name on the first SIP listener:
// that of sip_advertise of its address family, else its own. Load has refused a
// listener on all addresses without one, so it is never 0.0.0.0 or ::.
func (c Config) AdvertisedSIP() netip.Addr {
	if len(c.SIPListen) == 0 {
		return netip.Addr{}
	}
	return c.advertised(c.SIPListen[0].Addr.Addr())
}

func (c Config) advertised(listening netip.Addr) netip.Addr {
	for _, a := range c.SIPAdvertise {
		if a.Unmap().Is4() == listening.Unmap().Is4() {
			return a
		}
	}
	return listening
}

// AdvertisedMedia is the address that SDP names for RTP: media_ip, else what
// AdvertisedSIP gives, since both planes of one host share its address.
func (c Config) AdvertisedMedia() netip.Addr {
	if c.MediaIP.IsValid() {
		return c.MediaIP
	}
	return c.AdvertisedSIP()
}

// Sources says where settings come from. The zero Sources gives the defaults.
type Sources struct {
	File    string            // path of a YAML file; empty for none
	Environ []string          // as os.Environ gives it; only names beginning with TANDEM_ are looked at
	Flags   map[string]string // flag name without dashes -> value; only flags that were given

	// Others names TANDEM_ variables that the program reads itself and that
	// are no settings of the server, so that Load does not refuse them.
	Others []string
}

// Load reads all sources and checks every value, those too which a stronger
// source overrides. An empty value counts as not set, in every source, so that
// "${UNSET}" in a container file means the default.
//
// The error is a Faults that lists everything wrong at once. No fault repeats
// the value of a secret.
func Load(from Sources) (Config, error) {
	l := newLoader(settings())
	l.defaults()
	if from.File != "" {
		raw, err := readBounded(from.File, maxFileBytes)
		if err != nil {
			l.fault(from.File, "cannot be read: "+err.Error())
		} else {
			l.file(from.File, raw)
		}
	}
	l.environ(from.Environ, from.Others)
	l.flags(from.Flags)
	return l.finish()
}

// finish fills in what depends on other settings and checks what only shows
// when all are known.
func (l *loader) finish() (Config, error) {
	c := l.config
	c.origins = l.origins
	if c.DatabaseURL == sqliteScheme {
		c.DatabaseURL = sqliteScheme + filepath.Join(c.DataDir, "tandem.db")
	}
	l.together(c)
	if len(l.faults) > 0 {
		return Config{}, l.faults
	}
	return c, nil
}

// together checks settings against each other. Where one of them has a fault
// of its own there is nothing to compare with.
func (l *loader) together(c Config) {
	if !l.bad["sip_listen"] && !l.bad["sip_advertise"] {
		for _, listener := range c.SIPListen {
			if c.advertised(listener.Addr.Addr()).IsUnspecified() {
				l.fault(l.where("sip_listen"), listener.String()+
					" listens on every address: set sip_advertise to the one of its family that Contact and Via shall name")
				break
			}
		}
	}
	l.certificates(c)
	if !l.bad["http_listen"] && !l.bad["ops_listen"] && c.HTTPListen == c.OpsListen && !strings.HasSuffix(c.HTTPListen, ":0") {
		l.fault(l.where("ops_listen"), "is the same address as http_listen")
	}
	seen := map[string]bool{}
	for _, listener := range c.SIPListen {
		text := listener.String()
		if seen[text] && listener.Addr.Port() != 0 {
			l.fault(l.where("sip_listen"), text+" stands in the list twice")
		}
		seen[text] = true
	}
}

// SIPOverTLS reports whether SIP is received over TLS. Without, it is not sent over
// it either.
func (c Config) SIPOverTLS() bool {
	return slices.ContainsFunc(c.SIPListen, func(at Listener) bool { return at.Network == "tls" })
}

// certificates checks what TLS listeners need.
func (l *loader) certificates(c Config) {
	switch {
	case !c.SIPOverTLS() || l.bad["sip_tls_cert"] || l.bad["sip_tls_key"]:
	case c.SIPTLS.Cert == "" || c.SIPTLS.Key == "":
		l.fault(l.where("sip_listen"), "tls:// needs a certificate: set sip_tls_cert and sip_tls_key")
	case c.SIPTLS.ClientCertsNeeded && c.SIPTLS.CA == "":
		l.fault(l.where("sip_tls_client_certs"), "needs to know whose certificates: set sip_tls_ca")
	}
}

// where names a setting with the place its value came from, to head a fault.
func (l *loader) where(key string) string {
	if origin := l.origins[key]; origin != originDefault {
		return origin + ": " + key
	}
	return key
}

// readBounded reads at most limit bytes of a file and refuses a longer one.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	return readAtMost(f, limit)
}
