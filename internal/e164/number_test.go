package e164

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseAcceptsWhatTheContractAccepts(t *testing.T) {
	for in, want := range map[string]string{
		"+919900000001":     "+919900000001",
		"+91 99000-00001":   "+919900000001",
		"+1 (415) 555.0100": "+14155550100",
		"+1234567":          "+1234567",
		"+123456789012345":  "+123456789012345",
		"919900000001":      "",
		"+0919900000001":    "",
		"+123456":           "",
		"+1234567890123456": "",
		"+91990000000a":     "",
		"":                  "",
		"+":                 "",
		"++919900000001":    "",
		"+91/9900000001":    "",
		"tel:+919900000001": "",
		"+91990000٠٠٠١ ":    "",
	} {
		n, err := Parse(in)
		if (err == nil) != (want != "") || n.E164() != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", in, n.E164(), err, want)
		}
	}
}

func TestANumberNeverPrintsItself(t *testing.T) {
	n := MustParse("+919900000042")
	type holder struct{ N Number }
	js, _ := json.Marshal(map[Number]holder{n: {n}})
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "n", n, "h", holder{n}, "s", []Number{n})
	for _, s := range []string{fmt.Sprint(n), fmt.Sprintf("%v %+v %#v %s %q %x %d", n, n, n, n, n, n, n),
		fmt.Sprintf("%+v %#v", holder{n}, []Number{n}), string(js), log.String(), fmt.Errorf("x: %v", n).Error()} {
		if strings.Contains(s, "9900000042") || strings.Contains(s, "990000") {
			t.Errorf("the number stands in %q", s)
		}
	}
	if n.Hidden() != "+91…42" {
		t.Errorf("hidden: %q", n.Hidden())
	}
}

func TestCountryCodesAreSplitByThePrefixFreeTable(t *testing.T) {
	for in, cc := range map[string]string{"+14155550100": "1", "+79161234567": "7", "+919900000001": "91",
		"+442079460000": "44", "+3531234567": "353", "+97141234567": "971", "+8801712345678": "880"} {
		if got := MustParse(in).CountryCode(); got != cc {
			t.Errorf("%s: country code %q, want %q", in, got, cc)
		}
	}
}

func TestEmergencyCodesAreKnownAloneAndBehindACountryCode(t *testing.T) {
	for in, want := range map[string]bool{"112": true, "+112": true, "+91112": true, "911": true, "+1911": true,
		"+44999": true, "100": true, "000": true, "+61000": true, "00112": true, "0": false, "00": false, "0000": false, "+911234567": false, "+919900000112": false, "": false} {
		if Emergency(in) != want {
			t.Errorf("Emergency(%q) = %v", in, !want)
		}
	}
}

func TestFinderSeesANumberThroughItsSeparators(t *testing.T) {
	f := NewFinder(MustParse("+919900000042"), MustParse("+3541234"))
	for in, want := range map[string]bool{
		"sip:+919900000042@x":                   true,
		"tel:0-99000-00042":                     true,
		"sip:%2B91%2099000%2D00042@x":           true,
		"(99000) 00042":                         true,
		"9900000043":                            false,
		"99000000 x 42":                         false,
		"sip:+3541234@x":                        true,
		"port 1234":                             false,
		strings.Repeat("1", 200) + "9900000042": true,
	} {
		if f.Found([]byte(in)) != want {
			t.Errorf("Found(%q) = %v", in, !want)
		}
	}
}

func TestFinderFindsEveryNumberAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := MustParse(rapid.StringMatching(`\+[1-9][0-9]{9,14}`).Draw(t, "n"))
		before := rapid.String().Draw(t, "before")
		after := rapid.String().Draw(t, "after")
		if !NewFinder(n).Found([]byte(before + n.E164() + after)) {
			t.Fatal("not found")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("+919900000001")
	f.Add("+1 (415) 555.0100")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(n.E164()); err != nil || again != n {
			t.Fatal("a parsed number does not parse to itself")
		}
		_, _, _ = n.CountryCode(), n.National(), n.Hidden()
		_ = Emergency(s)
	})
}
