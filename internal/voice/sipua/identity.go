package sipua

import (
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/nyaruka/phonenumbers"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// This file tells who called whom, and writes numbers the way a
// trunk wants them.

// called is the number of the Request-URI; zero if it is none. Of a trunk that we
// register with, a call to our Contact is one to the number in To: the registrar
// has put the Contact in its place (RFC 3261 §16.5).
func called(req *sip.Request, t masking.Trunk) e164.Number {
	if t.Register.Domain != "" && unescape(req.Recipient.User) == t.Register.Contact(t.Auth) {
		return numberOf(req.To().Address, t)
	}
	return numberOf(req.Recipient, t)
}

// caller is the number that calls, by the trunk's trust: P-Asserted-Identity
// (tel, then sip), Remote-Party-ID, From. Zero if it is withheld or no number.
// A Privacy header hides nothing from us that a trusted trunk asserts (RFC 3325
// §7); it tells that From need not be believed, which a number in From is anyway
// only where the trunk asserts nothing.
func caller(req *sip.Request, t masking.Trunk) e164.Number {
	if t.TrustIdentity {
		asserted := addresses(req, "P-Asserted-Identity")
		for _, scheme := range []string{"tel", "sip"} {
			for _, u := range asserted {
				if strings.HasPrefix(strings.ToLower(u.Scheme), scheme) {
					if n := numberOf(u, t); !n.IsZero() {
						return n
					}
				}
			}
		}
		for _, u := range addresses(req, "Remote-Party-ID") {
			if n := numberOf(u, t); !n.IsZero() {
				return n
			}
		}
	}
	return numberOf(req.From().Address, t)
}

// addresses are the URIs of a header with name-addr values, comma separated or
// on several lines.
func addresses(req *sip.Request, name string) []sip.Uri {
	var found []sip.Uri
	for _, h := range req.GetHeaders(name) {
		for _, part := range splitList(h.Value()) {
			var u sip.Uri
			var params sip.HeaderParams
			if _, err := sip.ParseAddressValue(part, &u, &params); err == nil {
				found = append(found, u)
			}
		}
	}
	return found
}

// splitList splits at commas outside quotes and angle brackets.
func splitList(s string) []string {
	var parts []string
	quoted, angled, from := false, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angled = true
		case c == '>':
			angled = false
		case c == ',' && !angled:
			parts = append(parts, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(parts, strings.TrimSpace(s[from:]))
}

// numberOf reads the number of a sip, sips or tel URI.
func numberOf(u sip.Uri, t masking.Trunk) e164.Number {
	user := u.User
	if strings.EqualFold(u.Scheme, "tel") {
		user = strings.TrimPrefix(strings.TrimPrefix(u.Raw(), "tel:"), "TEL:")
		if user == "" {
			user = u.Host
		}
	}
	return parseUser(user, t)
}

// parseUser normalises the user part of a URI, which may carry the parameters
// of a telephone-subscriber (RFC 3966: phone-context; RFC 4694: npdi, rn).
func parseUser(user string, t masking.Trunk) e164.Number {
	user = stripped(unescape(user), t)
	digits, params, _ := strings.Cut(user, ";")
	if digits == "" || len(digits) > 40 {
		return e164.Number{}
	}
	if strings.HasPrefix(digits, "+") {
		n, err := e164.Parse(digits)
		if err != nil {
			return e164.Number{}
		}
		return n
	}
	digits = strings.NewReplacer(" ", "", "-", "", ".", "", "(", "", ")", "").Replace(digits)
	if strings.Trim(digits, "0123456789") != "" || strings.Trim(digits, "0") == "" {
		return e164.Number{} // a name, or nothing but zeros: withheld
	}
	if c := phoneContext(params); strings.HasPrefix(c, "+") {
		return parsed(c + digits)
	}
	if t.NumberFormat == masking.FormatPlain && digits[0] != '0' {
		return parsed("+" + digits)
	}
	n, err := phonenumbers.Parse(digits, t.Country)
	if err != nil {
		return e164.Number{}
	}
	return parsed(phonenumbers.Format(n, phonenumbers.E164))
}

func parsed(text string) e164.Number {
	n, err := e164.Parse(text)
	if err != nil {
		return e164.Number{}
	}
	return n
}

func phoneContext(params string) string {
	for _, p := range strings.Split(params, ";") {
		if k, v, ok := strings.Cut(p, "="); ok && strings.EqualFold(k, "phone-context") {
			return v
		}
	}
	return ""
}

// unescape undoes %XX (RFC 3261 §19.1.2); a malformed escape stays as it is and
// will not parse as a number.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// dialled writes the number that is rung.
func dialled(n e164.Number, t masking.Trunk) string {
	// A number sign is no character of a user part (RFC 3261 §25.1).
	return strings.ReplaceAll(t.AddPrefix, "#", "%23") + format(n, t)
}

// stripped is a number as it came without the longest prefix that its trunk writes
// before numbers.
func stripped(user string, t masking.Trunk) string {
	longest := ""
	for _, p := range t.StripPrefixes {
		if len(p) > len(longest) && len(p) < len(user) && strings.HasPrefix(user, p) {
			longest = p
		}
	}
	return user[len(longest):]
}

// format writes a number the way the trunk wants it. A foreign number on a
// trunk with national numbers gets the international prefix 00.
func format(n e164.Number, t masking.Trunk) string {
	switch t.NumberFormat {
	case masking.FormatPlain:
		return n.Digits()
	case masking.FormatNational:
		if n.CountryCode() == countryCode(t.Country) {
			return "0" + n.National()
		}
		return "00" + n.Digits()
	}
	return n.E164()
}

// countryCode is the calling code of an ISO 3166 country, "" if unknown.
func countryCode(iso string) string {
	if c := phonenumbers.GetCountryCodeForRegion(iso); c != 0 {
		return itoa(c)
	}
	return ""
}
