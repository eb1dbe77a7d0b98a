package config_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tandem/internal/config"
)

// values gives for each setting a generator of right values that differ from
// its default. A setting without one fails the property below.
func values(tokenFile string) map[string]*rapid.Generator[string] {
	port := rapid.Map(rapid.Uint16Range(1, 5000), func(p uint16) string { return strconv.Itoa(int(p)) })
	ip := rapid.SampledFrom([]string{"192.0.2.1", "198.51.100.20", "2001:db8::7", "127.0.0.9"})
	path := rapid.StringMatching(`[a-zA-Z/][a-zA-Z0-9/_. :'-]{0,20}[a-z]`)
	hostPort := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"127.0.0.1:", "localhost:", "[::1]:", ":"}).Draw(t, "host") + port.Draw(t, "port")
	})
	return map[string]*rapid.Generator[string]{
		"data_dir":     path,
		"database_url": rapid.Map(path.Filter(func(p string) bool { return !strings.HasPrefix(p, "//") }), func(p string) string { return "sqlite:" + p }),
		"blob_url": rapid.OneOf(rapid.Map(path, func(p string) string { return "file:" + p }), rapid.Map(port, func(p string) string {
			return "s3://recordings/of.all?endpoint=http://127.0.0.1:" + p + "&region=ap-south-1"
		})),
		"http_listen":          hostPort,
		"ops_listen":           hostPort,
		"sip_listen":           rapid.Map(port, func(p string) string { return "tcp://127.0.0.2:" + p + ",udp://[::1]:" + p }),
		"sip_advertise":        rapid.OneOf(ip, rapid.Just("192.0.2.1,2001:db8::7")),
		"dns_servers":          rapid.OneOf(rapid.Map(port, func(p string) string { return "192.0.2.53:" + p + ",[2001:db8::53]:53" }), ip),
		"media_ip":             ip,
		"sip_tls_cert":         path,
		"sip_tls_key":          path,
		"sip_tls_ca":           path,
		"sip_tls_client_certs": rapid.Just("required"),
		"media_ports": rapid.Custom(func(t *rapid.T) string {
			first := rapid.IntRange(1, 60000).Draw(t, "first")
			return fmt.Sprintf("%d-%d", first, first+rapid.IntRange(2, 5000).Draw(t, "more"))
		}),
		"admin_token":                rapid.StringMatching(`[!-~]{1,64}`),
		"admin_token_file":           rapid.Just(tokenFile),
		"drain_seconds":              rapid.Map(rapid.IntRange(0, 3599), strconv.Itoa),
		"last_known_routing_seconds": rapid.Map(rapid.IntRange(1, 86400), strconv.Itoa),
		"webhook_allow_private":      rapid.Just("true"),
		"hep_target":                 hostPort,
		"hep_capture_id":             rapid.Map(rapid.IntRange(0, 2000), strconv.Itoa),
		"database_notify":            rapid.Just("false"),
		"database_password":          rapid.StringMatching(`[!-~]{1,64}`),
		"database_password_file":     rapid.Just(tokenFile),
		"hep_password":               rapid.StringMatching(`[!-~]{1,64}`),
		"hep_password_file":          rapid.Just(tokenFile),
		"log_format":                 rapid.SampledFrom([]string{"text", "json"}),
		"log_level":                  rapid.SampledFrom([]string{"debug", "warn", "error"}),
	}
}

func printed(t *rapid.T, c config.Config) string {
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// lineOf gives the line of a setting in what Print wrote, split into the value
// and the origin.
func lineOf(t *rapid.T, text, key string) (value, origin string) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(line, "# "), key+": "); ok {
			i := strings.LastIndex(rest, "  # ")
			return rest[:i], strings.TrimSpace(rest[i+4:])
		}
	}
	t.Fatalf("no line for %s in:\n%s", key, text)
	return "", ""
}

func TestEverySettingCanBeSetFromEverySourceToTheSameEffect(t *testing.T) {
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tandem.yaml")
	generators := values(tokenFile)
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(config.Fields()).Draw(t, "setting")
		gen, ok := generators[f.Key]
		if !ok {
			t.Fatalf("no values for %s: the test must know every setting", f.Key)
		}
		value := gen.Draw(t, "value")
		yaml := fmt.Sprintf("# settings\n%s: '%s'\n", f.Key, strings.ReplaceAll(value, "'", "''"))
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		target := strings.TrimSuffix(f.Key, "_file")
		effects := map[string]bool{}
		for origin, from := range map[string]config.Sources{
			file + ":2":            {File: file},
			"environment " + f.Env: {Environ: []string{f.Env + "=" + value}},
			"flag --" + f.Flag:     {Flags: map[string]string{f.Flag: value}},
		} {
			c, err := config.Load(from)
			if err != nil {
				t.Fatalf("%s: %v", origin, err)
			}
			shown, from := lineOf(t, printed(t, c), target)
			if from != origin {
				t.Errorf("Print says that %s comes from %q, want %q", target, from, origin)
			}
			effects[shown+c.AdminToken.Reveal()+c.HEPPassword.Reveal()] = true
		}
		if len(effects) != 1 {
			t.Errorf("the sources disagree about %s: %v", f.Key, effects)
		}
		initial, err := config.Load(config.Sources{})
		if err != nil {
			t.Fatal(err)
		}
		if shown, _ := lineOf(t, printed(t, initial), target); effects[shown] {
			t.Errorf("setting %s to %q changed nothing", f.Key, value)
		}
	})
}

func TestWhatPrintWritesLoadsBackToTheSame(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "printed.yaml")
	generators := values("")
	rapid.Check(t, func(t *rapid.T) {
		flags := map[string]string{}
		for _, f := range config.Fields() {
			if f.Secret || strings.HasSuffix(f.Key, "_file") || !rapid.Bool().Draw(t, f.Key) {
				continue
			}
			flags[f.Flag] = generators[f.Key].Draw(t, "value")
		}
		if flags["http-listen"] != "" && flags["http-listen"] == flags["ops-listen"] {
			delete(flags, "ops-listen")
		}
		c, err := config.Load(config.Sources{Flags: flags})
		if err != nil {
			t.Fatal(err)
		}
		first := printed(t, c)
		if err := os.WriteFile(file, []byte(first), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := config.Load(config.Sources{File: file})
		if err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		second := printed(t, again)
		for _, f := range config.Fields() {
			if strings.HasSuffix(f.Key, "_file") {
				continue
			}
			a, _ := lineOf(t, first, f.Key)
			b, _ := lineOf(t, second, f.Key)
			if a != b {
				t.Errorf("%s became %s", a, b)
			}
		}
	})
}

func TestANameOneLetterOffIsAnsweredWithTheRightName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(config.Fields()).Draw(t, "setting")
		at := rapid.IntRange(len("TANDEM_"), len(f.Env)-1).Draw(t, "letter")
		wrong := f.Env[:at] + f.Env[at+1:]
		_, err := config.Load(config.Sources{Environ: []string{wrong + "=x"}})
		if want := wrong + ": no such setting; the nearest is " + f.Env; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestPairsCountsEvenPortsWithTheirOddSuccessor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint16Range(1, 200).Draw(t, "first")
		last := rapid.Uint16Range(first, 300).Draw(t, "last")
		pairs := 0
		for p := int(first); p < int(last); p++ {
			if p%2 == 0 {
				pairs++
			}
		}
		if got := (config.PortRange{First: first, Last: last}).Pairs(); got != pairs {
			t.Errorf("got %d pairs in %d-%d, want %d", got, first, last, pairs)
		}
	})
}
