package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/config"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tandem.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, from config.Sources) config.Config {
	t.Helper()
	c, err := config.Load(from)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// faults returns the fault lines of a Load that must fail, with the folder of
// the settings file taken off.
func faults(t *testing.T, from config.Sources) []string {
	t.Helper()
	c, err := config.Load(from)
	var list config.Faults
	if !errors.As(err, &list) {
		t.Fatalf("Load gave %v and %+v, want Faults", err, c)
	}
	if !reflect.DeepEqual(c, config.Config{}) {
		t.Errorf("a refused Load returned settings: %+v", c)
	}
	lines := strings.Split(list.Error(), "\n")
	if from.File != "" {
		for i := range lines {
			lines[i] = strings.ReplaceAll(lines[i], filepath.Dir(from.File)+"/", "")
		}
	}
	return lines
}

func TestNoSourceAtAllIsAWorkingServerOnLoopback(t *testing.T) {
	c := load(t, config.Sources{})
	loopback := netip.MustParseAddr("127.0.0.1")
	for name, got := range map[string]any{
		"data_dir ./data":                  c.DataDir == "./data",
		"database in the data folder":      c.DatabaseURL == "sqlite:data/tandem.db" && c.SQLitePath() == "data/tandem.db",
		"http_listen 127.0.0.1:8080":       c.HTTPListen == "127.0.0.1:8080",
		"ops_listen 127.0.0.1:9090":        c.OpsListen == "127.0.0.1:9090",
		"SIP on UDP and TCP":               fmt.Sprint(c.SIPListen) == "[udp://127.0.0.1:5060 tcp://127.0.0.1:5060]",
		"Contact names the listening IP":   c.AdvertisedSIP() == loopback,
		"SDP names the listening IP":       c.AdvertisedMedia() == loopback,
		"media_ports 20000-29999":          c.MediaPorts == config.PortRange{First: 20000, Last: 29999},
		"no admin token":                   c.AdminToken.Empty(),
		"drain for an hour":                c.Drain == time.Hour,
		"log format depends on the output": c.LogFormat == "auto",
		"log level info":                   c.LogLevel == slog.LevelInfo,
	} {
		if got != true {
			t.Errorf("not so: %s", name)
		}
	}
}

func TestTheStrongerSourceWinsSettingBySetting(t *testing.T) {
	file := writeFile(t, "log_level: warn\ndrain_seconds: 10\nhttp_listen: 127.0.0.1:1\n")
	c := load(t, config.Sources{
		File:    file,
		Environ: []string{"TANDEM_DRAIN_SECONDS=20", "TANDEM_HTTP_LISTEN=127.0.0.1:2", "HOME=/root"},
		Flags:   map[string]string{"http-listen": "127.0.0.1:3"},
	})
	if c.LogLevel != slog.LevelWarn || c.Drain != 20*time.Second || c.HTTPListen != "127.0.0.1:3" || c.OpsListen != "127.0.0.1:9090" {
		t.Errorf("level %v, drain %v, http %v, ops %v", c.LogLevel, c.Drain, c.HTTPListen, c.OpsListen)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"log_level: warn  # " + file + ":1\n",
		`drain_seconds: "20"  # environment TANDEM_DRAIN_SECONDS` + "\n",
		"http_listen: 127.0.0.1:3  # flag --http-listen\n",
		"ops_listen: 127.0.0.1:9090  # default\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("Print lacks %q in:\n%s", line, &out)
		}
	}
}

func TestAnEmptyValueCountsAsNotSet(t *testing.T) {
	c := load(t, config.Sources{
		File:    writeFile(t, "log_level:\nmedia_ip: ''\n"),
		Environ: []string{"TANDEM_LOG_LEVEL=", "TANDEM_DATA_DIR="},
		Flags:   map[string]string{"http-listen": ""},
	})
	if want := load(t, config.Sources{}); !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want the defaults %+v", c, want)
	}
}

func TestFilesThatSayNothingAreFine(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "---\n", "{}\n", "~\n"} {
		load(t, config.Sources{File: writeFile(t, text)})
	}
}

func TestAllFaultsOfAllSourcesAreReportedAtOnceWithTheirPlaces(t *testing.T) {
	got := faults(t, config.Sources{
		File: writeFile(t, "data_dir: /var/lib/tandem\nhtp_listen: 127.0.0.1:80\n\nmedia_ports: 300-200\nlog_level: info\nlog_level: warn\n"),
		Environ: []string{"TANDEM_DRAIN_SECOND=5", "TANDEM_MEDIA_IP=example.com", "TANDEM_LOG_FORMAT=xml",
			"TANDEM_PORT=tcp://10.0.0.1:80", "TANDEM_SERVICE_HOST=10.0.0.1", "TANDEM_SERVER=x"},
		Flags:  map[string]string{"sip-listen": "tls://127.0.0.1:5061", "verbose": "1"},
		Others: []string{"TANDEM_SERVER"},
	})
	want := []string{
		`tandem.yaml:2: htp_listen: no such setting; the nearest is http_listen`,
		`tandem.yaml:6: log_level: is already set in line 5`,
		`tandem.yaml:4: media_ports: "300-200": the first port is above the last`,
		`TANDEM_DRAIN_SECOND: no such setting; the nearest is TANDEM_DRAIN_SECONDS`,
		`TANDEM_LOG_FORMAT: "xml": wants one of auto, text, json`,
		`TANDEM_MEDIA_IP: "example.com": wants an IP address without a port`,
		`--verbose: no such setting; the nearest is blob-url`,
		`flag --sip-listen: sip_listen: tls:// needs a certificate: set sip_tls_cert and sip_tls_key`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAFaultInAnOverriddenSourceIsStillReported(t *testing.T) {
	got := faults(t, config.Sources{
		Environ: []string{"TANDEM_LOG_LEVEL=loud"},
		Flags:   map[string]string{"log-level": "info"},
	})
	if len(got) != 1 || !strings.HasPrefix(got[0], "TANDEM_LOG_LEVEL: ") {
		t.Errorf("got %q", got)
	}
}

func TestWrongValuesAreRefusedWithWhatWouldBeRight(t *testing.T) {
	for _, c := range []struct{ key, value, says string }{
		{"data_dir", "a\nb", "without control characters"},
		{"database_url", "postgres:tandem:hunter2@db/tandem", "wants postgres://USER@HOST"},
		{"database_url", "postgresql://tandem:hunter2@db", "wants postgres://USER@HOST"},
		{"database_url", "postgres://tandem@db/tandem?password=hunter2", "use database_password"},
		{"database_url", "mysql://root:hunter2@db/x", "wants sqlite:PATH"},
		{"database_url", "/var/lib/tandem.db", "wants sqlite:PATH"},
		{"database_url", "sqlite:///var/lib/tandem.db", "without //"},
		{"database_url", "sqlite:a.db?mode=ro", "without control characters, ?"},
		{"database_url", "sqlite::memory:", "would not survive"},
		{"http_listen", "8080", "wants HOST:PORT"},
		{"http_listen", "127.0.0.1:65536", "wants HOST:PORT"},
		{"http_listen", "127.0.0.1:http", "wants HOST:PORT"},
		{"http_listen", "http://127.0.0.1:80", "wants HOST:PORT"},
		{"ops_listen", "::1:9090", "wants HOST:PORT"},
		{"ops_listen", "a b:9090", "wants HOST:PORT"},
		{"sip_listen", "127.0.0.1:5060", "wants udp://IP:PORT"},
		{"sip_listen", "udp://localhost:5060", "wants an IP address and a port"},
		{"sip_listen", "udp://127.0.0.1", "wants an IP address and a port"},
		{"sip_listen", "ws://127.0.0.1:5060", "wants udp://, tcp:// or tls://"},
		{"sip_listen", "udp://127.0.0.1:5060,", "wants udp://IP:PORT"},
		{"sip_listen", "udp://127.0.0.1:5060,udp://127.0.0.1:5060", "twice"},
		{"sip_listen", "udp://0.0.0.0:5060", "set sip_advertise"},
		{"sip_listen", "tcp://[::]:5060", "set sip_advertise"},
		{"sip_advertise", "198.51.100.1:5060", "without a port"},
		{"sip_listen", "tls://127.0.0.1:5061", "set sip_tls_cert and sip_tls_key"},
		{"sip_tls_client_certs", "maybe", "one of optional, required"},
		{"sip_advertise", "0.0.0.0", "others can send to"},
		{"sip_advertise", "192.0.2.1,192.0.2.2", "one address of IPv4, one of IPv6, or both"},
		{"dns_servers", "dns.example", "wants an IP address"},
		{"dns_servers", "192.0.2.53:0", "wants an IP address"},
		{"dns_servers", "0.0.0.0", "wants an IP address"},
		{"dns_servers", "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4", "three servers at most"},
		{"media_ip", "224.0.0.1", "others can send to"},
		{"media_ip", "fe80::1%eth0", "zone"},
		{"media_ports", "20000", "wants FIRST-LAST"},
		{"media_ports", "0-100", "wants FIRST-LAST"},
		{"media_ports", "1-70000", "wants FIRST-LAST"},
		{"media_ports", "20001-20002", "no even port"},
		{"admin_token", "two words", "visible ASCII"},
		{"admin_token_file", "/nonexistent/token", "cannot be read: no such file"},
		{"drain_seconds", "-1", "whole seconds from 0"},
		{"drain_seconds", "1h", "whole seconds from 0"},
		{"drain_seconds", "99999999999999999999", "whole seconds from 0"},
		{"last_known_routing_seconds", "86401", "whole seconds from 0 to 86400"},
		{"last_known_routing_seconds", "on", "whole seconds from 0"},
		{"blob_url", "gs://bucket", "wants file:PATH or s3://BUCKET?endpoint="},
		{"blob_url", "/var/recordings", "wants file:PATH or s3://BUCKET?endpoint="},
		{"blob_url", "file:/a?b", "wants a path without"},
		{"blob_url", "s3://bucket", "names no endpoint"},
		{"blob_url", "s3://?endpoint=https://s3.example", "names no bucket"},
		{"blob_url", "s3:bucket?endpoint=https://s3.example", "names no bucket"},
		{"blob_url", "s3://key:hunter2@bucket?endpoint=https://s3.example", "AWS_SECRET_ACCESS_KEY"},
		{"blob_url", "s3://bucket?endpoint=https://key:hunter2@s3.example", "AWS_SECRET_ACCESS_KEY"},
		{"blob_url", "s3://bucket?endpoint=s3.example:9000", "the form https://HOST:PORT"},
		{"blob_url", "s3://bucket?endpoint=https://s3.example/hunter2", "a prefix belongs behind the bucket"},
		{"blob_url", "s3://bucket?endpoint=https://s3.example&secret=hunter2", "other than endpoint and region"},
		{"blob_url", "s3://bucket?endpoint=https://s3.example&region=a&region=b", "region twice"},
		{"blob_url", "s3://bucket?endpoint=https://s3.example;region=a", "cannot be read"},
		{"blob_url", "s3://bucket/.hidden?endpoint=https://s3.example", "no part may begin with a dot"},
		{"blob_url", "s3://bucket/a//b?endpoint=https://s3.example", "letters, digits, dots"},
		{"blob_url", "s3://bucket?endpoint=https://s3.example#hunter2", "holds a #"},
		{"blob_url", "s3://hunter2%zz", "is no URL"},
		{"webhook_allow_private", "maybe", "true or false"},
		{"log_format", "xml", "one of auto, text, json"},
		{"log_level", "info+1", "one of debug, info, warn, error"},
	} {
		name := "TANDEM_" + strings.ToUpper(c.key)
		got := faults(t, config.Sources{Environ: []string{name + "=" + c.value}})
		if len(got) != 1 || !strings.Contains(got[0], name[len("TANDEM_"):]) && !strings.Contains(got[0], c.key) || !strings.Contains(got[0], c.says) {
			t.Errorf("%s=%q gave %q, want one fault that says %q", c.key, c.value, got, c.says)
		}
		if strings.Contains(strings.Join(got, ""), "hunter2") {
			t.Errorf("%s: a fault repeats a password: %q", c.key, got)
		}
	}
}

func TestRightValuesAreTaken(t *testing.T) {
	for _, env := range [][]string{
		{"TANDEM_HTTP_LISTEN=:0", "TANDEM_OPS_LISTEN=:0"},
		{"TANDEM_HTTP_LISTEN=[::1]:8080", "TANDEM_OPS_LISTEN=localhost:9090"},
		{"TANDEM_SIP_LISTEN=udp://127.0.0.1:0, udp://127.0.0.1:0"},
		{"TANDEM_SIP_LISTEN=udp://[::1]:5060,tcp://[fe80::1%lo]:5060"},
		{"TANDEM_SIP_LISTEN=udp://0.0.0.0:5060", "TANDEM_SIP_ADVERTISE=198.51.100.7"},
		{"TANDEM_MEDIA_PORTS=0"},
		{"TANDEM_MEDIA_PORTS=0-0"},
		{"TANDEM_MEDIA_PORTS=65534-65535"},
		{"TANDEM_DRAIN_SECONDS=0"},
		{"TANDEM_LOG_LEVEL=DEBUG", "TANDEM_LOG_FORMAT=JSON"},
		{"TANDEM_DATABASE_URL=sqlite:/var/lib/tandem/t.db"},
		{"TANDEM_DATABASE_URL=sqlite:", "TANDEM_DATA_DIR=/srv/x"},
	} {
		if c, err := config.Load(config.Sources{Environ: env}); err != nil {
			t.Errorf("%q: %v", env, err)
		} else if c.SQLitePath() == "" {
			t.Errorf("%q: no database path", env)
		}
	}
}

func TestMediaIsAdvertisedWhereSIPIsUnlessItHasItsOwnAddress(t *testing.T) {
	sip, media := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	c := load(t, config.Sources{Environ: []string{"TANDEM_SIP_ADVERTISE=198.51.100.1"}})
	if c.AdvertisedSIP() != sip || c.AdvertisedMedia() != sip {
		t.Errorf("sip %v, media %v", c.AdvertisedSIP(), c.AdvertisedMedia())
	}
	c = load(t, config.Sources{Environ: []string{"TANDEM_SIP_ADVERTISE=198.51.100.1", "TANDEM_MEDIA_IP=198.51.100.2"}})
	if c.AdvertisedSIP() != sip || c.AdvertisedMedia() != media {
		t.Errorf("sip %v, media %v", c.AdvertisedSIP(), c.AdvertisedMedia())
	}
}

func TestSettingsAreComparedEvenIfOthersAreFaulty(t *testing.T) {
	got := faults(t, config.Sources{Environ: []string{"TANDEM_LOG_LEVEL=loud", "TANDEM_SIP_LISTEN=udp://0.0.0.0:5060"}})
	if len(got) != 2 || !strings.Contains(got[1], "set sip_advertise") {
		t.Errorf("got %q", got)
	}
	got = faults(t, config.Sources{Environ: []string{"TANDEM_SIP_ADVERTISE=me", "TANDEM_SIP_LISTEN=udp://0.0.0.0:5060"}})
	if len(got) != 1 || !strings.HasPrefix(got[0], "TANDEM_SIP_ADVERTISE: ") {
		t.Errorf("a faulty sip_advertise gave %q", got)
	}
}

func TestOneAddressForTwoServersIsRefused(t *testing.T) {
	got := faults(t, config.Sources{Flags: map[string]string{"ops-listen": "127.0.0.1:8080"}})
	if want := []string{"flag --ops-listen: ops_listen: is the same address as http_listen"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFilesThatAreNoListOfSettingsAreRefused(t *testing.T) {
	for text, says := range map[string]string{
		"a: b: c\n":                      "mapping values are not allowed",
		"- data_dir\n":                   `tandem.yaml:1: is not a list of "setting: value" lines`,
		"just words\n":                   `tandem.yaml:1: is not a list of "setting: value" lines`,
		"data_dir: a\n---\nlog_level: b": "more than one YAML document",
		"data_dir: [a, b]\n":             "tandem.yaml:1: data_dir: wants one value",
		"sip_listen: {a: b}\n":           "tandem.yaml:1: sip_listen: wants one value or a list",
		"sip_listen: [[a]]\n":            "tandem.yaml:1: sip_listen: the list may hold single values only",
		"http: {listen: x}\n":            "tandem.yaml:1: http: no such setting",
		"? [a]\n: b\n":                   `tandem.yaml:1: "": no such setting`,
		strings.Repeat("#", 1<<20) + "#": "is longer than",
	} {
		got := faults(t, config.Sources{File: writeFile(t, text)})
		if len(got) != 1 || !strings.Contains(got[0], says) {
			t.Errorf("%.40q gave %q, want one fault that says %q", text, got, says)
		}
	}
}

func TestAFileThatCannotBeReadIsAFault(t *testing.T) {
	got := faults(t, config.Sources{File: filepath.Join(t.TempDir(), "none.yaml")})
	if want := []string{"none.yaml: cannot be read: no such file or directory"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := faults(t, config.Sources{File: t.TempDir()}); len(got) != 1 {
		t.Errorf("a folder gave %q", got)
	}
}

func TestAListMayBeAYAMLList(t *testing.T) {
	c := load(t, config.Sources{File: writeFile(t, "sip_listen:\n  - udp://127.0.0.1:5070\n  - tcp://127.0.0.1:5071\n")})
	if got := fmt.Sprint(c.SIPListen); got != "[udp://127.0.0.1:5070 tcp://127.0.0.1:5071]" {
		t.Errorf("got %s", got)
	}
}

func TestASecretComesFromAFileWithoutItsLineEnd(t *testing.T) {
	path := writeFile(t, "s3cret\r\n")
	c := load(t, config.Sources{Environ: []string{"TANDEM_ADMIN_TOKEN_FILE=" + path}})
	if got := c.AdminToken.Reveal(); got != "s3cret" {
		t.Errorf("got %q", got)
	}
	c = load(t, config.Sources{
		Environ: []string{"TANDEM_ADMIN_TOKEN_FILE=" + path},
		Flags:   map[string]string{"admin-token": "stronger"},
	})
	if got := c.AdminToken.Reveal(); got != "stronger" {
		t.Errorf("the flag lost against the file of the environment: %q", got)
	}
}

func TestASecretAndItsFileInOneSourceAreRefused(t *testing.T) {
	got := faults(t, config.Sources{Environ: []string{"TANDEM_ADMIN_TOKEN=hunter2", "TANDEM_ADMIN_TOKEN_FILE=" + writeFile(t, "x")}})
	want := []string{"TANDEM_ADMIN_TOKEN_FILE: is set together with TANDEM_ADMIN_TOKEN; only one of them may be"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadSecretFilesAreRefusedWithoutShowingTheirText(t *testing.T) {
	for text, says := range map[string]string{
		"":                               "is empty",
		"\n":                             "is empty",
		"hunter2 hunter2":                "visible ASCII",
		strings.Repeat("hunter2", 4<<10): "longer than",
	} {
		got := faults(t, config.Sources{Environ: []string{"TANDEM_ADMIN_TOKEN_FILE=" + writeFile(t, text)}})
		if len(got) != 1 || !strings.Contains(got[0], says) || strings.Contains(got[0], "hunter2") {
			t.Errorf("%.20q gave %q, want %q", text, got, says)
		}
	}
}

func TestASecretIsNeverShown(t *testing.T) {
	const text = "hunter2"
	c := load(t, config.Sources{Environ: []string{"TANDEM_ADMIN_TOKEN=" + text}})
	nested := struct{ inner struct{ s config.Secret } }{}
	nested.inner.s = c.AdminToken
	var log, printed bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "token", c.AdminToken, "config", c, "nested", nested)
	}
	if err := c.Print(&printed); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), printed.String(), string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, c.AdminToken), fmt.Sprintf(verb, c), fmt.Sprintf(verb, nested), fmt.Sprintf(verb, &c))
	}
	for _, s := range shown {
		if strings.Contains(s, text) || strings.Contains(s, fmt.Sprintf("%x", text)) {
			t.Errorf("shown in %s", s)
		}
	}
	if !strings.Contains(printed.String(), "# admin_token: (hidden)  # environment TANDEM_ADMIN_TOKEN\n") {
		t.Errorf("Print does not say where the token came from:\n%s", &printed)
	}
}

func TestTheManualNamesEverySettingInEverySource(t *testing.T) {
	var out bytes.Buffer
	if err := config.Doc(&out); err != nil {
		t.Fatal(err)
	}
	for _, f := range config.Fields() {
		row := fmt.Sprintf("| `%s` | `%s` | `--%s` | ", f.Key, f.Env, f.Flag)
		if !strings.Contains(out.String(), row) || f.Doc == "" || !strings.Contains(out.String(), f.Doc) || !strings.Contains(out.String(), f.Default) {
			t.Errorf("the manual lacks %s", f.Key)
		}
	}
}

func TestTheNamesThatOthersScriptsUseExist(t *testing.T) {
	var names []string
	for _, f := range config.Fields() {
		names = append(names, f.Env)
	}
	want := []string{"TANDEM_DATA_DIR", "TANDEM_DATABASE_URL", "TANDEM_DATABASE_PASSWORD", "TANDEM_DATABASE_PASSWORD_FILE", "TANDEM_DATABASE_NOTIFY", "TANDEM_BLOB_URL", "TANDEM_HTTP_LISTEN", "TANDEM_OPS_LISTEN", "TANDEM_SIP_LISTEN",
		"TANDEM_SIP_ADVERTISE", "TANDEM_DNS_SERVERS", "TANDEM_MEDIA_IP", "TANDEM_MEDIA_PORTS", "TANDEM_SIP_TLS_CERT", "TANDEM_SIP_TLS_KEY",
		"TANDEM_SIP_TLS_CA", "TANDEM_SIP_TLS_CLIENT_CERTS", "TANDEM_ADMIN_TOKEN", "TANDEM_ADMIN_TOKEN_FILE",
		"TANDEM_DRAIN_SECONDS", "TANDEM_LAST_KNOWN_ROUTING_SECONDS", "TANDEM_WEBHOOK_ALLOW_PRIVATE", "TANDEM_HEP_TARGET", "TANDEM_HEP_CAPTURE_ID",
		"TANDEM_HEP_PASSWORD", "TANDEM_HEP_PASSWORD_FILE", "TANDEM_LOG_FORMAT", "TANDEM_LOG_LEVEL"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestTLSNeedsACertificateAndOneThatIsDemandedAnAuthority(t *testing.T) {
	tls := []string{"TANDEM_SIP_LISTEN=udp://127.0.0.1:5060,tls://[::1]:5061", "TANDEM_SIP_TLS_CERT=/c.pem", "TANDEM_SIP_TLS_KEY=/k.pem"}
	if c := load(t, config.Sources{Environ: tls}); !c.SIPOverTLS() || c.SIPTLS != (config.TLS{Cert: "/c.pem", Key: "/k.pem"}) {
		t.Errorf("%+v", c.SIPTLS)
	}
	if got := faults(t, config.Sources{Environ: tls[:2]}); len(got) != 1 || !strings.Contains(got[0], "sip_tls_key") {
		t.Errorf("without a key: %q", got)
	}
	demanding := append(tls, "TANDEM_SIP_TLS_CLIENT_CERTS=required")
	if got := faults(t, config.Sources{Environ: demanding}); len(got) != 1 || !strings.Contains(got[0], "set sip_tls_ca") {
		t.Errorf("demanding, of anybody: %q", got)
	}
	if c := load(t, config.Sources{Environ: append(demanding, "TANDEM_SIP_TLS_CA=/ca.pem")}); !c.SIPTLS.ClientCertsNeeded {
		t.Errorf("%+v", c.SIPTLS)
	}
}

func TestEachFamilyIsAdvertisedByItsOwnAddress(t *testing.T) {
	listen := "TANDEM_SIP_LISTEN=udp://[::]:5060,udp://0.0.0.0:5060"
	c := load(t, config.Sources{Environ: []string{listen, "TANDEM_SIP_ADVERTISE=192.0.2.1, 2001:db8::1"}})
	if got := c.AdvertisedSIP().String(); got != "2001:db8::1" {
		t.Errorf("the first listener is advertised as %s", got)
	}
	if got := faults(t, config.Sources{Environ: []string{listen, "TANDEM_SIP_ADVERTISE=192.0.2.1"}}); len(got) != 1 || !strings.Contains(got[0], "udp://[::]:5060 listens on every address") {
		t.Errorf("%q", got)
	}
}

func TestADatabaseMayBeAtSeveralHosts(t *testing.T) {
	const rest = "@db1:5432,192.0.2.7:5433/tandem?target_session_attrs=read-write&connect_timeout=2"
	c := load(t, config.Sources{Environ: []string{"TANDEM_DATABASE_URL=postgres://tandem:hunter2" + rest}})
	if got, want := c.PostgresURL().Reveal(), "postgres://tandem:hunter2"+rest; got != want || c.DatabaseURL != "postgres://tandem"+rest {
		t.Errorf("got %s, shown as %s", got, c.DatabaseURL)
	}
}

func TestThePasswordOfADatabaseIsNeverShown(t *testing.T) {
	for name, environ := range map[string][]string{
		"in the URL": {"TANDEM_DATABASE_URL=postgres://tandem:hunter2@db:5433/tandem?sslmode=require"},
		"apart":      {"TANDEM_DATABASE_URL=postgres://tandem@db:5433/tandem?sslmode=require", "TANDEM_DATABASE_PASSWORD=hunter2"},
		"both":       {"TANDEM_DATABASE_URL=postgres://tandem:old@db:5433/tandem?sslmode=require", "TANDEM_DATABASE_PASSWORD=hunter2"},
	} {
		c, err := config.Load(config.Sources{Environ: environ})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, want := c.PostgresURL().Reveal(), "postgres://tandem:hunter2@db:5433/tandem?sslmode=require"; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		if c.SQLitePath() != "" {
			t.Errorf("%s: a file of SQLite as well: %s", name, c.SQLitePath())
		}
		var shown strings.Builder
		if err := c.Print(&shown); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&shown, "%v %+v", c.PostgresURL(), c.DatabaseURL)
		if strings.Contains(shown.String(), "hunter2") || !strings.Contains(shown.String(), "postgres://tandem@db:5433/tandem") {
			t.Errorf("%s: shown as\n%s", name, shown.String())
		}
	}
}
