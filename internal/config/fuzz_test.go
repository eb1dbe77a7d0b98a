package config

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// Whatever a settings file holds, it is taken or refused with one line a
// fault; and what is taken prints as a file that is taken again.
func FuzzSettingsFile(f *testing.F) {
	for _, seed := range []string{
		"",
		"data_dir: /var/lib/tandem\nsip_listen: [udp://127.0.0.1:5060]\n",
		"sip_listen: &a [udp://127.0.0.1:5060]\nmedia_ip: *a\n",
		"a: &a [*a]\n",
		"<<: {log_level: debug}\n",
		"log_level: !!binary aW5mbw==\n",
		"? {a: b}\n: c\n",
		"data_dir: \"a\\u2028b # 'x'\"\n",
		"data_dir: |\n  two\n  lines\n",
		"media_ports: 20000-29999\nmedia_ports: 1\n",
		"\xff\xfe",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := loadText("fuzz.yaml", raw)
		if err != nil {
			for _, fault := range err.(Faults) {
				if fault.Where == "" || fault.Problem == "" || strings.ContainsAny(fault.String(), "\r\n") {
					t.Errorf("fault %+v", fault)
				}
			}
			return
		}
		var out bytes.Buffer
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := loadText("printed.yaml", out.Bytes()); err != nil {
			t.Errorf("not taken back: %v\n%s", err, &out)
		}
	})
}

// loadText is Load with the bytes of the file given. Settings that name other
// files are left out, so that fuzzing reads nothing of the machine.
func loadText(name string, raw []byte) (Config, error) {
	l := newLoader(slices.DeleteFunc(settings(), func(s setting) bool { return s.fileOf != "" }))
	l.defaults()
	l.file(name, raw)
	return l.finish()
}
