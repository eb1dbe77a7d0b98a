package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tandem/internal/blob"
)

const (
	sqliteScheme = "sqlite:"
	blobScheme   = "file:"
	fileSuffix   = "_file"
	maxDrain     = 7 * 24 * time.Hour
	maxLastKnown = 24 * time.Hour
)

// A Field describes one setting to whoever registers flags or prints manuals.
type Field struct {
	Key     string // in the YAML file: http_listen
	Env     string // TANDEM_HTTP_LISTEN
	Flag    string // without dashes: http-listen
	Default string // as it would be written; empty where there is none
	Doc     string // one sentence or two, no line break
	Secret  bool   // its value is never shown
	List    bool   // comma-separated; the file may use a YAML list
}

// Fields lists all settings in the order of the manual, the …_file forms of
// secrets among them.
func Fields() []Field {
	table := settings()
	fields := make([]Field, len(table))
	for i, s := range table {
		fields[i] = s.Field
	}
	return fields
}

// A setting is a Field with its check. set refuses with what a right value
// looks like; get gives the text that set would take back.
type setting struct {
	Field
	set    func(*Config, string) error
	get    func(Config) string
	fileOf string // for admin_token_file: admin_token
}

// target is the key of the value that the setting fills.
func (s setting) target() string {
	if s.fileOf != "" {
		return s.fileOf
	}
	return s.Key
}

// named derives the three names of a setting from its key, so that one thing
// has one name.
func named(f Field) Field {
	f.Env = envPrefix + strings.ToUpper(f.Key)
	f.Flag = strings.ReplaceAll(f.Key, "_", "-")
	return f
}

// settings is the one table of everything that can be set.
func settings() []setting {
	table := append(storage(), network()...)
	table = append(table, certificates()...)
	table = append(table, conduct()...)
	var all []setting
	for _, s := range table {
		s.Field = named(s.Field)
		all = append(all, s)
		if s.Secret {
			all = append(all, byFile(s))
		}
	}
	return all
}

// byFile is the …_file form of a secret: the value is what the file holds,
// less the line end that editors add.
func byFile(secret setting) setting {
	return setting{
		Field: named(Field{
			Key: secret.Key + fileSuffix,
			Doc: "Path of a file that holds `" + secret.Key + "`, for secrets that are mounted.",
		}),
		fileOf: secret.Key,
		set: func(c *Config, path string) error {
			raw, err := readBounded(path, maxSecretBytes)
			if err != nil {
				return fmt.Errorf("%q cannot be read: %w", path, err)
			}
			text := strings.TrimRight(string(raw), "\r\n")
			if text == "" {
				return fmt.Errorf("%q is empty", path)
			}
			if err := secret.set(c, text); err != nil {
				return fmt.Errorf("%q: %w", path, err)
			}
			return nil
		},
	}
}

func storage() []setting {
	return []setting{
		{
			Field: Field{Key: "data_dir", Default: "./data",
				Doc: "Folder of the database, the keys, `addresses.json`, and of what waits for the database (`journal`) and for the blob store (`spool`); made if missing."},
			set: func(c *Config, v string) error { return setPath(&c.DataDir, v) },
			get: func(c Config) string { return c.DataDir },
		},
		{
			Field: Field{Key: "database_url", Default: sqliteScheme,
				Doc: "`sqlite:PATH`, without a path `tandem.db` in the data folder, for one node; or `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full` for one node or several, with the parameters of libpq (with several hosts, `HOST1:PORT,HOST2:PORT`, `target_session_attrs=read-write` finds the one that takes writes) and, for other than 16 connections beside the four for routing and signs of life, `pool_max_conns`."},
			set: setDatabaseURL,
			get: func(c Config) string { return c.DatabaseURL },
		},
		{
			Field: Field{Key: "database_password", Secret: true,
				Doc: "For PostgreSQL, in place of one in `database_url`."},
			set: func(c *Config, v string) error {
				c.DatabasePassword = NewSecret(v)
				return nil
			},
			get: func(c Config) string { return c.DatabasePassword.String() },
		},
		{
			Field: Field{Key: "database_notify", Default: "true",
				Doc: "Whether nodes on PostgreSQL tell each other by NOTIFY that there is something new to look at; without it they find out at their next look, within a second. Off behind a pooler that shares connections between transactions (which wants `default_query_exec_mode=cache_describe` in `database_url` as well), or on a database that has no LISTEN."},
			set: func(c *Config, v string) (err error) { c.DatabaseNotify, err = parseBool(v); return err },
			get: func(c Config) string { return strconv.FormatBool(c.DatabaseNotify) },
		},
		{
			Field: Field{Key: "blob_url", Default: blobScheme,
				Doc: "Where recordings are kept: `file:PATH`, without a path `recordings` in the data folder; or `s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION`, " +
					"with the credentials in the environment as `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. Prefix and region may be left out. A recording waits in `spool` in the data folder until it is there."},
			set: setBlobURL,
			get: func(c Config) string { return c.BlobURL },
		},
	}
}

func network() []setting {
	return []setting{
		{
			Field: Field{Key: "http_listen", Default: "127.0.0.1:8080",
				Doc: "`HOST:PORT` of the HTTP API. Port 0 takes a free port, here and in all listening addresses."},
			set: func(c *Config, v string) error { return setHostPort(&c.HTTPListen, v) },
			get: func(c Config) string { return c.HTTPListen },
		},
		{
			Field: Field{Key: "ops_listen", Default: "127.0.0.1:9090",
				Doc: "`HOST:PORT` of `/healthz`, `/readyz`, `/metrics` and profiles. It has no password: let in only who watches the server and balances its API, and keep it off public networks."},
			set: func(c *Config, v string) error { return setHostPort(&c.OpsListen, v) },
			get: func(c Config) string { return c.OpsListen },
		},
		{
			Field: Field{Key: "sip_listen", Default: "udp://127.0.0.1:5060,tcp://127.0.0.1:5060", List: true,
				Doc: "Where SIP is received: `udp://IP:PORT`, `tcp://IP:PORT` and `tls://IP:PORT`. Requests go out from the first of their kind. `0.0.0.0` (IPv4) or `[::]` (IPv6) needs `sip_advertise`."},
			set: func(c *Config, v string) (err error) { c.SIPListen, err = parseListeners(v); return err },
			get: func(c Config) string { return joinListeners(c.SIPListen) },
		},
		{
			Field: Field{Key: "sip_advertise", List: true,
				Doc: "IP address that Contact and Via name, if it is not the one listened on (address translation); one of IPv4, one of IPv6, or both."},
			set: func(c *Config, v string) (err error) { c.SIPAdvertise, err = parseFamilies(v); return err },
			get: func(c Config) string { return addrTexts(c.SIPAdvertise) },
		},
		{
			Field: Field{Key: "dns_servers", List: true,
				Doc: "Recursive DNS servers that are asked for the servers of trunks, `IP` or `IP:PORT`, at most three, in their order; if not set, those of `/etc/resolv.conf`."},
			set: func(c *Config, v string) (err error) { c.DNSServers, err = parseDNSServers(v); return err },
			get: func(c Config) string { return dnsServersText(c.DNSServers) },
		},
		{
			Field: Field{Key: "media_ip",
				Doc: "IP address that SDP names for RTP; if not set, the one that SIP names."},
			set: func(c *Config, v string) (err error) { c.MediaIP, err = parseAdvertised(v); return err },
			get: func(c Config) string { return addrText(c.MediaIP) },
		},
		{
			Field: Field{Key: "media_ports", Default: "20000-29999",
				Doc: "UDP ports for RTP and RTCP, `FIRST-LAST`, two for each leg of a call. `0` takes any free ones."},
			set: func(c *Config, v string) (err error) { c.MediaPorts, err = ParsePortRange(v); return err },
			get: func(c Config) string { return c.MediaPorts.String() },
		},
	}
}

func certificates() []setting {
	return []setting{
		{
			Field: Field{Key: "sip_tls_cert",
				Doc: "Path of the PEM file with the certificate of SIP over TLS and those that lead to its authority; shown to whoever connects, and to trunks that ask for one. It, the key and `sip_tls_ca` are read again within five seconds of a change; connections that stand go on."},
			set: func(c *Config, v string) error { return setPath(&c.SIPTLS.Cert, v) },
			get: func(c Config) string { return c.SIPTLS.Cert },
		},
		{
			Field: Field{Key: "sip_tls_key",
				Doc: "Path of the PEM file with the key of `sip_tls_cert`."},
			set: func(c *Config, v string) error { return setPath(&c.SIPTLS.Key, v) },
			get: func(c Config) string { return c.SIPTLS.Key },
		},
		{
			Field: Field{Key: "sip_tls_ca",
				Doc: "Path of a PEM file with the authorities that the certificates of trunks must lead to; if not set, those of the system."},
			set: func(c *Config, v string) error { return setPath(&c.SIPTLS.CA, v) },
			get: func(c Config) string { return c.SIPTLS.CA },
		},
		{
			Field: Field{Key: "sip_tls_client_certs", Default: "optional",
				Doc: "Whether whoever connects over TLS must show a certificate of `sip_tls_ca`: `optional` or `required`."},
			set: func(c *Config, v string) error {
				var word string
				err := setOneOf(&word, v, "optional", "required")
				c.SIPTLS.ClientCertsNeeded = word == "required"
				return err
			},
			get: func(c Config) string {
				if c.SIPTLS.ClientCertsNeeded {
					return "required"
				}
				return "optional"
			},
		},
	}
}

func conduct() []setting {
	return []setting{
		{
			Field: Field{Key: "admin_token", Secret: true,
				Doc: "Bearer token of the admin API. If not set, one is made at the first start and printed once. Several nodes need the same one, so set it."},
			set: func(c *Config, v string) (err error) { c.AdminToken, err = parseToken(v); return err },
			get: func(c Config) string { return c.AdminToken.String() },
		},
		{
			Field: Field{Key: "drain_seconds", Default: "3600",
				Doc: "How long calls may go on after the first SIGTERM or SIGINT; a second one ends them at once. A supervisor must wait longer before it kills (`TimeoutStopSec` of systemd)."},
			set: setDrain,
			get: func(c Config) string { return strconv.Itoa(int(c.Drain / time.Second)) },
		},
		{
			Field: Field{Key: "last_known_routing_seconds", Default: "0",
				Doc: "With PostgreSQL: for how long after it was read last an allocation is routed by while the database is away, 0 for not at all. A deletion or change may take effect so late; see `docs/operations.md`."},
			set: setLastKnown,
			get: func(c Config) string { return strconv.Itoa(int(c.LastKnownRouting / time.Second)) },
		},
		{
			Field: Field{Key: "webhook_allow_private", Default: "false",
				Doc: "Whether a tenant's server, which events are delivered to or which is asked about strangers (stranger policy `webhook`), may have a private address; if not, only public ones are connected to."},
			set: func(c *Config, v string) (err error) { c.WebhookAllowPrivate, err = parseBool(v); return err },
			get: func(c Config) string { return strconv.FormatBool(c.WebhookAllowPrivate) },
		},
		{
			Field: Field{Key: "hep_target",
				Doc: "`HOST:PORT` of a HOMER collector (HEPv3 over UDP) that gets every SIP message, with every telephone number replaced by a pseudonym. If not set, nothing is exported."},
			set: func(c *Config, v string) error { return setHostPort(&c.HEPTarget, v) },
			get: func(c Config) string { return c.HEPTarget },
		},
		{
			Field: Field{Key: "hep_capture_id", Default: "2001",
				Doc: "Capture agent id that the collector knows this server by."},
			set: func(c *Config, v string) error {
				n, err := strconv.ParseUint(v, 10, 32)
				if err != nil {
					return fmt.Errorf("%q: wants a whole number from 0 to 4294967295", v)
				}
				c.HEPID = uint32(n)
				return nil
			},
			get: func(c Config) string { return strconv.FormatUint(uint64(c.HEPID), 10) },
		},
		{
			Field: Field{Key: "hep_password", Secret: true,
				Doc: "Authenticate key of the collector, if it wants one. It is sent in the clear, as HEP has it."},
			set: func(c *Config, v string) (err error) { c.HEPPassword, err = parseToken(v); return err },
			get: func(c Config) string { return c.HEPPassword.String() },
		},
		{
			Field: Field{Key: "log_format", Default: "auto",
				Doc: "`text`, `json`, or `auto`: text on a terminal, else JSON."},
			set: func(c *Config, v string) error { return setOneOf(&c.LogFormat, v, "auto", "text", "json") },
			get: func(c Config) string { return c.LogFormat },
		},
		{
			Field: Field{Key: "log_level", Default: "info",
				Doc: "Least level that is written: `debug`, `info`, `warn` or `error`."},
			set: setLevel,
			get: func(c Config) string { return strings.ToLower(c.LogLevel.String()) },
		},
	}
}

// setDatabaseURL takes the URLs of the engines. It never repeats the value, and keeps a
// password apart from what is shown.
func setDatabaseURL(c *Config, v string) error {
	if scheme, _, _ := strings.Cut(v, ":"); scheme == "postgres" || scheme == "postgresql" {
		return setPostgresURL(c, v)
	}
	path, ok := strings.CutPrefix(v, sqliteScheme)
	switch {
	case !ok:
		return errors.New("wants sqlite:PATH or postgres://USER@HOST:PORT/DATABASE")
	case path == "":
		c.DatabaseURL = sqliteScheme
		return nil
	case strings.HasPrefix(path, "//"):
		return errors.New("wants sqlite:PATH without // before the path")
	case path == ":memory:":
		return errors.New("wants a file: a database in memory would not survive a restart")
	}
	if err := setPath(&path, path); err != nil {
		return err
	}
	c.DatabaseURL = sqliteScheme + path
	return nil
}

func setPostgresURL(c *Config, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || len(u.Path) < 2 || u.Fragment != "" {
		return errors.New("wants postgres://USER@HOST:PORT/DATABASE")
	}
	if u.Query().Has("password") {
		return errors.New("wants no password among the parameters: use database_password or database_password_file")
	}
	if password, ok := u.User.Password(); ok {
		c.passwordOfURL = NewSecret(password)
		u.User = url.User(u.User.Username())
	}
	c.DatabaseURL = u.String()
	return nil
}

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q: wants true or false", v)
}

func setDrain(c *Config, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > int(maxDrain/time.Second) {
		return fmt.Errorf("%q: wants whole seconds from 0 to %d", v, int(maxDrain/time.Second))
	}
	c.Drain = time.Duration(n) * time.Second
	return nil
}

func setLastKnown(c *Config, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > int(maxLastKnown/time.Second) {
		return fmt.Errorf("%q: wants whole seconds from 0 to %d", v, int(maxLastKnown/time.Second))
	}
	c.LastKnownRouting = time.Duration(n) * time.Second
	return nil
}

func setLevel(c *Config, v string) error {
	var name string
	if err := setOneOf(&name, v, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return err
	}
	c.LogLevel = level
	return nil
}

func setOneOf(to *string, v string, allowed ...string) error {
	for _, a := range allowed {
		if strings.EqualFold(v, a) {
			*to = a
			return nil
		}
	}
	return fmt.Errorf("%q: wants one of %s", v, strings.Join(allowed, ", "))
}

// setPath refuses control characters, which are what a broken template leaves
// behind, and what would end or change a path inside a database URL.
func setPath(to *string, v string) error {
	for _, r := range v {
		if r < ' ' || r == 0x7f || strings.ContainsRune("?#%", r) {
			return fmt.Errorf("%q: wants a path without control characters, ?, # or %%", v)
		}
	}
	*to = v
	return nil
}

// setBlobURL takes what the blob store takes, so that a server does not first
// start and then cannot keep what it records.
func setBlobURL(c *Config, v string) error {
	path, ok := strings.CutPrefix(v, blobScheme)
	if !ok {
		if err := blob.Check(v); err != nil {
			return err
		}
		c.BlobURL = v
		return nil
	}
	if err := setPath(&path, path); err != nil {
		return err
	}
	c.BlobURL = blobScheme + path
	return nil
}
