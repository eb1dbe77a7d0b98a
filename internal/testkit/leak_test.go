package testkit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"mime/quotedprintable"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"tandem/internal/testkit"
)

const number = "+919876543210" // digits 919876543210, national 9876543210

func TestEverySpellingOfANumberIsFound(t *testing.T) {
	d := testkit.NewLeakDetector("+4930123456", number)
	for name, text := range spellings() {
		t.Run(name, func(t *testing.T) {
			for where, message := range map[string]string{
				"alone":       text,
				"in a header": "INVITE sip:x@y SIP/2.0\r\nX-A: b; c=" + text + ";d\r\nTo: <sip:z@y>\r\n\r\n",
				"in a body":   "SIP/2.0 200 OK\r\nContent-Length: 9\r\n\r\nv=0\r\ns=" + text + "\r\n",
			} {
				leaks := d.Check(where, []byte(message))
				if len(leaks) != 1 || leaks[0].Number != "+91…10" || leaks[0].Where != where {
					t.Errorf("%s: found %v in %q", where, leaks, message)
				}
			}
		})
	}
}

// spellings writes the number in every way the detector promises to know.
func spellings() map[string]string {
	std, urlSafe := base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	s := map[string]string{
		"E.164": "+919876543210", "without plus": "919876543210", "national": "9876543210", "trunk 0": "09876543210",
		"international 00": "00919876543210", "US exit code": "011919876543210", "tel URI": "tel:+91-98765-43210",
		"spaces": "+91 98765 43210", "dots": "98.76.54.32.10", "slashes": "98765/43210", "underscores": "98765_43210",
		"parentheses": "+91 (0) 98765-43210", "nbsp": "98765\u00a043210", "Latin-1 nbsp": "98765\xa043210",
		"en dash": "98765–43210", "minus sign": "98765−43210", "narrow nbsp": "98765\u202f43210",
		"zero width":        "9\u200b8\u200b7\u200b6\u200b5\u200b4\u200b3\u200b2\u200b1\u200b0",
		"every digit apart": "9 8 7 6 5 4 3 2 1 0", "three separators": "98765 - 43210",
		"quoted in JSON": `"+919876543210"`, "JSON array": "9,8,7,6,5,4,3,2,1,0",
		"percent":        strings.ReplaceAll(url.QueryEscape("+91 98765"), "+", "%20") + "%2043210",
		"percent digits": everyByte("%%%02x", "9876543210"), "percent twice": everyByte("%%25%02X", "9876543210"),
		"percent dash": "98765%2D43210",
		"JSON escapes": everyByte(`\u%04x`, "9876543210"), "JavaScript braces": everyByte(`\u{%x}`, "9876543210"),
		"C escapes":   everyByte(`\x%02x`, "9876543210"),
		"XML decimal": everyByte("&#%d;", "9876543210"), "XML hexadecimal": everyByte("&#x%X;", "9876543210"),
		"XML plus":    "&#43;919876543210",
		"hexadecimal": hex.EncodeToString([]byte("+919876543210")), "odd hexadecimal": "a" + hex.EncodeToString([]byte("9876543210")),
		"upper hexadecimal": fmt.Sprintf("%X", "9876543210"), "fingerprint": strings.Trim(everyByte(":%02X", "9876543210"), ":"),
		"base64 at 0": std([]byte("+919876543210")), "base64 at 1": std([]byte("x+919876543210")),
		"base64 at 2": std([]byte("xy+919876543210")), "base64url": urlSafe([]byte("??>>+919876543210??>>")),
		"base64 after letters": "zzz" + std([]byte("9876543210")), "base64 twice": std([]byte(std([]byte("n=9876543210")))),
		"base64 of JSON escapes": std([]byte(everyByte(`\u%04x`, "9876543210"))),
		"base64 in two lines":    std([]byte("+919876543210"))[:9] + "\r\n" + std([]byte("+919876543210"))[9:],
		"JWT":                    urlSafe([]byte(`{"alg":"none"}`)) + "." + urlSafe([]byte(`{"orig":{"tn":"919876543210"}}`)) + ".x",
		"percent in base64":      std([]byte(everyByte("%%%02x", "9876543210"))),
		"folded":                 "98765\r\n 43210", "folded with a tab": "+9198\r\n\t7654\r\n\t3210",
		"full width": "９８７６５４３２１０", "Devanagari": "९८७६५४३२१०", "Arabic": "٩٨٧٦٥٤٣٢١٠", "mathematical": "𝟗𝟖𝟕𝟔𝟓𝟒𝟑𝟐𝟏𝟎",
		"packed":      string([]byte{0x98, 0x76, 0x54, 0x32, 0x10}),
		"packed low":  string([]byte{0x89, 0x67, 0x45, 0x23, 0x01}),
		"packed odd":  string([]byte{0xf9, 0x87, 0x65, 0x43, 0x21, 0x0f}),
		"packed, hex": "8967452301",
	}
	var qp bytes.Buffer
	w := quotedprintable.NewWriter(&qp)
	_, _ = w.Write([]byte(strings.Repeat("é", 10) + "98765"))
	_ = w.Close()
	s["quoted-printable"] = everyByte("=%02X", "9876543210")
	s["quoted-printable, soft break"] = qp.String() + "=\r\n43210"
	for name, order := range map[string][2]int{"UTF-16BE": {8, 0}, "UTF-16LE": {0, 8}} {
		var b []byte
		for _, u := range utf16.Encode([]rune("+919876543210")) {
			b = append(b, byte(u>>order[0]), byte(u>>order[1]))
		}
		s[name], s[name+" in base64"] = string(b), std(b)
	}
	return s
}

func everyByte(format, s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

func TestANumberWithAShortNationalPartIsFoundWithItsCountryCode(t *testing.T) {
	d := testkit.NewLeakDetector("+290123456") // St Helena: three digits of country code
	if leaks := d.Check("", []byte("00 290 123-456")); len(leaks) != 1 {
		t.Errorf("found %v", leaks)
	}
	if leaks := d.Check("", []byte("port 123456")); len(leaks) != 0 {
		t.Errorf("false alarm: %v", leaks)
	}
}

func TestAlmostTheNumberIsNoLeak(t *testing.T) {
	d := testkit.NewLeakDetector(number)
	for _, text := range []string{"", "9", "+919876543211", "987654321", "876543210", "98765x43210", "98765 - . 43210",
		"98765\r\n43210", "+919876543\r\nX: 210", "0123456789", "9876:a:543210", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=",
		"39383736353433323131", "%39%38%37%36%35%34%33%32%31%31"} {
		if leaks := d.Check("", []byte(text)); len(leaks) != 0 {
			t.Errorf("%q: %v", text, leaks)
		}
	}
}

func TestALeakDoesNotTellTheNumber(t *testing.T) {
	d := testkit.NewLeakDetector(number)
	leaks := d.Check("leg B", []byte("From: <sip:09876543210@x>"))
	if text := fmt.Sprint(leaks); len(leaks) != 1 || text != "[leg B: +91…10 found, plain]" {
		t.Errorf("got %s", text)
	}
}

func TestADetectorWithoutProperNumbersIsRefused(t *testing.T) {
	for _, numbers := range [][]string{nil, {""}, {"9876543210"}, {"+91 98765 43210"}, {"+91"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q accepted", numbers)
				}
			}()
			testkit.NewLeakDetector(numbers...)
		}()
	}
}

// A number that stands anywhere, in any encoding on any other, is found.
func TestAnyTwoEncodingsOnTopOfEachOtherAreUndone(t *testing.T) {
	encodings := map[string]func(string) string{
		"percent":          func(s string) string { return everyByte("%%%02x", s) },
		"json":             func(s string) string { return everyByte(`\u%04x`, s) },
		"xml":              func(s string) string { return everyByte("&#%d;", s) },
		"quoted-printable": func(s string) string { return everyByte("=%02X", s) },
		"base64":           func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"hex":              func(s string) string { return hex.EncodeToString([]byte(s)) },
		"utf-16":           func(s string) string { return everyByte("%c\x00", s) },
		"none":             func(s string) string { return s },
	}
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[2-9][0-9]{9}`).Draw(t, "digits")
		one := rapid.SampledFrom(slices.Sorted(maps.Keys(encodings))).Draw(t, "inner")
		two := rapid.SampledFrom(slices.Sorted(maps.Keys(encodings))).Draw(t, "outer")
		before := rapid.StringMatching(`[a-z ;:<]{0,5}`).Draw(t, "before")
		after := rapid.StringMatching(`[a-z ;:>]{0,5}`).Draw(t, "after")
		text := encodings[two](before + encodings[one]("+91"+digits) + after)
		if leaks := testkit.NewLeakDetector("+91"+digits).Check("", []byte(text)); len(leaks) != 1 {
			t.Fatalf("%s in %s not found: %q", one, two, text)
		}
	})
}

func TestNoiseGivesNoFalseAlarm(t *testing.T) {
	d := testkit.NewLeakDetector(number, "+914012345678", "+12025550123")
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := make([]byte, 172)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		testkit.AssertNoLeak(t, d, "random packet", b)
	}
	silence := bytes.Repeat([]byte{0xd5}, 160)
	testkit.AssertNoLeak(t, d, "A-law silence", silence, bytes.Repeat([]byte{0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4}, 20))
}

func TestAssertNoLeakFailsTheTestForEachLeak(t *testing.T) {
	d := testkit.NewLeakDetector(number)
	r := &recorder{TB: t}
	testkit.AssertNoLeak(r, d, "leg A", []byte("clean"), []byte("tel:09876543210"), []byte("9876543210"))
	if len(r.errors) != 2 || strings.Contains(strings.Join(r.errors, ""), "98765") {
		t.Errorf("errors: %q", r.errors)
	}
}

// A recorder is a test that keeps its errors to itself.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestANumberInALogLineIsFoundWhereverItIs(t *testing.T) {
	for name, write := range map[string]func(l *testkit.Logs){
		"message":       func(l *testkit.Logs) { l.Logger().Debug("call of +91 98765 43210") },
		"attribute":     func(l *testkit.Logs) { l.Logger().Info("call", "from", number) },
		"error":         func(l *testkit.Logs) { l.Logger().Error("call", "err", fmt.Errorf("no %s", number)) },
		"group":         func(l *testkit.Logs) { l.Logger().WithGroup("g").Info("call", "uri", "sip:09876543210@x") },
		"logger's own":  func(l *testkit.Logs) { l.Logger().With("n", 919876543210).Info("call") },
		"bytes, base64": func(l *testkit.Logs) { l.Logger().Info("call", "raw", []byte("x +919876543210")) },
	} {
		logs := testkit.NewLogs()
		write(logs)
		r := &recorder{TB: t}
		logs.AssertNoLeak(r, testkit.NewLeakDetector(number))
		if len(r.errors) != 1 {
			t.Errorf("%s: %q in %q", name, r.errors, logs.Lines())
		}
	}
}

func BenchmarkCheckOfAnInvite(b *testing.B) {
	d := testkit.NewLeakDetector(number, "+914012345678")
	b.SetBytes(int64(len(ordinary[0])))
	for b.Loop() {
		d.Check("", []byte(ordinary[0]))
	}
}
