package siptx

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// text joins lines to a message without body.
func text(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// with replaces the header field of that name in an OPTIONS request, or adds it;
// an empty line takes it out.
func with(name, line string) string {
	base := []string{"OPTIONS sip:us@192.0.2.1 SIP/2.0",
		"Via: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport", "From: <sip:a@192.0.2.9>;tag=f",
		"To: <sip:us@192.0.2.1>", "Call-ID: id", "CSeq: 3 OPTIONS", "Max-Forwards: 70", "Content-Length: 0"}
	var out []string
	found := false
	for _, l := range base {
		if strings.HasPrefix(l, name+":") {
			found = true
			if line != "" {
				out = append(out, line)
			}
			continue
		}
		out = append(out, l)
	}
	if !found && line != "" {
		out = append(out, line)
	}
	return text(out...)
}

func TestWhatParseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		code int
	}{
		"no end of head":            {"OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n", 0},
		"bare LF":                   {with("Subject", "Subject: a\nX: b"), 0},
		"bare CR":                   {with("Subject", "Subject: a\rb"), 0},
		"NUL":                       {with("Subject", "Subject: a\x00b"), 0},
		"DEL":                       {with("Subject", "Subject: a\x7fb"), 0},
		"escaped LF":                {with("From", "From: \"\\\n\" <sip:a@b>;tag=x"), 0},
		"head too long":             {with("Subject", "Subject: "+strings.Repeat("x", maxHead)), 0},
		"too many fields":           {with("X", strings.Repeat("X: y\r\n", maxFields)+"X: y"), 400},
		"no Via":                    {with("Via", ""), 400},
		"no From":                   {with("From", ""), 400},
		"no To":                     {with("To", ""), 400},
		"no Call-ID":                {with("Call-ID", ""), 400},
		"no CSeq":                   {with("CSeq", ""), 400},
		"two From":                  {with("Subject", "f: <sip:a@b>;tag=x"), 400},
		"empty Call-ID":             {with("Call-ID", "Call-ID:"), 400},
		"Call-ID of two words":      {with("Call-ID", "Call-ID: a b"), 400},
		"CSeq of 2**31":             {with("CSeq", "CSeq: 2147483648 OPTIONS"), 400},
		"CSeq without method":       {with("CSeq", "CSeq: 3"), 400},
		"CSeq negative":             {with("CSeq", "CSeq: -3 OPTIONS"), 400},
		"CSeq method in lower case": {with("CSeq", "CSeq: 3 options"), 400},
		"Max-Forwards 256":          {with("Max-Forwards", "Max-Forwards: 256"), 400},
		"Max-Forwards x":            {with("Max-Forwards", "Max-Forwards: x"), 400},
		"Content-Length negative":   {with("Content-Length", "Content-Length: -1"), 400},
		"Content-Length too much":   {with("Content-Length", "l: 1"), 400},
		"Content-Length huge":       {with("Content-Length", "Content-Length: 99999999999999999999"), 400},
		"Content-Length twice":      {with("Subject", "Content-Length: 0"), 400},
		"Content-Type empty":        {with("Content-Type", "Content-Type: "), 400},
		"field without colon":       {with("Subject", "Subject"), 400},
		"field name with a space":   {with("Subject", "Sub ject: x"), 400},
		"field name empty":          {with("Subject", ": x"), 400},
		"Via without sent-by":       {with("Via", "Via: SIP/2.0/UDP;branch=z9hG4bK1"), 400},
		"Via port 0":                {with("Via", "Via: SIP/2.0/UDP a:0;branch=z9hG4bK1"), 400},
		"Via port 65536":            {with("Via", "Via: SIP/2.0/UDP a:65536;branch=z9hG4bK1"), 400},
		"Via with two hosts":        {with("Via", "Via: SIP/2.0/UDP a b;branch=z9hG4bK1"), 400},
		"Via empty element":         {with("Via", "Via: SIP/2.0/UDP a;branch=z9hG4bK1,"), 400},
		"Via [ without ]":           {with("Via", "Via: SIP/2.0/UDP [::1;branch=z9hG4bK1"), 400},
		"parameter without name":    {with("From", "From: <sip:a@b>;=x"), 400},
		"parameter without value":   {with("From", "From: <sip:a@b>;tag="), 400},
		"parameter of two words":    {with("From", "From: <sip:a@b>;tag=a b"), 400},
		"quote without end":         {with("From", `From: "a <sip:a@b>;tag=x`), 400},
		"escaped quote at the end":  {with("From", `From: "a\" <sip:a@b>;tag=x`), 400},
		"< without >":               {with("From", `From: <sip:a@b;tag=x`), 400},
		"Route without URI":         {with("Route", "Route: <sip:a>, ,<sip:b>"), 400},
		"Contact * and more":        {with("Contact", "Contact: *, <sip:a@b>"), 400},
		"URI port too large":        {with("To", "To: <sip:a@b:65536>"), 400},
		"URI without host":          {with("To", "To: <sip:a@>"), 400},
		"URI with a quote":          {with("To", `To: <sip:"a"@b>`), 400},
		"one word":                  {"OPTIONS\r\n" + with("x", ""), 400},
		"two words":                 {strings.Replace(with("x", ""), " SIP/2.0", "", 1), 400},
		"no version":                {strings.Replace(with("x", ""), "SIP/2.0", "HTTP/1.1", 1), 400},
		"version 3":                 {strings.Replace(with("x", ""), "SIP/2.0", "SIP/3.0", 1), 505},
		"h323 URI":                  {strings.Replace(with("x", ""), "sip:us@", "h323:us@", 1), 416},
		"wildcard URI":              {strings.Replace(with("x", ""), "sip:us@192.0.2.1", "*", 1), 400},
		"method with a slash":       {strings.Replace(with("x", ""), "OPTIONS", "OPT/IONS", 1), 400},
		"status 99":                 {strings.Replace(with("x", ""), "OPTIONS sip:us@192.0.2.1 SIP/2.0", "SIP/2.0 099 x", 1), 400},
		"status 700":                {strings.Replace(with("x", ""), "OPTIONS sip:us@192.0.2.1 SIP/2.0", "SIP/2.0 700 x", 1), 400},
	} {
		t.Run(name, func(t *testing.T) {
			_, bad := parse([]byte(c.raw))
			if bad == nil {
				t.Fatal("taken")
			}
			if bad.code != c.code {
				t.Fatalf("%d %s, want %d", bad.code, bad.why, c.code)
			}
		})
	}
}

func TestWhatParseSetsRight(t *testing.T) {
	for name, c := range map[string]struct {
		raw   string
		field string
		want  []string
	}{
		"several Via in a line": {with("Via", "v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/TCP b:1;x=\"c,d\""), "Via",
			[]string{"SIP/2.0/UDP a;branch=z9hG4bK1", `SIP/2.0/TCP b:1;x="c,d"`}},
		"IPv6 in Via":              {with("Via", "Via: SIP/2.0/UDP [2001:db8::1] : 5062 ;branch=z9hG4bK1"), "Via", []string{"SIP/2.0/UDP [2001:db8::1]:5062;branch=z9hG4bK1"}},
		"compact name":             {with("Supported", "k: timer, 100rel"), "Supported", []string{"timer, 100rel"}},
		"compact name not parsed":  {with("Session-Expires", "X : 90"), "Session-Expires", []string{"90"}},
		"name in odd case":         {with("Call-ID", "cALL-iD: id"), "Call-ID", []string{"id"}},
		"parameter in upper case":  {with("From", "From: <sip:a@b> ; TAG = x"), "From", []string{"<sip:a@b>;tag=x"}},
		"quoted value with blank":  {with("From", `From: <sip:a@b>;x="a b";tag=t`), "From", []string{`<sip:a@b>;x="a b";tag=t`}},
		"quoted value with ;":      {with("From", `From: <sip:a@b>;x="a;b\"";tag=t`), "From", []string{`<sip:a@b>;x="a;b\"";tag=t`}},
		"comma in display name":    {with("Contact", `m: "a, \"b" <sip:a@b>,<sip:c@d;x=y>;q=1`), "Contact", []string{`"a, \"b" <sip:a@b>`, "<sip:c@d;x=y>;q=1"}},
		"addr-spec with parameter": {with("To", "To: sip:us@b;tag=x"), "To", []string{"<sip:us@b>;tag=x"}},
		"tel":                      {with("To", "t: <tel:+1-201;phone-context=x>;tag=y"), "To", []string{"<tel:+1-201;phone-context=x>;tag=y"}},
		"Contact *":                {with("Contact", "Contact: *"), "Contact", []string{"*"}},
		"folded":                   {with("Route", "Route: <sip:a;lr>,\r\n\t<sip:b;lr>"), "Route", []string{"<sip:a;lr>", "<sip:b;lr>"}},
		"leading zeros":            {with("CSeq", "CSeq: 0003   OPTIONS"), "CSeq", []string{"3 OPTIONS"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, bad := parse([]byte(c.raw))
			if bad != nil {
				t.Fatal(bad.why)
			}
			var got []string
			for _, h := range m.req.GetHeaders(c.field) {
				got = append(got, h.Value())
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Fatalf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestMethodsAreCaseSensitive(t *testing.T) {
	m, bad := parse([]byte(strings.NewReplacer("OPTIONS", "invite").Replace(with("x", ""))))
	if bad != nil || m.req.Method != "invite" || m.req.IsInvite() {
		t.Fatal(bad, m)
	}
}

func TestADatagramIsCutAtContentLength(t *testing.T) {
	m, bad := parse([]byte(with("Content-Length", "Content-Length: 3") + "abcdef"))
	if bad != nil || string(m.req.Body()) != "abc" {
		t.Fatal(bad, m)
	}
	m, bad = parse([]byte(with("Content-Length", "") + "abcdef"))
	if bad != nil || string(m.req.Body()) != "abcdef" || m.req.ContentLength().Value() != "6" {
		t.Fatal(bad, m)
	}
}

func TestParsingWhatWasRenderedGivesTheSame(t *testing.T) {
	word := rapid.StringMatching("[a-z0-9]{1,8}")
	rapid.Check(t, func(t *rapid.T) {
		quoted := rapid.StringMatching(`([a-z ,;<>=]|\\["\\a]){0,8}`)
		value := rapid.OneOf(word, rapid.Map(quoted, func(s string) string { return `"` + s + `"` }))
		from := `"` + quoted.Draw(t, "display") + `" <sip:` + word.Draw(t, "user") + `@` + word.Draw(t, "host") + `>;x=` +
			value.Draw(t, "x") + ";tag=" + word.Draw(t, "tag")
		via := "SIP/2.0/UDP " + word.Draw(t, "host") + ";branch=z9hG4bK" + word.Draw(t, "branch") + ";y=" + value.Draw(t, "y")
		first, bad := parse([]byte(strings.Replace(with("From", "From: "+from), "SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport", via, 1)))
		if bad != nil {
			t.Fatal(bad.why)
		}
		once := first.req.String()
		second, bad := parse([]byte(once))
		if bad != nil {
			t.Fatalf("%s:\n%s", bad.why, once)
		}
		if twice := second.req.String(); twice != once || second.fromTag != first.fromTag || second.branch != first.branch {
			t.Fatalf("%q\nthen\n%q", once, twice)
		}
		if got := first.via.Value(); got != via {
			t.Fatalf("Via came as %q, would go back as %q", via, got)
		}
	})
}

func TestARefusalRepeatsWhatTheSenderNeedsToMatchIt(t *testing.T) {
	f := salvage(text("INVITE sip:a@b c d e", "Via: SIP/2.0/UDP h;branch=z9hG4bK1, SIP/2.0/UDP i", "v: SIP/2.0/UDP j",
		"f: x", "t: y", "i: z", "CSeq: 1 INVITE"))
	if f == nil || !f.intact || strings.Join(f.vias, "|") != "SIP/2.0/UDP h;branch=z9hG4bK1|SIP/2.0/UDP i|SIP/2.0/UDP j" ||
		f.from != "x" || f.to != "y" || f.callID != "z" || f.cseq != "1 INVITE" {
		t.Fatalf("%+v", f)
	}
	for _, silent := range []string{
		text("ACK sip:a@b c d", "Via: SIP/2.0/UDP h;branch=z9hG4bK1"),
		text("SIP/2.0 x", "Via: SIP/2.0/UDP h;branch=z9hG4bK1"),
		text("INVITE sip:a@b c d", "Via: nonsense"),
		text("INVITE sip:a@b c d"),
	} {
		if salvage(silent) != nil {
			t.Errorf("would be answered: %q", silent)
		}
	}
}
