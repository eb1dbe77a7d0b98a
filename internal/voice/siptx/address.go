package siptx

import (
	"errors"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// A nameAddr says where the parts of From, To, Contact, Route or Record-Route (§20.10,
// §25.1) go: into a header of the library, without a copy.
type nameAddr struct {
	display *string // gets it without its quotes, escapes as they came
	uri     *sip.Uri
	params  *sip.HeaderParams
}

// parse takes name-addr or addr-spec with its parameters. It refuses quotes that do
// not end, blanks inside the URI, a display name that needs quotes, and a URI
// outside <> that holds what only <> may hold (§20: comma, question mark).
func (a nameAddr) parse(s string) error {
	s = strings.Trim(s, " \t")
	if strings.HasPrefix(s, `"`) {
		end := quotedEnd(s)
		if end < 0 {
			return errors.New("quoted string without an end")
		}
		*a.display = s[1 : end-1]
		s = strings.TrimLeft(s[end:], " \t")
		if !strings.HasPrefix(s, "<") {
			return errors.New("display name without <URI>")
		}
	}
	open := strings.IndexByte(s, '<')
	if open < 0 || strings.IndexByte(s[:open], ';') >= 0 {
		return a.addrSpec(s)
	}
	if open > 0 {
		*a.display = strings.TrimRight(s[:open], " \t")
		if strings.ContainsAny(*a.display, "\",\\>") {
			return errors.New("display name needs quotes")
		}
	}
	end := strings.IndexByte(s[open:], '>')
	if end < 0 {
		return errors.New("< without >")
	}
	if err := parseURI(s[open+1:open+end], a.uri); err != nil {
		return err
	}
	return parseParams(s[open+end+1:], a.params)
}

func (a nameAddr) addrSpec(s string) error {
	uri, params := s, ""
	if i := strings.IndexByte(s, ';'); i >= 0 {
		uri, params = s[:i], s[i:]
	}
	uri = strings.TrimRight(uri, " \t")
	if strings.ContainsAny(uri, ",?") {
		return errors.New("URI that needs <>")
	}
	if err := parseURI(uri, a.uri); err != nil {
		return err
	}
	return parseParams(params, a.params)
}

// parseURI has the library parse a URI, after refusing what it does not look at.
func parseURI(s string, uri *sip.Uri) error {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' {
			return errors.New("URI with a character it may not hold")
		}
	}
	if err := sip.ParseUri(s, uri); err != nil {
		return errors.New("URI cannot be parsed") // the library's own text repeats the URI
	}
	if uri.Wildcard || uri.Scheme == "" {
		return errors.New("URI without a scheme")
	}
	if isSIP(uri) && (!isHost(strings.Trim(uri.Host, "[]")) || uri.Port < 0 || uri.Port > 65535) {
		return errors.New("SIP URI without a proper host or port")
	}
	return nil
}

// foreignScheme reports whether s is a URI (RFC 3986 §3.1) of a scheme that is not SIP's.
func foreignScheme(s string) bool {
	scheme, _, ok := strings.Cut(s, ":")
	if !ok || scheme == "" || strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips") {
		return false
	}
	for i := range len(scheme) {
		if c := scheme[i]; !isAlnum(c) && c != '+' && c != '-' && c != '.' || i == 0 && c <= '9' {
			return false
		}
	}
	return true
}

func isSIP(uri *sip.Uri) bool { return uri.Scheme == "sip" || uri.Scheme == "sips" }

// parseVia takes one via-parm (§20.42): SIP / 2.0 / UDP host : port ; parameters,
// with blanks wherever the grammar has LWS.
func parseVia(s string, via *sip.ViaHeader) error {
	sent, params := s, ""
	if i := strings.IndexByte(s, ';'); i >= 0 {
		sent, params = s[:i], s[i:]
	}
	name, sent, _ := strings.Cut(sent, "/")
	version, sent, _ := strings.Cut(sent, "/")
	sent = strings.Trim(sent, " \t")
	blank := strings.IndexAny(sent, " \t")
	if blank < 0 {
		return errors.New("Via without transport or sent-by")
	}
	via.ProtocolName = strings.Trim(name, " \t")
	via.ProtocolVersion = strings.Trim(version, " \t")
	via.Transport = sent[:blank]
	if !isToken(via.ProtocolName) || !isToken(via.ProtocolVersion) || !isToken(via.Transport) {
		return errors.New("Via without a proper protocol")
	}
	if err := parseSentBy(strings.TrimLeft(sent[blank:], " \t"), via); err != nil {
		return err
	}
	return parseParams(params, &via.Params)
}

func parseSentBy(s string, via *sip.ViaHeader) error {
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return errors.New("sent-by with [ but no ]")
		}
		host, port = s[1:end], strings.TrimLeft(s[end+1:], " \t")
		if port != "" && port[0] != ':' {
			return errors.New("sent-by with more than host and port")
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = strings.TrimRight(s[:i], " \t"), s[i:]
	}
	if !isHost(host) {
		return errors.New("sent-by without a proper host")
	}
	via.Host = host
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(strings.Trim(port[1:], " \t"), 10, 16)
	if err != nil || n == 0 {
		return errors.New("sent-by without a proper port")
	}
	via.Port = int(n)
	return nil
}

// parseParams takes *( ; name [ = value ] ). Names become lower case. A quoted value
// with a blank is kept without its quotes, as the library puts them back when it
// renders a value with a blank; any other keeps them.
func parseParams(s string, out *sip.HeaderParams) error {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return nil
		}
		if s[0] != ';' {
			return errors.New("parameters without a semicolon between")
		}
		s = strings.TrimLeft(s[1:], " \t")
		end := strings.IndexAny(s, ";=")
		if end < 0 {
			end = len(s)
		}
		kv := sip.HeaderKV{K: strings.ToLower(strings.TrimRight(s[:end], " \t"))}
		if !isToken(kv.K) {
			return errors.New("parameter without a proper name")
		}
		s = s[end:]
		if strings.HasPrefix(s, "=") {
			s = strings.TrimLeft(s[1:], " \t")
			n, err := valueEnd(s)
			if err != nil {
				return err
			}
			kv.V, s = s[:n], s[n:]
			if strings.HasPrefix(kv.V, `"`) && strings.ContainsAny(kv.V, " \t") {
				kv.V = kv.V[1 : len(kv.V)-1]
			}
		}
		if *out == nil {
			*out = make(sip.HeaderParams, 0, 4)
		}
		*out = append(*out, kv)
	}
}

// valueEnd returns the length of the parameter value that s begins with.
func valueEnd(s string) (int, error) {
	if strings.HasPrefix(s, `"`) {
		if end := quotedEnd(s); end > 0 {
			return end, nil
		}
		return 0, errors.New("quoted string without an end")
	}
	end := strings.IndexByte(s, ';')
	if end < 0 {
		end = len(s)
	}
	end = len(strings.TrimRight(s[:end], " \t"))
	if end == 0 || strings.ContainsAny(s[:end], " \t\"") {
		return 0, errors.New("parameter without a proper value")
	}
	return end, nil
}

// cutList cuts the first element off a list: at the first comma outside quotes and <>.
func cutList(s string) (first, rest string, more bool) {
	angle := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			if angle {
				continue
			}
			end := quotedEnd(s[i:])
			if end < 0 {
				return s, "", false
			}
			i += end - 1
		case '<':
			angle = true
		case '>':
			angle = false
		case ',':
			if !angle {
				return strings.Trim(s[:i], " \t"), strings.TrimLeft(s[i+1:], " \t"), true
			}
		}
	}
	return strings.Trim(s, " \t"), "", false
}

// quotedEnd returns the length of the quoted string that s begins with, -1 if it
// does not end.
func quotedEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// isToken is the RFC's token (§25.1).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && strings.IndexByte("-.!%*_+`'~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isHost takes names and addresses, and underscores, which occur in real names.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && c != '.' && c != '-' && c != '_' && c != ':' {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
