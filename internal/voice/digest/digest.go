// Package digest is HTTP Digest as SIP uses it (RFC 3261 §22, RFC 7616, RFC 8760):
// it reads challenges, answers them, and tells whether an answer is right.
//
// It knows qop auth and none, the algorithms MD5, SHA-256 and SHA-512-256, and
// their -sess forms. What it reads comes from the network and may be anything.
package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// Challenge is one that a far side makes.
type Challenge struct {
	// Quoted strings as they came, with the backslashes of quoted pairs: this is
	// what is hashed (RFC 7616 §3.3, unq) and said again.
	Realm, Nonce, Opaque string
	Stale                bool // the credentials were right, but not the nonce

	algorithm string // as it came
	scheme    scheme
	qop       bool // qop auth was offered
}

// scheme is an algorithm.
type scheme struct {
	new     func() hash.Hash
	rank    int // more is better
	session bool
}

// schemeNamed finds an algorithm; "" is MD5 (RFC 7616 §3.3).
func schemeNamed(name string) (s scheme, ok bool) {
	name, s.session = strings.CutSuffix(strings.ToUpper(name), "-SESS")
	switch name {
	case "", "MD5":
		s.new, s.rank = md5.New, 1
	case "SHA-256":
		s.new, s.rank = sha256.New, 2
	case "SHA-512-256":
		s.new, s.rank = sha512.New512_256, 3
	}
	return s, s.new != nil
}

// maxValue is the longest value of a parameter that is taken.
const maxValue = 1024

// ParseChallenge reads the value of a WWW-Authenticate or Proxy-Authenticate. It
// reports false for what is not Digest, or cannot be answered here: an unknown
// algorithm, no qop but auth-int.
func ParseChallenge(value string) (c Challenge, ok bool) {
	params, ok := parse(value)
	if !ok {
		return c, false
	}
	c = Challenge{Realm: params["realm"], Nonce: params["nonce"], Opaque: params["opaque"],
		Stale: strings.EqualFold(params["stale"], "true"), algorithm: params["algorithm"]}
	if c.scheme, ok = schemeNamed(c.algorithm); !ok || c.Nonce == "" {
		return c, false
	}
	offered, given := params["qop"]
	for _, q := range strings.Split(offered, ",") {
		c.qop = c.qop || strings.EqualFold(strings.TrimSpace(q), "auth")
	}
	return c, c.qop || !given
}

// Better reports whether c asks for a stronger algorithm than another challenge.
func (c Challenge) Better(than Challenge) bool { return c.scheme.rank > than.scheme.rank }

// Account is who answers.
type Account struct{ Username, Password string }

// Session answers a challenge, as often as its nonce is taken. Its user must see
// to it that one goroutine at a time asks it.
type Session struct {
	challenge Challenge
	cnonce    string
	count     uint32
}

// NewSession begins to answer a challenge. cnonce must be unpredictable, and
// without quotes or backslashes.
func NewSession(c Challenge, cnonce string) *Session { return &Session{challenge: c, cnonce: cnonce} }

// Nonce is the nonce that is answered.
func (s *Session) Nonce() string { return s.challenge.Nonce }

// Realm is the realm that is answered.
func (s *Session) Realm() string { return s.challenge.Realm }

// Answer gives the value of Authorization or Proxy-Authorization for one request,
// uri as it stands in the request line.
func (s *Session) Answer(a Account, method, uri string) string {
	c := s.challenge
	s.count++
	proof := proof{scheme: c.scheme, realm: c.Realm, nonce: c.Nonce, cnonce: s.cnonce, method: method, uri: uri}
	if c.qop {
		proof.qop, proof.nc = "auth", fmt.Sprintf("%08x", s.count)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`,
		a.Username, c.Realm, c.Nonce, uri, proof.response(a))
	if c.algorithm != "" {
		b.WriteString(", algorithm=" + c.algorithm)
	}
	if c.qop || c.scheme.session {
		b.WriteString(`, cnonce="` + s.cnonce + `"`)
	}
	if c.qop {
		b.WriteString(", qop=auth, nc=" + proof.nc)
	}
	if c.Opaque != "" {
		b.WriteString(`, opaque="` + c.Opaque + `"`)
	}
	return b.String()
}

// proof is all that a response is computed from, but for the account.
type proof struct {
	scheme                                     scheme
	realm, nonce, cnonce, qop, nc, method, uri string
}

// response is RFC 7616 §3.4.1.
func (p proof) response(a Account) string {
	a1 := p.sum(a.Username, p.realm, a.Password)
	if p.scheme.session {
		a1 = p.sum(a1, p.nonce, p.cnonce)
	}
	a2 := p.sum(p.method, p.uri)
	if p.qop == "" {
		return p.sum(a1, p.nonce, a2)
	}
	return p.sum(a1, p.nonce, p.nc, p.cnonce, p.qop, a2)
}

func (p proof) sum(parts ...string) string {
	h := p.scheme.new()
	_, _ = h.Write([]byte(strings.Join(parts, ":"))) // never fails (hash.Hash)
	return hex.EncodeToString(h.Sum(nil))
}

// Authorization is an answer to a challenge, as it came.
type Authorization struct {
	Username, Realm, Nonce, URI string
	Count                       uint32 // 0 where there is no qop

	proof    proof
	response string
}

// ParseAuthorization reads the value of an Authorization or Proxy-Authorization.
func ParseAuthorization(value string) (a Authorization, ok bool) {
	params, ok := parse(value)
	if !ok {
		return a, false
	}
	a = Authorization{Username: params["username"], Realm: params["realm"], Nonce: params["nonce"], URI: params["uri"],
		response: strings.ToLower(params["response"])}
	a.proof = proof{realm: a.Realm, nonce: a.Nonce, cnonce: params["cnonce"], qop: params["qop"], nc: params["nc"], uri: a.URI}
	if a.proof.scheme, ok = schemeNamed(params["algorithm"]); !ok {
		return a, false
	}
	if a.proof.qop == "" {
		return a, a.response != ""
	}
	n, err := strconv.ParseUint(a.proof.nc, 16, 32)
	a.Count = uint32(n)
	return a, err == nil && a.response != "" && a.proof.qop == "auth"
}

// Proves reports whether the one who wrote the answer knows the password, and
// wrote it for a request of that method.
func (a Authorization) Proves(password, method string) bool {
	p := a.proof
	p.method = method
	want := p.response(Account{a.Username, password})
	return subtle.ConstantTimeCompare([]byte(want), []byte(a.response)) == 1
}

// parse reads "Digest" and its parameters. Names are in lower case, quoted values
// without their quotes. A parameter given twice is refused: which one counts is
// not ours to guess.
func parse(value string) (map[string]string, bool) {
	const name = "digest"
	value = strings.TrimLeft(value, " \t")
	if len(value) <= len(name) || !strings.EqualFold(value[:len(name)], name) || value[len(name)] != ' ' && value[len(name)] != '\t' {
		return nil, false
	}
	params := make(map[string]string, 8)
	for rest := value[len(name):]; ; {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return params, len(params) > 0
		}
		key, after, ok := strings.Cut(rest, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if _, twice := params[key]; !ok || twice || key == "" || len(params) == 32 {
			return nil, false
		}
		if params[key], rest, ok = cutValue(strings.TrimLeft(after, " \t")); !ok {
			return nil, false
		}
	}
}

// cutValue cuts a token or a quoted string off.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexByte(s, ',')
		if end < 0 {
			end = len(s)
		}
		value, rest = strings.TrimSpace(s[:end]), s[end:]
		return value, rest, len(value) <= maxValue && !strings.ContainsAny(value, "\"\\\r\n")
	}
	for i := 1; i < len(s) && i <= maxValue; i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			value, rest = s[1:i], strings.TrimLeft(s[i+1:], " \t")
			return value, rest, (rest == "" || rest[0] == ',') && !strings.ContainsAny(value, "\r\n\x00")
		}
	}
	return "", "", false
}
