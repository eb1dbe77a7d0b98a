package sipua

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

var india = masking.Trunk{Name: "in", Country: "IN", NumberFormat: masking.FormatE164, TrustIdentity: true}

func TestNumbersAreReadInEveryFormOfATrunk(t *testing.T) {
	plain := india
	plain.NumberFormat = masking.FormatPlain
	for _, c := range []struct {
		uri   string
		trunk masking.Trunk
		want  string
	}{
		{"sip:+919900000001@h", india, "+919900000001"},
		{"sip:919900000001@h", india, "+919900000001"},
		{"sip:919900000001@h", plain, "+919900000001"},
		{"sip:14155550100@h", plain, "+14155550100"},
		{"sip:09900000001@h", india, "+919900000001"},
		{"sip:00919900000001@h", india, "+919900000001"},
		{"sip:0014155550100@h", india, "+14155550100"},
		{"sip:9900000001@h", india, "+919900000001"},
		{"sip:+91-99000-00001@h", india, "+919900000001"},
		{"sip:%2B919900000001@h", india, "+919900000001"},
		{"sip:+919900000001;npdi;rn=+911234567@h;user=phone", india, "+919900000001"},
		{"sip:9900000001;phone-context=+91@h;user=phone", india, "+919900000001"},
		{"sips:+919900000001@h", india, "+919900000001"},
		{"tel:+919900000001", india, "+919900000001"},
		{"tel:+91-9900-000001", india, "+919900000001"},
		{"tel:9900000001;phone-context=+91", india, "+919900000001"},
		{"tel:+919900000001;npdi;rn=+911234567", india, "+919900000001"},
		{"sip:anonymous@anonymous.invalid", india, ""},
		{"sip:unavailable@h", india, ""},
		{"sip:Restricted@h", india, ""},
		{"sip:unknown@unknown.invalid", india, ""},
		{"sip:h", india, ""},
		{"sip:0000000000@h", india, ""},
		{"sip:0@h", india, ""},
		{"sip:12@h", india, ""},
		{"sip:+0123@h", india, ""},
		{"sip:+9199x@h", india, ""},
		{"sip:%zz@h", india, ""},
	} {
		var u sip.Uri
		if err := sip.ParseUri(c.uri, &u); err != nil {
			if c.want != "" {
				t.Errorf("%s: %v", c.uri, err)
			}
			continue
		}
		if got := numberOf(u, c.trunk); got.E164() != c.want {
			t.Errorf("%s on %s: got %q, want %q", c.uri, c.trunk.NumberFormat, got.E164(), c.want)
		}
	}
}

func TestTheCallerIsWhomTheTrunkIsTrustedToAssert(t *testing.T) {
	untrusted := india
	untrusted.TrustIdentity = false
	for name, c := range map[string]struct {
		trunk   masking.Trunk
		from    string
		headers []sip.Header
		want    string
	}{
		"from alone": {india, "sip:+919900000001@h", nil, "+919900000001"},
		"asserted before from": {india, "sip:+919900000002@h",
			[]sip.Header{sip.NewHeader("P-Asserted-Identity", "<sip:+919900000001@h>")}, "+919900000001"},
		"tel before sip": {india, "sip:anonymous@anonymous.invalid",
			[]sip.Header{sip.NewHeader("P-Asserted-Identity", `"A, B" <sip:+919900000002@h>, <tel:+919900000001>`)}, "+919900000001"},
		"two headers": {india, "sip:anonymous@anonymous.invalid",
			[]sip.Header{sip.NewHeader("P-Asserted-Identity", "<sip:+919900000002@h>"), sip.NewHeader("P-Asserted-Identity", "<tel:+919900000001>")}, "+919900000001"},
		"remote-party-id": {india, "sip:anonymous@anonymous.invalid",
			[]sip.Header{sip.NewHeader("Remote-Party-ID", `<sip:+919900000001@h>;party=calling;privacy=full`)}, "+919900000001"},
		"privacy hides nothing that is asserted": {india, "sip:anonymous@anonymous.invalid",
			[]sip.Header{sip.NewHeader("Privacy", "id"), sip.NewHeader("P-Asserted-Identity", "<tel:+919900000001>")}, "+919900000001"},
		"an untrusted trunk asserts nothing": {untrusted, "sip:+919900000002@h",
			[]sip.Header{sip.NewHeader("P-Asserted-Identity", "<sip:+919900000001@h>")}, "+919900000002"},
		"withheld": {india, "sip:anonymous@anonymous.invalid", nil, ""},
	} {
		req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", User: "+914000000001", Host: "h"})
		var from sip.Uri
		if err := sip.ParseUri(c.from, &from); err != nil {
			t.Fatal(err)
		}
		req.AppendHeader(&sip.FromHeader{Address: from})
		for _, h := range c.headers {
			req.AppendHeader(h)
		}
		if got := caller(req, c.trunk); got.E164() != c.want {
			t.Errorf("%s: got %q, want %q", name, got.E164(), c.want)
		}
	}
}

func TestNumbersAreWrittenTheWayTheTrunkWants(t *testing.T) {
	n, foreign := e164.MustParse("+919900000001"), e164.MustParse("+14155550100")
	for f, want := range map[masking.NumberFormat][2]string{
		masking.FormatE164:     {"+919900000001", "+14155550100"},
		masking.FormatPlain:    {"919900000001", "14155550100"},
		masking.FormatNational: {"09900000001", "0014155550100"},
	} {
		trunk := india
		trunk.NumberFormat = f
		if got := [2]string{format(n, trunk), format(foreign, trunk)}; got != want {
			t.Errorf("%s: got %v, want %v", f, got, want)
		}
		for _, number := range []e164.Number{n, foreign} {
			if got := parseUser(format(number, trunk), trunk); got != number {
				t.Errorf("%s: %s does not come back", f, number.E164())
			}
		}
	}
}

func FuzzParseUser(f *testing.F) {
	for _, s := range []string{"+919900000001", "0%39900000001;phone-context=+91", "%", "00", ";;;", "+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, user string) {
		n := parseUser(user, india)
		if _, err := e164.Parse(n.E164()); !n.IsZero() && err != nil {
			t.Fatal("not E.164")
		}
		splitList(user)
	})
}
