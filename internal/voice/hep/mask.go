package hep

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tandem/internal/e164"
	"tandem/internal/ladder"
)

// maxMessage is the longest message that is sent on: one datagram, with room for
// the chunks around it. What is longer loses its end.
const maxMessage = 60_000

// A masker writes SIP messages anew for a collector. Nothing is copied that the
// lists below do not name. What is copied loses its numbers:
//
//   - the user of a URI becomes a pseudonym, the one that the log has for a number
//     in E.164 form, so that both can be joined; a user that is no number too;
//   - seven digits or more in a row, anywhere else, become one as well. So tags and
//     Call-IDs stay what they are unless they hold such a row, and what is the same
//     before is the same after.
//
// Display names, unknown header fields, reason texts, keys of SRTP, and every body
// but a session description are left out.
type masker struct{ key []byte }

// message gives the masked form of a message.
func (m masker) message(raw []byte) []byte {
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	first, head, _ := bytes.Cut(head, []byte("\r\n"))
	var b bytes.Buffer
	b.WriteString(m.startLine(string(first)) + "\r\n")
	sdp := false
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") { // the rest of a folded line
			continue
		}
		name = canonical(strings.TrimSpace(name))
		value = strings.TrimSpace(value)
		if name == "Content-Type" {
			kind, _, _ := strings.Cut(strings.ToLower(value), ";")
			sdp = strings.TrimSpace(kind) == "application/sdp"
		}
		if value, ok := m.field(name, value); ok {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	masked := ""
	if sdp {
		masked = m.description(string(body))
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(masked), masked)
	return b.Bytes()[:min(b.Len(), maxMessage)]
}

// startLine keeps method and Request-URI, or the status with the RFC's phrase.
func (m masker) startLine(line string) string {
	if status, ok := strings.CutPrefix(line, "SIP/2.0 "); ok {
		code, _, _ := strings.Cut(status, " ")
		n, _ := strconv.Atoi(code)
		if n < 100 || n > 699 {
			n = 0
		}
		return fmt.Sprintf("SIP/2.0 %03d %s", n, ladder.Phrase(n))
	}
	method, rest, _ := strings.Cut(line, " ")
	uri, _, _ := strings.Cut(rest, " ")
	return m.word(method) + " " + m.uri(uri) + " SIP/2.0"
}

// canonical is a header field's name as the lists have it; compact forms are
// written out.
func canonical(name string) string {
	if long, ok := map[string]string{"v": "Via", "f": "From", "t": "To", "m": "Contact", "i": "Call-ID", "c": "Content-Type",
		"k": "Supported", "x": "Session-Expires", "u": "Allow-Events", "o": "Event", "r": "Refer-To"}[strings.ToLower(name)]; ok {
		return long
	}
	for _, list := range [][]string{addresses(), words()} {
		for _, known := range list {
			if strings.EqualFold(known, name) {
				return known
			}
		}
	}
	return ""
}

// addresses are the fields that hold URIs, words those that hold tokens and numbers.
func addresses() []string {
	return []string{"From", "To", "Contact", "Route", "Record-Route", "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID",
		"Diversion"}
}

func words() []string {
	return []string{"Via", "Call-ID", "CSeq", "Max-Forwards", "Expires", "Session-Expires", "Min-SE", "Min-Expires", "RSeq", "RAck",
		"Retry-After", "Allow", "Supported", "Require", "Proxy-Require", "Unsupported", "Privacy", "Event", "Allow-Events", "Content-Type",
		"Reason", "Warning", "WWW-Authenticate", "Proxy-Authenticate", "Authorization", "Proxy-Authorization"}
}

// field masks one value; false where the field is left out.
func (m masker) field(name, value string) (string, bool) {
	switch name {
	case "":
		return "", false
	case "Reason": // RFC 3326: the cause, not the text
		protocol, rest, _ := strings.Cut(value, ";")
		cause := causes.FindStringSubmatch(rest)
		if cause == nil {
			return "", false
		}
		return m.word(protocol) + ";cause=" + cause[1], true
	case "Warning", "WWW-Authenticate", "Proxy-Authenticate", "Authorization", "Proxy-Authorization":
		scheme, _, _ := strings.Cut(value, " ")
		return m.word(scheme), true
	}
	if name == "Via" {
		return m.via(value), true
	}
	if slices.Contains(addresses(), name) {
		return m.addresses(value), true
	}
	return m.row(m.plain(value)), true
}

// via keeps protocol and sent-by, and the parameters by which responses find back.
func (m masker) via(value string) string {
	var list []string
	for hop := range strings.SplitSeq(value, ",") {
		sent, params, _ := strings.Cut(hop, ";")
		text := m.row(strings.TrimSpace(sent))
		for _, p := range branch.FindAllStringSubmatch(";"+params, -1) {
			text += ";" + strings.ToLower(p[1])
			if p[2] != "" {
				text += "=" + m.row(p[2])
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// plain leaves out what is quoted: it is text.
func (m masker) plain(value string) string { return quoted.ReplaceAllString(value, `""`) }

var (
	quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?`)
	// uris finds the URIs of a list of addresses, in angle brackets or bare, with the
	// parameters that follow.
	uris = regexp.MustCompile(`<([^>]*)>([^,]*)|([a-zA-Z]+:[^\s,;]+)([^,]*)|\*`)
	tag  = regexp.MustCompile(`(?i);\s*(tag|expires|reason|counter|party|privacy|screen|id-type)=([^\s;,"]*)|;\s*(lr)\b`)
	// Dots are no separators here: they would take addresses for numbers.
	rows   = regexp.MustCompile(`\+?[0-9](?:[-()]?[0-9]){6,}`)
	causes = regexp.MustCompile(`cause=([0-9]{1,3})\b`)
	branch = regexp.MustCompile(`(?i);\s*(branch|received|rport|alias)(?:=([^\s;,"]*))?`)
)

// addresses keeps the URIs of a value, and of their parameters those that are named.
func (m masker) addresses(value string) string {
	var list []string
	for _, found := range uris.FindAllStringSubmatch(m.plain(value), -1) {
		uri, params := found[1], found[2]
		if found[3] != "" {
			uri, params = found[3], found[4]
		}
		if found[0] == "*" {
			list = append(list, "*")
			continue
		}
		text := "<" + m.uri(uri) + ">"
		for _, p := range tag.FindAllStringSubmatch(params, -1) {
			if p[3] != "" {
				text += ";lr"
			} else {
				text += ";" + strings.ToLower(p[1]) + "=" + m.row(p[2])
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// uri keeps scheme, host and port, and transport and lr of the parameters; the user
// becomes a pseudonym.
func (m masker) uri(text string) string {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok {
		return "sip:invalid"
	}
	if strings.EqualFold(scheme, "tel") {
		return "tel:" + m.user(rest)
	}
	rest, _, _ = strings.Cut(rest, "?")
	user, host, ok := strings.Cut(rest, "@")
	if !ok {
		user, host = "", rest
	}
	host, params, _ := strings.Cut(host, ";")
	text = m.word(scheme) + ":"
	if user != "" {
		text += m.user(user) + "@"
	}
	text += m.row(host)
	for p := range strings.SplitSeq(params, ";") {
		switch name, value, _ := strings.Cut(p, "="); {
		case strings.EqualFold(name, "transport"):
			text += ";transport=" + m.word(value)
		case strings.EqualFold(name, "lr"):
			text += ";lr"
		}
	}
	return text
}

// user is a pseudonym for the user of a URI. Words that hide a caller are kept.
func (m masker) user(user string) string {
	user, _, _ = strings.Cut(user, ";")
	user, _, _ = strings.Cut(user, ":") // a password
	user = unescaped(user)
	switch lower := strings.ToLower(user); lower {
	case "anonymous", "unavailable", "restricted", "unknown":
		return lower
	}
	return m.pseudonym(user)
}

// pseudonym is the log's token of a number, between its country code and last two
// digits; of any other text a token.
func (m masker) pseudonym(text string) string {
	if n, err := e164.Parse(text); err == nil {
		digits := n.Digits()
		return n.CountryCode() + "-x" + n.Token(m.key) + "-" + digits[len(digits)-2:]
	}
	mac := hmac.New(sha256.New, m.key)
	_, _ = mac.Write([]byte(text)) // never fails (hash.Hash)
	return "x" + hex.EncodeToString(mac.Sum(nil)[:6])
}

// row masks each row of digits that is long enough for a number. Rows behind percent
// signs are unescaped first.
func (m masker) row(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, unescaped(text))
	return rows.ReplaceAllStringFunc(text, m.pseudonym)
}

// unescaped is a text with every byte that is written as % and two digits, be it in
// several steps (%2539), whatever else is wrong with the text: who reads it may do so too.
func unescaped(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		out = append(out, text[i])
		for n := len(out); n >= 3 && out[n-3] == '%'; n = len(out) {
			c, err := strconv.ParseUint(string(out[n-2:]), 16, 8)
			if err != nil {
				break
			}
			out = append(out[:n-3], byte(c))
		}
	}
	return string(out)
}

// word keeps a token of letters, digits and a few marks (RFC 3261 §25.1), masked.
func (m masker) word(text string) string {
	text = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r) {
			return r
		}
		return -1
	}, strings.TrimSpace(text))
	return m.row(text[:min(len(text), 32)])
}

// description keeps of a session description what says where and how media goes.
func (m masker) description(body string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(body, "\n") {
		line = strings.TrimRight(line, "\r")
		kind, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		switch kind {
		case "t":
			b.WriteString("t=0 0\r\n")
		case "v", "c", "m", "b":
			b.WriteString(kind + "=" + m.row(value) + "\r\n")
		case "s":
			b.WriteString("s=-\r\n")
		case "o": // RFC 8866 §5.2: user, id, version, and the three of the address
			parts := strings.Fields(value)
			if len(parts) != 6 {
				continue
			}
			fmt.Fprintf(&b, "o=- %s %s %s\r\n", m.number(parts[1]), m.number(parts[2]), m.row(strings.Join(parts[3:], " ")))
		case "a":
			if a, ok := m.attribute(value); ok {
				b.WriteString("a=" + a + "\r\n")
			}
		}
	}
	return b.String()
}

// number makes a short number of a long one, the same of the same: whether the
// version of a description has changed can be seen, and no telephone number.
func (m masker) number(text string) string {
	mac := hmac.New(sha256.New, m.key)
	_, _ = mac.Write([]byte(text)) // never fails (hash.Hash)
	sum := mac.Sum(nil)
	return strconv.Itoa(int(sum[0])<<8 | int(sum[1]))
}

// attribute masks the value of an attribute; false where it is left out.
func (m masker) attribute(value string) (string, bool) {
	name, rest, _ := strings.Cut(value, ":")
	switch name {
	case "sendrecv", "sendonly", "recvonly", "inactive", "rtcp-mux":
		return name, true
	case "ptime", "maxptime", "rtpmap", "rtcp":
		return name + ":" + m.row(rest), true
	case "fmtp": // its payload number, and what is like 0-15 or mode-set=7
		var kept []string
		for word := range strings.FieldsFuncSeq(rest, func(r rune) bool { return r == ' ' || r == ';' }) {
			if m.row(word) == word {
				kept = append(kept, word)
			}
		}
		if len(kept) < 2 {
			return "", false
		}
		return "fmtp:" + kept[0] + " " + strings.Join(kept[1:], ";"), true
	case "crypto": // RFC 4568 §9.1: tag and suite, not the key
		parts := strings.Fields(rest)
		if len(parts) < 2 {
			return "", false
		}
		return "crypto:" + m.word(parts[0]) + " " + m.word(parts[1]) + " inline:", true
	}
	return "", false
}
